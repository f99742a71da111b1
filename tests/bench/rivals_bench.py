"""The same job in four ways on real Kafka: batches of 64, each item sent and awaited, then the commit."""

import asyncio
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from qexplorer.paths import cache_dir
from qexplorer.stack import running
from qexplorer.stack.process import EngineProcess

COUNT, WARM, SIZE = 20_000, 4_000, 330
PASSES = 3
PARTITIONS = 4
FOLDER = Path(__file__).with_name("rivals")
ROOT = Path(__file__).parents[2]
JOBS = {"plain aiokafka": "plain.py", "ours": "ours.py", "faststream": "fast.py", "Quix Streams": "quix.py"}
GOALS = {"plain aiokafka": 0.85, "faststream": 1.0, "Quix Streams": 0.65}


async def against_rivals() -> str:
    """Return the rates of all in one run, in turn, and ours ÷ each."""
    python = await asyncio.to_thread(_environment)
    rates: dict[str, list[float]] = {name: [] for name in JOBS}
    with tempfile.TemporaryDirectory() as folder, running(opensearch=False) as engines:
        brokers = str(engines.kafka)
        await _fill(brokers)
        for turn in range(PASSES):
            for name, script in JOBS.items():
                target = f"out-{script.removesuffix('.py')}-{turn}"
                await _topic(brokers, target)
                interpreter = sys.executable if name in {"ours", "plain aiokafka"} else python
                command = ["/usr/bin/env", f"PYTHONPATH={ROOT if name == 'ours' else ''}", interpreter]
                command += [str(FOLDER / script), brokers, "in", target]
                process = EngineProcess(name, command, log=Path(folder) / f"{target}.log", folder=Path(folder))
                try:
                    rates[name].append(await _rate(brokers, target, process))
                finally:
                    await asyncio.to_thread(process.stop)
    best = {name: max(each) for name, each in rates.items()}
    ours = best["ours"]
    parts = [f"{name} {rate:,.0f}" for name, rate in best.items()]
    ratios = [f"{ours / best[name]:.2f} × {name} (goal ≥ {goal})" for name, goal in GOALS.items()]
    cores = os.cpu_count()
    return (
        f"{COUNT} messages of {SIZE} bytes, batches of 64, {cores} cores, best of {PASSES} in turn, messages/s: "
        f"{', '.join(parts)}; ours is {', '.join(ratios)}"
    )


def _environment() -> str:
    """Return the interpreter of the rivals' environment; it is made the first time."""
    folder = cache_dir() / "bench-rivals"
    python = folder / "bin" / "python"
    wanted = (FOLDER / "requirements.txt").read_text()
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q", "-r", str(FOLDER / "requirements.txt")]
        subprocess.run(install, check=True)
        done.write_text(wanted)
    return str(python)


async def _fill(brokers: str) -> None:
    await _topic(brokers, "in")
    producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=20)
    await producer.start()
    for number in range(COUNT):
        await producer.send("in", value=b"x" * SIZE, key=str(number).encode(), partition=number % PARTITIONS)
    await producer.stop()


async def _topic(brokers: str, name: str) -> None:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    # The broker's own time: Quix Streams hands on that of the source.
    await admin.create_topics(
        [NewTopic(name, PARTITIONS, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})]
    )
    await admin.close()


async def _rate(brokers: str, target: str, process: EngineProcess) -> float:
    """Return messages a second by the times at which the broker had them, the first ones left out."""
    consumer: Any = AIOKafkaConsumer(target, bootstrap_servers=brokers, auto_offset_reset="earliest")
    await consumer.start()
    times: list[int] = []
    try:
        async with asyncio.timeout(180):
            while len(times) < COUNT:
                if not process.is_running:
                    raise RuntimeError(process.output()[-2000:])
                got = await consumer.getmany(timeout_ms=500, max_records=5000)
                times += [message.timestamp for messages in got.values() for message in messages]
                # Reading must not take the processor from the job.
                await asyncio.sleep(0.5)
    finally:
        await consumer.stop()
    times.sort()
    return (COUNT - WARM) / ((times[-1] - times[WARM]) / 1000)
