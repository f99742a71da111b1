"""`qexplorer dataset split | build`."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexplorer.cli.common import Config, Fields, OpenSearchUrl, lines_to, progress, settings_of
from qexplorer.errors import BadInputError, ConfigError

if TYPE_CHECKING:
    from qexplorer.learn.build import Asker, Judges
    from qexplorer.learn.llm_judge import LlmJudge
    from qexplorer.learn.store import Store
    from qexplorer.llm import EngineSettings
    from qexplorer.policies import Policies
    from qexplorer.settings import Settings
    from schemas import FlaggedListing

app = typer.Typer(no_args_is_help=True, help="Split a corpus, and build training data from what searches find.")


@app.command()
def split(
    corpus: Annotated[Path, typer.Argument(help="Rows with the columns toxic and kind (JSONL, CSV, Parquet).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the parts.")],
    source: Annotated[list[str] | None, typer.Option(help="Keep only rows of this source. May be repeated.")] = None,
    hold_out: Annotated[list[str] | None, typer.Option(help="A kind for the test alone. May be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
) -> None:
    """Split by near-duplicate cluster: flags of train, dev and test, and the listings that training may search."""
    from qexplorer.corpus import PARTS, open_corpus

    if corpus.resolve() in {(out / f"{part}.jsonl").resolve() for part in (*PARTS, "listings")}:
        raise ConfigError(f"{corpus} would be overwritten by a part of it", remedy="Name another folder: --out")
    made = open_corpus(corpus, sources=source or (), held_out=hold_out or (), seed=seed)
    for part in PARTS:
        with lines_to(out / f"{part}.jsonl") as lines:
            for item in made.of(part):
                lines.write({**item.listing.model_dump(mode="json", exclude_none=True), "kind": item.kind})
    with lines_to(out / "listings.jsonl") as lines:
        for listing in (*made.others, *(item.listing for item in made.of("train"))):
            lines.write(listing.to_bytes())
    sizes = ", ".join(f"{part} {len(made.of(part))}" for part in PARTS)
    first = f" (the first: {made.first_refused})" if made.refused else ""
    typer.echo(
        f"{out}: {sizes}, {len(made.others)} others, {made.refused} rows refused{first}; corpus {made.digest}", err=True
    )


@app.command()
def build(
    flags: Annotated[Path, typer.Argument(help="Known flags: flag records, or listings with a kind; - for JSONL.")],
    index: Annotated[str, typer.Option(help="Index of listings to search.")],
    triage: Annotated[Path, typer.Option(help="The triage that judges what is not labelled.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the candidate store; an existing one is added to.")],
    verdicts: Annotated[Path | None, typer.Option(help="Verdict records of reviewers (JSONL).")] = None,
    searches: Annotated[int, typer.Option(min=1, help="At most so many distinct queries are run.")] = 30_000,
    model: Annotated[str | None, typer.Option(help="Model that writes replies; none without it.")] = None,
    adapter: Annotated[str, typer.Option(help="Adapter of that model.")] = "",
    prompt: Annotated[str, typer.Option(help="Prompt template of that model.")] = "known",
    samples: Annotated[int, typer.Option(min=1, help="Replies drawn of each flag.")] = 8,
    temperature: Annotated[float, typer.Option(help="Temperature of the draws.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of draws and targets.")] = 0,
    kept_back: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the campaigns kept back from SFT, for preferences.")
    ] = 0.4,
    llm_judge: Annotated[
        str | None, typer.Option(help="Engine of the settings that judges what is not labelled, before the triage.")
    ] = None,
    field: Fields = None,
    opensearch: OpenSearchUrl = None,
    config: Config = None,
) -> None:
    """Run what could find the flags' siblings, judge what it finds, and write sft.parquet and pairs.parquet."""
    from qexplorer.learn.build import Judges
    from qexplorer.learn.store import Store, triage_of, write_whole
    from qexplorer.policies import load_policies
    from qexplorer.triage import open_triage

    settings = settings_of(config, opensearch)
    judge = open_triage(triage)
    policies = load_policies(settings.policies)
    known = _flags(flags, field, policies)
    if not known:
        raise BadInputError(f"{flags} has no flags", remedy="Each needs a kind that a policy takes")
    asker = _asker(model, adapter, prompt, samples, temperature, seed) if model else None
    store = Store(out)
    store.claim(index, settings.search.index(index).model_dump(mode="json"))
    assert judge is not None  # noqa: S101 - a path was given
    # Later rounds judge what they find by the same triage.
    write_whole(triage_of(store, index), triage.read_bytes())
    model_judge = _llm_judge(llm_judge, settings.engines, policies, known) if llm_judge else None
    judges = Judges(triage=judge, verdicts=_verdicts(verdicts), llm=model_judge)
    made = asyncio.run(_build(settings, store, index, known, judges, asker, most=searches, seed=seed, share=kept_back))
    typer.echo(made, err=True)


async def _build(
    settings: "Settings",
    store: "Store",
    index: str,
    known: list["FlaggedListing"],
    judges: "Judges",
    asker: "Asker | None",
    *,
    most: int,
    seed: int,
    share: float,
) -> str:
    from qexplorer.learn.build import fill
    from qexplorer.learn.card import as_markdown
    from qexplorer.learn.derive import write_sets
    from qexplorer.search.client import OpenSearchClient

    async with OpenSearchClient(settings.search) as client:
        with progress("searches") as meter:
            await fill(store, client, index, known, judges, most=most, asker=asker, tell=meter.more)
    inputs = {"seed": seed, "triage": judges.triage.version}
    if judges.llm is not None:
        inputs["llm judge"] = judges.llm.version
    return as_markdown(write_sets(store, inputs=inputs, seed=seed, share=share))


def _flags(source: Path, field: list[str] | None, policies: "Policies") -> list["FlaggedListing"]:
    from qexplorer.offline import read_flags
    from qexplorer.rows import parse_fields

    given = read_flags(source, parse_fields(field or ()), policies, lambda line: typer.echo(line, err=True))
    return [flag for flag, _ in given]


def _verdicts(path: Path | None) -> dict[str, bool]:
    from qexplorer.rows import read_rows
    from schemas import Decision, Verdict, WireError

    if path is None:
        return {}
    decided = {Decision.VIOLATING: True, Decision.NOT_VIOLATING: False}
    verdicts: dict[str, bool] = {}
    for row in read_rows(path):
        try:
            verdict = Verdict.from_value(row.value)
        except WireError as error:
            typer.echo(f"{path}, row {row.number} left out: {row.problem or error}", err=True)
            continue
        if verdict.decision in decided:
            verdicts[verdict.review_key] = decided[verdict.decision]
    return verdicts


def _llm_judge(
    name: str, engines: "Mapping[str, EngineSettings]", policies: "Policies", flags: list["FlaggedListing"]
) -> "LlmJudge":
    """Open the engine that judges; what it reads must be allowed to leave this machine where it does."""
    from qexplorer.learn.llm_judge import LlmJudge
    from qexplorer.llm import open_engine

    if name not in engines:
        raise ConfigError(f"there is no engine {name}", remedy=f"The settings name {', '.join(engines)}")
    used = {flag.policy for flag in flags}
    for policy in policies.policies:
        if policy.id in used:
            policy.require_may_read(engines[name])
    return LlmJudge(open_engine(engines[name]))


def _asker(model: str, adapter: str, prompt: str, samples: int, temperature: float, seed: int) -> "Asker":
    from qexplorer.learn.build import Asker
    from qexplorer.llm import EngineSettings, Sampling, load_template, open_engine

    engine = open_engine(EngineSettings(model=model, adapter=adapter))
    sampling = Sampling(samples=samples, temperature=temperature, seed=seed)
    return Asker(engine=engine, template=load_template(prompt), sampling=sampling)
