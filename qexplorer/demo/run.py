"""The demo from nothing to its summary."""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexplorer.clock import SystemClock
from qexplorer.demo.data import DemoData, prepare
from qexplorer.demo.judge import judge, load_of, text_match
from qexplorer.demo.show import Beat, draw_curve, summary, write_records
from qexplorer.demo.workers import Inbox, Reader, WorkerProcess, inbox, make_topics, send_flags, workers
from qexplorer.errors import StackError
from qexplorer.policies import Policies, load_policies
from qexplorer.rows import Row, read_rows
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document, load
from qexplorer.settings import Settings, load_settings
from qexplorer.stack import Endpoints, running
from qexplorer.triage import open_triage, train_triage
from schemas import Listing

if TYPE_CHECKING:
    from rich.console import Console

PARTITIONS = 4
INDEX = "listings"
ANSWER_WITHIN_S = 600.0
START_WITHIN_S = 300.0
CONTACT_KEY = "demo"


def run_demo(
    source: Path | None, *, seeds: int, count: int, worker_count: int, model: str, folder: Path, console: "Console"
) -> None:
    """Run the loop on the file, or on the synthetic marketplace, and print what it found.

    Raises StackError when engines or workers do not come up, BadInputError when the data has too little to show.
    """
    # The workers run in the folder, so a relative path would mean another place to them.
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    policies = load_policies(None)
    started = time.monotonic()
    data = _data(source, policies, seeds=seeds, count=count, console=console)
    console.print(
        f"[green]✓[/] {data.name}: {len(data.listings)} listings on sale, {len(data.truth)} of them prohibited; "
        f"{len(data.seeds)} of these are flagged; {len(data.history)} flags of the past"
    )
    triage_path = folder / "triage.safetensors"
    with console.status("training the triage on the flags of the past"):
        report = train_triage(data.history, data.unlabelled, triage_path)
    console.print(f"[green]✓[/] triage trained on {report.flags} flags: AUC {report.auc:.3f} on texts it has not seen")
    with ExitStack() as stack:
        status = stack.enter_context(console.status("starting Kafka and OpenSearch"))
        engines = stack.enter_context(running(on_progress=status.update))
        status.stop()
        console.print(f"[green]✓[/] Kafka at {engines.kafka}, OpenSearch at {engines.opensearch}")
        settings = _settings(engines, triage_path, model, worker_count)
        asyncio.run(_loop(settings, policies, data, worker_count=worker_count, folder=folder, console=console))
    console.print(f"[dim]all of it in {time.monotonic() - started:.0f} s on {os.cpu_count()} cores[/]")


def _data(source: Path | None, policies: Policies, *, seeds: int, count: int, console: "Console") -> DemoData:
    from qexplorer.cli.common import progress

    rows: Iterable[Row]
    if source is None:
        from qexplorer.marketplace import Half, generate

        name = "the synthetic marketplace"
        made = generate(count, half=Half.JUDGE, seed=1)
        rows = (Row(number=number, value=row) for number, row in enumerate(made, start=1))
    else:
        name = source.name
        rows = read_rows(source)
    with progress(f"reading {name}") as meter:
        data = prepare(name, rows, policies, seeds=seeds, seed=1, on_rows=meter.advance)
    if data.refused:
        left_out = f"{data.refused} rows of {name} were left out"
        console.print(f"[yellow]![/] {left_out}, the first: {data.first_refused}")
    return data


def _settings(engines: Endpoints, triage: Path, model: str, worker_count: int) -> dict[str, Any]:
    """Return the workers' settings. Two torch processes must share the cores, or they stall each other."""
    threads = max(1, (os.cpu_count() or 1) // worker_count)
    adapter = "packaged" if model == "packaged" else ""
    kind = {"kind": "scripted"} if model == "scripted" else {"model": model, "adapter": adapter, "threads": threads}
    return {
        "kafka": {"brokers": engines.kafka},
        "search": {"url": engines.opensearch},
        "explore": {"contact_key": CONTACT_KEY},
        "worker": {"batch_size": 8, "batch_wait_s": 0.5},
        "engines": {"default": kind},
        "triage": str(triage),
    }


async def _loop(
    raw: dict[str, Any], policies: Policies, data: DemoData, *, worker_count: int, folder: Path, console: "Console"
) -> None:
    settings = load_settings(**raw)
    policies = policies.for_engines(settings.engines)
    async with OpenSearchClient(settings.search) as client:
        with console.status(f"indexing {len(data.listings)} listings"):
            await _index(client, data.listings, settings)
        console.print(f"[green]✓[/] {len(data.listings)} listings indexed")
        make_topics(settings.kafka.brokers, partitions=PARTITIONS)
        with workers(worker_count, raw, folder) as processes:
            with console.status(f"{worker_count} workers are loading the model"):
                await _await_ready(processes)
            console.print(f"[green]✓[/] {worker_count} workers ready")
            box, seconds = await _watch(settings, data, processes, console)
        console.print("[green]✓[/] every flag is answered; judging against a text match with as many hits")
        audits, suspects = list(box.audits.values()), list(box.suspects.values())
        fetched, searches = load_of(audits)
        hits = max(10, round(fetched / max(1, len(data.seeds))))
        triage = open_triage(settings.triage)
        matched, matched_hits = await text_match(client, data.seeds, policies, settings, triage, hits=min(hits, 1000))
    seeds = {flag.listing.id for flag in data.seeds}
    truth = {name: known for name, known in data.truth.items() if name not in seeds}
    ours = judge(suspects, truth, fetched=fetched, searches=searches)
    rival = judge(matched, truth, fetched=matched_hits, searches=len(data.seeds))
    write_records(folder, box)
    draw_curve(folder / "curve.png", data, ours, rival)
    summary(console, data, box, ours, rival, folder=folder, seconds=seconds)


async def _index(client: OpenSearchClient, listings: Sequence[Listing], settings: Settings) -> None:
    rows = (Row(number=number, value={"place": number}) for number in range(len(listings)))
    key = settings.explore.contact_key.get_secret_value().encode()
    await load(
        client,
        INDEX,
        rows,
        convert=partial(_indexed, listings=listings, key=key),
        clock=SystemClock(),
    )


def _indexed(row: Row, *, listings: Sequence[Listing], key: bytes) -> Any:
    return document(listings[row.number], key)


async def _await_ready(processes: Sequence[WorkerProcess]) -> None:
    import aiohttp

    until = time.monotonic() + START_WITHIN_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        for worker in processes:
            while not await _is_ready(http, worker):
                if not worker.process.is_running or time.monotonic() > until:
                    last = "\n".join(worker.process.output().splitlines()[-5:])
                    raise StackError(
                        f"{worker.process.name} did not get ready:\n{last}", remedy=f"Read {worker.process.log}"
                    )
                await asyncio.sleep(0.25)


async def _is_ready(http: Any, worker: WorkerProcess) -> bool:
    import aiohttp

    try:
        async with http.get(f"{worker.url}/ready") as answer:
            return bool(answer.status == 200)
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _watch(
    settings: Settings, data: DemoData, processes: Sequence[WorkerProcess], console: "Console"
) -> tuple[Inbox, float]:
    """Send the flags and show what comes out, until each has its answer."""
    import aiohttp

    async with inbox(settings.kafka.brokers) as reader, aiohttp.ClientSession() as http:
        await send_flags(settings.kafka.brokers, data.seeds)
        started = time.monotonic()
        with console.status("flags are on their way") as status:
            shown = started
            while len(reader.box.results) < len(data.seeds):
                await reader.read(0.5)
                beat = await _beat(reader, data, processes, http, time.monotonic() - started)
                status.update(beat.line())
                # Without a terminal there is no status line: say something now and then.
                if not console.is_terminal and time.monotonic() - shown > 10:
                    shown = time.monotonic()
                    console.print(beat.line(), soft_wrap=True)
                _check(processes, time.monotonic() - started)
            seconds = time.monotonic() - started
            await reader.read(1.0)
        console.print((await _beat(reader, data, processes, http, seconds)).line(), soft_wrap=True)
        return reader.box, seconds


async def _beat(reader: Reader, data: DemoData, processes: Sequence[WorkerProcess], http: Any, seconds: float) -> Beat:
    lines = [f"{worker.process.name}: {await _doing(http, worker)}" for worker in processes]
    return Beat(sent=len(data.seeds), box=reader.box, seconds=seconds, workers=lines)


async def _doing(http: Any, worker: WorkerProcess) -> str:
    import aiohttp

    try:
        async with http.get(f"{worker.url}/status") as answer:
            seen = await answer.json()
    except (aiohttp.ClientError, TimeoutError):
        return "silent"
    return f"{seen.get('flags', 0):.0f} flags"


def _check(processes: Sequence[WorkerProcess], seconds: float) -> None:
    for worker in processes:
        if not worker.process.is_running:
            raise StackError(f"{worker.process.name} has ended", remedy=f"Read {worker.process.log}")
    if seconds > ANSWER_WITHIN_S:
        raise StackError(
            f"not every flag was answered within {ANSWER_WITHIN_S:.0f} s", remedy=f"Read {processes[0].process.log}"
        )
