"""The language model: prompts, replies and the engines behind one seam.

`open_engine` imports torch or a client only when such an engine is opened.
"""

import os

from qexplorer.llm.engine import (
    Engine,
    EngineSettings,
    EngineVersion,
    Generation,
    Prompt,
    Reply,
    Sampling,
    chat_messages,
)
from qexplorer.llm.opening import open_engine
from qexplorer.llm.parse import parse_reply
from qexplorer.llm.prompt import PromptTemplate, load_template, render
from qexplorer.llm.scripted import ScriptedEngine

# Read when torch is loaded. Threads that share a matrix product wait for the last one by spinning, for so long that
# beside another busy process they keep it from its processor, and a batch takes five to thirty times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__all__ = [
    "Engine",
    "EngineSettings",
    "EngineVersion",
    "Generation",
    "Prompt",
    "PromptTemplate",
    "Reply",
    "Sampling",
    "ScriptedEngine",
    "chat_messages",
    "load_template",
    "open_engine",
    "parse_reply",
    "render",
]
