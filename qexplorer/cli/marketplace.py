"""`qexplorer marketplace`."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qexplorer.cli.common import Lines, Output, lines_to, progress
from qexplorer.marketplace.words import Half

if TYPE_CHECKING:
    from qexplorer.policies import Policies
    from schemas import FlaggedListing

TRUTH = ("kind", "toxic", "campaign", "variant")
TICK = 1_000


def marketplace(
    count: Annotated[int, typer.Option(help="How many listings.", min=0)] = 10_000,
    half: Annotated[Half, typer.Option(help="Words to learn from, or to be judged by.")] = Half.JUDGE,
    seed: Annotated[int, typer.Option(help="The same seed gives the same listings.")] = 1,
    prohibited: Annotated[float, typer.Option(help="Share of prohibited listings.", min=0, max=1)] = 0.03,
    look_alikes: Annotated[float, typer.Option(help="Share of honest look-alikes.", min=0, max=1)] = 0.05,
    out: Output = None,
    without_truth: Annotated[
        bool, typer.Option("--without-truth", help=f"Leave out the columns {', '.join(TRUTH)}.")
    ] = False,
    flags: Annotated[int, typer.Option(help="How many prohibited listings to flag, at random.", min=0)] = 0,
    flags_out: Annotated[Path | None, typer.Option("--flags-out", help="File for the flags.")] = None,
) -> None:
    """Write a synthetic second-hand marketplace (JSONL, or .gz of it) whose prohibited listings are known."""
    from qexplorer.marketplace import generate

    if bool(flags) != (flags_out is not None):
        raise typer.BadParameter("--flags and --flags-out go together")
    rows = generate(count, half=half, seed=seed, prohibited=prohibited, look_alikes=look_alikes)
    sample = _Sample(flags, random.Random(seed))
    with _jsonl_to(out) as lines, progress("writing listings", count) as meter:
        for number, row in enumerate(rows, 1):
            if row["toxic"]:
                sample.add(row)
            lines.write({name: value for name, value in row.items() if name not in TRUTH} if without_truth else row)
            if number % TICK == 0:
                meter.advance(TICK)
    if flags_out is not None:
        _write_flags(sample.rows, flags_out)


class _Sample:
    """A uniform sample of a stream (Vitter's algorithm R), in the memory of the sample."""

    def __init__(self, most: int, draw: random.Random) -> None:
        self.rows: list[dict[str, Any]] = []
        self._most = most
        self._draw = draw
        self._seen = 0

    def add(self, row: dict[str, Any]) -> None:
        self._seen += 1
        if len(self.rows) < self._most:
            self.rows.append(row)
        elif (at := int(self._draw.random() * self._seen)) < self._most:
            self.rows[at] = row


def _write_flags(rows: list[dict[str, Any]], path: Path) -> None:
    from qexplorer.policies import load_policies

    policies = load_policies(None)
    with _jsonl_to(path) as lines:
        for row in rows:
            lines.write(_flag(row, policies).to_bytes())


def _flag(row: dict[str, Any], policies: "Policies") -> "FlaggedListing":
    from schemas import FlaggedListing, Listing

    listing = Listing.from_value(row)
    return FlaggedListing(
        flag_id=f"marketplace-{listing.id}",
        listing=listing,
        kind=row["kind"],
        policy=policies.of_kind(row["kind"]),
        source="marketplace",
        flagged_at=row["updated_at"],
    )


@contextmanager
def _jsonl_to(path: Path | None) -> Iterator[Lines]:
    """Open a JSONL file, a gzipped one when its name ends in .gz, or standard output."""
    if path is None or path.suffix != ".gz":
        with lines_to(path) as lines:
            yield lines
        return
    import gzip

    path.parent.mkdir(parents=True, exist_ok=True)
    # No name and time in the header: the same seed gives the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=5, fileobj=raw, mtime=0) as file:
        yield Lines(file)
