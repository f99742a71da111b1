"""The language model: prompts, replies and the engines behind one seam."""
