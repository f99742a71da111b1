"""`qexplorer triage train | score`."""

from pathlib import Path
from typing import Annotated

import typer

from qexplorer.cli.common import Fields, Output, lines_to, progress

app = typer.Typer(no_args_is_help=True, help="Train the model that orders the review queue, or try it.")


@app.command()
def train(
    flags: Annotated[Path, typer.Argument(help="Known flags: flag records, or listings (JSONL, CSV, Parquet).")],
    listings: Annotated[Path, typer.Argument(help="Random listings; those among the flags are left out.")],
    out: Annotated[Path, typer.Option("--out", help="The artefact to write.")] = Path("triage.safetensors"),
    field: Fields = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
) -> None:
    """Train on known flags against random listings, which are unlabelled and not taken for harmless."""
    from qexplorer.rows import parse_fields
    from qexplorer.triage import train_triage

    fields = parse_fields(field or ())
    known = _texts(flags, fields)
    others = {name: text for name, text in _texts(listings, fields).items() if name not in known}
    report = train_triage(list(known.values()), list(others.values()), out, seed=seed)
    typer.echo(
        f"{out}: {report.flags} flags, {report.unlabelled} unlabelled of which {report.left_out} look like flags and "
        f"were left out; on texts not seen AUC {report.auc:.3f}, average precision {report.average_precision:.3f}",
        err=True,
    )


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="The artefact.")],
    listings: Annotated[Path, typer.Argument(help="Listings; - for JSONL on standard input.")] = Path("-"),
    field: Fields = None,
    out: Output = None,
) -> None:
    """Write id and probability of each listing."""
    from qexplorer.rows import parse_fields
    from qexplorer.triage import open_triage

    triage = open_triage(model)
    texts = _texts(listings, parse_fields(field or ()))
    values = triage.score(list(texts.values())) if triage else []
    with lines_to(out) as lines:
        for name, value in zip(texts, values, strict=True):
            lines.write({"id": name, "score": round(value, 4)})


def _texts(path: Path, fields: dict[str, str]) -> dict[str, str]:
    """Return id → normalised text of flags or listings; rows that are neither are counted on stderr."""
    from qexplorer.normalise import normalise
    from qexplorer.rows import read_rows, to_listing
    from schemas import FlaggedListing, WireError

    texts: dict[str, str] = {}
    bad: list[str] = []
    with progress(f"reading {path.name}") as meter:
        for row in read_rows(path):
            meter.advance()
            if row.value is None:
                bad.append(f"row {row.number}: {row.problem}")
                continue
            try:
                flag = "listing" in row.value
                listing = FlaggedListing.from_value(row.value).listing if flag else to_listing(row.value, fields)
            except WireError as error:
                bad.append(f"row {row.number}: {error}")
                continue
            texts[listing.id] = normalise(listing.text)
    if bad:
        typer.echo(f"{path}: {len(bad)} rows left out, the first: {bad[0]}", err=True)
    return texts
