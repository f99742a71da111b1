"""The long run: `python -m tests.faults --schedules 200`, with a table of what was kept and what was not."""

import argparse
import asyncio
import contextlib
import logging
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from qexplorer.stack import running
from tests.faults.checker import Verdict
from tests.faults.run import Run
from tests.faults.schedule import FLAGS, Blow, draw


def main() -> int:
    """Run the schedules; return 1 when a promise was broken. Folders of those are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--search-nodes", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="longer stops and up to four workers")
    parser.add_argument("--outage", type=float, default=0.0, help="instead: one outage of the search, in seconds")
    options = parser.parse_args()
    # The reader and the sender of the test lose their broker as well, and say so.
    for name in ("aiokafka", "aiohttp"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    verdicts: list[Verdict] = []
    heap = 256 if options.brokers > 1 else 512
    with running(kafka_nodes=options.brokers, opensearch_nodes=options.search_nodes, kafka_heap_mb=heap) as engines:
        for seed in range(options.first, options.first + options.schedules):
            schedule = draw(seed, long=options.long, brokers=options.brokers, search_nodes=options.search_nodes)
            if options.outage:
                blow = Blow(kind="search gone", at=2.0, lasts=options.outage, which=0)
                schedule = replace(schedule, blows=(blow,))
            folder = Path(tempfile.mkdtemp(prefix=f"faults-{seed}-"))
            began = time.monotonic()
            run = Run(schedule, engines, folder)
            verdict = asyncio.run(run.verdict())
            verdicts.append(verdict)
            drained = run.history.drained - run.history.healed
            took = time.monotonic() - began
            parts = [
                schedule.text(),
                f"drained {drained:.0f} s after",
                f"{verdict.repeated} repeated under one key",
                f"{run.fleet.exits} exits",
                f"{took:.0f} s: {verdict.text()}",
                *(
                    [f"MB of the workers: {', '.join(f'{each:.0f}' for each in run.megabytes)}"]
                    if run.megabytes
                    else []
                ),
                *([] if verdict.kept else [f"see {folder}"]),
            ]
            print("; ".join(parts), flush=True)
            if verdict.kept:
                with contextlib.suppress(OSError):
                    shutil.rmtree(folder)
    print(table(verdicts))
    return 0 if all(verdict.kept for verdict in verdicts) else 1


def table(verdicts: list[Verdict]) -> str:
    """Return the summary: schedules, flags, lost, doubled, out of order, late, dead letters by reason."""
    letters: dict[str, int] = {}
    for verdict in verdicts:
        for reason, count in verdict.letters.items():
            letters[reason] = letters.get(reason, 0) + count
    rows = {
        "schedules": len(verdicts),
        "messages": FLAGS * len(verdicts),
        "lost": sum(len(verdict.lost) for verdict in verdicts),
        "set aside without a reason to": sum(len(verdict.unexplained) for verdict in verdicts),
        "doubled without a fault": sum(len(verdict.doubled) for verdict in verdicts),
        "repeated under one key around a fault": sum(verdict.repeated for verdict in verdicts),
        "out of order": sum(len(verdict.disordered) for verdict in verdicts),
        "drained too late": sum(verdict.late_s > 0 for verdict in verdicts),
        **{f"dead letters, {reason}": count for reason, count in sorted(letters.items())},
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {count}" for name, count in rows.items())


if __name__ == "__main__":
    sys.exit(main())
