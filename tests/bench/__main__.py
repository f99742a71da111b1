"""Speed and memory as ratios within one run: `make bench`, or `python -m tests.bench NAME …`."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from qexplorer.logs import configure_logs
from tests.bench import (
    batching,
    dtypes,
    generate,
    kafka,
    membership,
    memory,
    overlap,
    replay,
    rivals_bench,
    scale,
    training,
)

BENCHES: dict[str, Callable[[], Coroutine[Any, Any, str]]] = {
    "help": memory.help_time,
    "overlap": overlap.overlap,
    "generate": generate.packaged_against_plain,
    "dtypes": dtypes.auto_against_float32,
    "pipeline": generate.pipeline_against_raw,
    "training": training.trainer_against_bare_loop,
    "kafka": kafka.worker_against_plain_loop,
    "rivals": rivals_bench.against_rivals,
    "batching": batching.batching,
    "scale": scale.scale,
    "burst": scale.burst,
    "skew": scale.skew,
    "membership": membership.rolling_restart,
    "replay": replay.replay,
    "memory": memory.worker_memory,
    "million": memory.million_flags,
}


def main() -> None:
    """Run the benchmarks that are named, or all, and print a line each."""
    configure_logs("warning")
    for name in sys.argv[1:] or BENCHES:
        print(f"{name:9} {asyncio.run(BENCHES[name]())}", flush=True)


if __name__ == "__main__":
    main()
