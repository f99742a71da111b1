"""The language model: prompts, replies and the engines behind one seam.

`open_engine` imports torch or a client only when such an engine is opened.
"""

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
