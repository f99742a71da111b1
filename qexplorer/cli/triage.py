"""`qexplorer triage train | score`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexplorer.cli.common import Config, Fields, Output, lines_to, progress, settings_of

if TYPE_CHECKING:
    from qexplorer.triage import KnownFlag

app = typer.Typer(no_args_is_help=True, help="Train the model that orders the review queue, or try it.")


@app.command()
def train(
    flags: Annotated[
        Path, typer.Argument(help="Known flags, oldest first: flag records or listings (JSONL, CSV, Parquet).")
    ],
    listings: Annotated[Path, typer.Argument(help="Random listings; those among the flags are left out.")],
    out: Annotated[Path, typer.Option("--out", help="The artefact to write.")] = Path("triage.safetensors"),
    field: Fields = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    config: Config = None,
) -> None:
    """Train on known flags against random listings, which are unlabelled and not taken for harmless."""
    from qexplorer.policies import load_policies
    from qexplorer.rows import parse_fields
    from qexplorer.triage import train_triage

    fields = parse_fields(field or ())
    policy_of = load_policies(settings_of(config).policies).of_kind
    known = _texts(flags, fields, policy_of)
    others = [row.text for name, row in _texts(listings, fields, policy_of).items() if name not in known]
    report = train_triage(list(known.values()), others, out, seed=seed)
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
    texts = _texts(listings, parse_fields(field or ()), lambda _: "")
    values = triage.score([row.text for row in texts.values()]) if triage else []
    with lines_to(out) as lines:
        for name, value in zip(texts, values, strict=True):
            lines.write({"id": name, "score": round(value, 4)})


def _texts(path: Path, fields: dict[str, str], policy_of: Callable[[str], str]) -> "dict[str, KnownFlag]":
    """Return rows by id, the policy "" without a kind; those that are none are counted on stderr."""
    from qexplorer.rows import read_rows, to_listing
    from qexplorer.triage import KnownFlag
    from schemas import FlaggedListing, WireError

    texts: dict[str, KnownFlag] = {}
    bad: list[str] = []
    with progress(f"reading {path.name}") as meter:
        for row in read_rows(path):
            meter.advance()
            if row.value is None:
                bad.append(f"row {row.number}: {row.problem}")
                continue
            try:
                if "listing" in row.value:
                    flag = FlaggedListing.from_value(row.value)
                    listing, policy = flag.listing, flag.policy
                else:
                    listing = to_listing(row.value, fields)
                    policy = policy_of(str(row.value.get(fields.get("kind", "kind")) or ""))
            except WireError as error:
                bad.append(f"row {row.number}: {error}")
                continue
            texts[listing.id] = KnownFlag.of(listing, policy)
    if bad:
        typer.echo(f"{path}: {len(bad)} rows left out, the first: {bad[0]}", err=True)
    return texts
