"""A replay of 100,000 flags with the scripted engine: its rate, and its memory."""

import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml

from qexplorer.stack import running
from qexplorer.stack.process import EngineProcess
from qexplorer.testing import a_flag
from tests.bench.memory import rss
from tests.bench.scale import ROOT
from tests.bench.site_of_bench import Bench

FLAGS = 100_000


async def replay() -> str:
    """Send the flags, replay them to a file, and watch the process."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as name, running() as engines:
        folder = Path(name)
        bench = Bench(engines, folder, batch_size=64)
        # Each flag of a listing of its own: what was flagged before is not searched for again.
        await bench.prepare(FLAGS)
        await bench.send(
            a_flag(f"s{number}", f"zaza{number}x lean{number}x", flag_id=f"f{number}", flagged_at=now).to_bytes()
            for number in range(FLAGS)
        )
        (folder / "settings.yaml").write_text(yaml.safe_dump(bench.settings))
        command = ["/usr/bin/env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "worker", "replay", "--run", "bench"]
        command += ["--out", str(folder / "run.jsonl"), "--config", str(folder / "settings.yaml")]
        process = EngineProcess("replay", command, log=folder / "replay.log", folder=folder)
        sizes: list[tuple[float, int]] = []
        try:
            while process.is_running:
                sizes.append((time.monotonic(), rss(process.guard_pid)))
                await asyncio.sleep(0.5)
        finally:
            await asyncio.to_thread(process.stop)
        said = process.output().strip().splitlines()[-1]
    began, ended = sizes[0][0], sizes[-1][0]
    share = [((at - began) / (ended - began), size) for at, size in sizes if size]
    early = statistics.median(size for part, size in share if 0.1 <= part <= 0.2)
    late = statistics.median(size for part, size in share if part >= 0.9)
    most = max(size for _, size in share) / 2**20
    return f"{said}; at most {most:.0f} MB, from the second to the last tenth {late / early - 1:+.1%}"
