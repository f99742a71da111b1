"""The real worker with an engine that takes a set time for a batch.

`ENGINE_S=0.05 python -m tests.bench.slow_worker run …`; with SESSION_S above 0 it is a static member of its group under
the name MEMBER. The inference process is spawned and imports this module anew, so its engines are slow too.
"""

import os
from typing import Any

import faust

import worker.inference
from qexplorer.cli.run import run as run_app
from qexplorer.llm.engine import Engine, EngineSettings
from qexplorer.llm.scripted import ScriptedEngine, salient_words
from worker.__main__ import app


def _open(settings: EngineSettings) -> Engine:
    del settings
    return ScriptedEngine(reply=salient_words, delay_s=float(os.environ["ENGINE_S"]))


def _static(self: Any, *names: Any, **options: Any) -> None:
    session = float(os.environ.get("SESSION_S", "0"))
    if session:
        options |= {"consumer_group_instance_id": os.environ["MEMBER"], "broker_session_timeout": session}
    _init(self, *names, **options)


_init = faust.App.__init__
faust.App.__init__ = _static
worker.inference.open_engine = _open  # type: ignore[attr-defined]  # a benchmark reaches in

if __name__ == "__main__":
    run_app(app)
