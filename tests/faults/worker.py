"""The real worker with points at which a test can break it: `python -m tests.faults.worker run …`.

`FAULTS_FILE` names a file of JSON that the test rewrites: `model` is "", "out of memory" or "hangs"; `producer` is true
while nothing can be sent; `ports` maps a broker's port to that of the proxy before it. With `FAULTS_UNSAFE=1` batches
are taken by `Stream.take`, which acknowledges before the work is done: the checker must find the loss.

The inference process is spawned and imports this module anew, so its engines are breakable too.
"""

import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiokafka.conn

import worker.app
import worker.inference
from qexplorer.cli.run import run as run_app
from qexplorer.errors import BrokerUnavailableError
from qexplorer.llm.engine import Engine, EngineSettings, EngineVersion, Prompt, Reply, Sampling
from qexplorer.llm.opening import open_engine
from worker.__main__ import app
from worker.kafka import KafkaPublisher, Record


def fault(name: str) -> Any:
    """Return what the test wants broken now."""
    try:
        return json.loads(Path(os.environ["FAULTS_FILE"]).read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError):
        return None


class BreakableEngine:
    """An engine that runs out of memory, or hangs, while it is told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def version(self) -> EngineVersion:
        """Name the engine inside."""
        return self._engine.version

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, deadline_s: float) -> list[Reply]:
        """Answer, or break."""
        wanted = fault("model")
        if wanted == "out of memory":
            raise MemoryError("CUDA out of memory")
        while wanted == "hangs":
            time.sleep(0.1)
            wanted = fault("model") or "hangs"  # a process that hangs does not come back by itself
        return self._engine.generate(prompts, sampling, deadline_s=deadline_s)


def _open(settings: EngineSettings) -> Engine:
    return BreakableEngine(open_engine(settings))


_publish = KafkaPublisher.publish
_init = aiokafka.conn.AIOKafkaConnection.__init__


async def _breakable_publish(self: KafkaPublisher, records: Sequence[Record]) -> None:
    if fault("producer"):
        raise BrokerUnavailableError("scripted: nothing can be sent")
    await _publish(self, records)


def _through_proxy(self: Any, host: str, port: int, **options: Any) -> None:
    _init(self, host, (fault("ports") or {}).get(str(port), port), **options)


async def _unsafe_batches(_app: Any, stream: Any, size: int, wait_s: float) -> AsyncIterator[Any]:
    async for values in stream.take(size, within=wait_s):
        yield _Unsafe(values)


class _Unsafe:
    """A batch as `take` gives it: values alone, acknowledged by the stream itself."""

    def __init__(self, values: Sequence[bytes]) -> None:
        # Where they stood is not known either.
        message = SimpleNamespace(topic="unknown", partition=0, offset=0, key=None, headers=())
        self.events = [SimpleNamespace(message=message, value=value) for value in values]

    def is_stale(self) -> bool:
        return False

    def ack(self) -> int:
        return 0


worker.inference.open_engine = _open  # type: ignore[attr-defined]  # a test reaches in
KafkaPublisher.publish = _breakable_publish  # type: ignore[method-assign]
aiokafka.conn.AIOKafkaConnection.__init__ = _through_proxy
if os.environ.get("FAULTS_UNSAFE") == "1":
    worker.app.batches = _unsafe_batches  # type: ignore[attr-defined, assignment]  # likewise

if __name__ == "__main__":
    run_app(app)
