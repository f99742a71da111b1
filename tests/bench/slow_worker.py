"""The real worker with an engine that takes a set time for a batch.

`ENGINE_S=0.05 python -m tests.bench.slow_worker run …`. The inference process is spawned and imports this module anew,
so its engines are slow too.
"""

import os

import worker.inference
from qexplorer.cli.run import run as run_app
from qexplorer.llm.engine import Engine, EngineSettings
from qexplorer.llm.scripted import ScriptedEngine, salient_words
from worker.__main__ import app


def _open(settings: EngineSettings) -> Engine:
    del settings
    return ScriptedEngine(reply=salient_words, delay_s=float(os.environ["ENGINE_S"]))


worker.inference.open_engine = _open  # type: ignore[attr-defined]  # a benchmark reaches in

if __name__ == "__main__":
    run_app(app)
