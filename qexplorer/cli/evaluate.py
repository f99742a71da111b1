"""`qexplorer evaluate` and `qexplorer compare`."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qexplorer.cli.common import Config, OpenSearchUrl, opensearch_of, settings_of
from qexplorer.errors import ConfigError
from qexplorer.evaluation.names import Protocol

if TYPE_CHECKING:
    from qexplorer.corpus import Corpus
    from qexplorer.evaluation.methods.replies import Replies
    from qexplorer.evaluation.run import Plan
    from qexplorer.llm.engine import Sampling
    from qexplorer.settings import Settings

Judged = Literal["dev", "test"]
Unit = Literal["cluster", "campaign"]
LOADS = (1, 3, 6, 12)
DEFAULT = """
whole_text own_spans own_spans_by_triage nearest_spans nearest_spans_by_triage tfidf significant_text
""".split()


def evaluate(
    corpora: Annotated[list[Path], typer.Argument(help="Corpora with id, text, kind, toxic (JSONL, CSV, Parquet).")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the results, a new one; a run that was cut off goes on.")
    ],
    source: Annotated[
        list[str] | None, typer.Option(help="CORPUS=SOURCE: keep only rows of this source. May be repeated.")
    ] = None,
    part: Annotated[Judged, typer.Option(help="dev, or test with --release.")] = "dev",
    release: Annotated[str, typer.Option(help="Opens the test part; the name is written into the results.")] = "",
    method: Annotated[list[str] | None, typer.Option(help="A method; may be repeated. `none`, or `all`.")] = None,
    extractor: Annotated[
        list[str] | None, typer.Option(help="NAME=MODEL[,ADAPTER[,PROMPT]]; no adapter where empty. May be repeated.")
    ] = None,
    searches: Annotated[list[int] | None, typer.Option(min=1, help="Searches a seed; may be repeated.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples of an extractor beside the greedy reply.")] = 8,
    temperature: Annotated[float, typer.Option(min=0.01, help="Temperature of the samples.")] = 1.0,
    groups: Annotated[int, typer.Option(min=0, help="Groups of seeds at most; 0 for all.")] = 0,
    group_size: Annotated[int, typer.Option(min=1, help="Seeds a group.")] = 20,
    unit: Annotated[
        Unit, typer.Option("--seeds-by", help="One seed a cluster, or a campaign where there are few clusters.")
    ] = "cluster",
    reviews: Annotated[int, typer.Option(min=1, help="Reviews after each seed.")] = 10,
    triage: Annotated[bool, typer.Option(help="Have a triage order the pool.")] = True,
    both: Annotated[bool, typer.Option("--both", help="Run with a triage and without.")] = False,
    protocol: Annotated[
        list[Protocol] | None,
        typer.Option(help="pool, per_seed or disguised (with pool: what survives). May be repeated."),
    ] = None,
    held_out: Annotated[
        list[str] | None, typer.Option(help="A kind that training lacks: only its seeds are judged. May be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, the groups, the triage and the samples.")] = 0,
    human: Annotated[Path | None, typer.Option(help="CSV of people's queries, for the method `human`.")] = None,
    human_template: Annotated[
        Path | None, typer.Option(help="Write a CSV of the seeds, for people to fill in, and end.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Folder of what is kept between runs: triages, replies.")] = None,
    config: Config = None,
    opensearch: OpenSearchUrl = None,
) -> None:
    """Judge methods on corpora and write tables, curves and what they cost."""
    from qexplorer.evaluation.case import CaseSettings, seeds_of
    from qexplorer.evaluation.methods.human import read_human, write_template
    from qexplorer.evaluation.results import require_new
    from qexplorer.evaluation.run import Plan
    from qexplorer.llm.engine import Sampling
    from qexplorer.paths import cache_dir

    if held_out and part != "test":
        raise ConfigError("--held-out kinds are in the test part alone", remedy="Use --part test with --release")
    if Protocol.TRANSFER in (protocol or ()):
        raise ConfigError("transfer is the pool protocol on --held-out kinds", remedy="Name the kinds instead")
    if (part == "test") != bool(release):
        raise ConfigError(
            f"the part {part} with the release {release!r}", remedy="Use dev, or test with --release for a release"
        )
    require_new(out)
    settings = settings_of(config, opensearch)
    sampling = Sampling(greedy=True, samples=samples, temperature=temperature, seed=seed)
    kept = work or cache_dir() / "evaluation"
    plan = Plan(
        case=CaseSettings(
            part=part, group_size=group_size, groups=groups, unit=unit, held_out=bool(held_out), seed=seed
        ),
        methods=_methods(method or DEFAULT, human=human),
        extractors=_extractors(settings, extractor or (), sampling, kept),
        loads=tuple(dict.fromkeys(searches or LOADS)),
        triage=(True, False) if both else (triage,),
        protocols=tuple(protocol or (Protocol.POOL,)),
        reviews=reviews,
        human=read_human(human) if human else {},
        work=kept,
    )
    opened = _corpora(corpora, source or (), held_out or (), seed)
    if human_template is not None:
        write_template(seeds_of(opened.values(), plan.case), human_template)
        return
    with opensearch_of(settings, opensearch) as reachable:
        asyncio.run(_evaluate(opened, plan, reachable, out, release))


async def _evaluate(
    corpora: Mapping[Path, "Corpus"], plan: "Plan", settings: "Settings", out: Path, release: str
) -> None:
    from qexplorer.clock import SystemClock
    from qexplorer.evaluation.describe import describe, describe_inputs
    from qexplorer.evaluation.report import html_report, markdown_report
    from qexplorer.evaluation.results import Results, write_results
    from qexplorer.evaluation.run import run_corpus
    from qexplorer.evaluation.table import markdown, tables
    from qexplorer.evaluation.unfinished import Unfinished
    from qexplorer.search.client import OpenSearchClient

    clock = SystemClock()
    began = clock.now()
    async with OpenSearchClient(settings.search) as client:
        version = str((await client.request("GET", "/"))["version"]["number"])
        inputs = describe_inputs(corpora, plan, opensearch=version)
        rows = Unfinished(out, inputs | {"release": release})
        if rows.rows:
            typer.echo(f"goes on behind {len(rows.rows)} groups that were done before it was cut off", err=True)
        for corpus in corpora.values():
            await run_corpus(corpus, plan, client, clock, rows, say=lambda line: typer.echo(line, err=True))
    meta = describe(inputs, corpora, began=began, ended=clock.now(), release=release)
    results = Results(rows=tuple(rows.rows), seeds=tuple(rows.seeds), meta=meta)
    write_results(results, out, pages={"report.md": markdown_report(results), "report.html": html_report(results)})
    rows.remove()
    for table in tables(rows.rows):
        typer.echo(markdown(table))
    typer.echo(f"written to {out}", err=True)


def compare(
    one: Annotated[str, typer.Argument(help="A results folder, or a method of the first --results.")],
    other: Annotated[str, typer.Argument(help="The baseline: a results folder, or a method.")],
    results: Annotated[
        Path | None, typer.Option(help="A results folder, when the arguments are methods of it.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="With two folders: only this method.")] = None,
) -> None:
    """Say which is better, by how much and how sure, for each corpus and load."""
    from qexplorer.evaluation.compare import compare_folders, compare_methods, sentence
    from qexplorer.evaluation.results import read_results

    if results is not None:
        found = compare_methods(read_results(results), one, other)
    else:
        found = compare_folders(read_results(Path(one)), read_results(Path(other)), method or ())
    for comparison in found:
        typer.echo(sentence(comparison))


def _methods(names: Sequence[str], *, human: Path | None) -> tuple[str, ...]:
    from qexplorer.evaluation.methods import METHODS, require_known

    if "all" in names:
        return tuple(name for name in METHODS if name != "human" or human)
    chosen = tuple(name for name in names if name != "none")
    require_known(chosen)
    if "human" in chosen and human is None:
        raise ConfigError("the method human has no queries", remedy="Name the file that people have filled in: --human")
    return chosen


def _extractors(settings: "Settings", given: Sequence[str], sampling: "Sampling", folder: Path) -> dict[str, "Replies"]:
    """Open an engine for each `NAME=MODEL,ADAPTER,PROMPT`."""
    from qexplorer.evaluation.methods import METHODS
    from qexplorer.evaluation.methods.replies import Replies
    from qexplorer.llm.adapters import prompt_for
    from qexplorer.llm.opening import open_engine

    made: dict[str, Replies] = {}
    for text in given:
        name, _, value = text.partition("=")
        model, adapter, prompt = (*value.split(","), "", "")[:3]
        if not name or "=" not in text or value.count(",") > 2:
            raise ConfigError(f"--extractor {text} is of another form", remedy="Write NAME=MODEL,ADAPTER,PROMPT")
        # Rows are told apart by the method's name, and what is made of an extractor is called NAME:… and NAME+….
        if name in made or name in METHODS or not {":", "+"}.isdisjoint(name):
            raise ConfigError(
                f"--extractor {text}: the name {name} is taken", remedy="Choose another one, without a colon or plus"
            )
        engine = settings.engines.get(model or "default")
        if engine is None:
            kind: dict[str, Any] = {"kind": "scripted"} if model == "scripted" else {"model": model}
            engine = settings.engines["default"].model_copy(update=kind)
        engine = engine.model_copy(update={"adapter": adapter})
        prompt = prompt or prompt_for(adapter)
        made[name] = Replies(open_engine(engine), prompt=prompt, sampling=sampling, folder=folder)
    return made


def _corpora(paths: Sequence[Path], sources: Sequence[str], held_out: Sequence[str], seed: int) -> dict[Path, "Corpus"]:
    from qexplorer.corpus import open_corpus
    from qexplorer.rows import STDIN

    if STDIN in paths:
        raise ConfigError("a corpus is read more than once, and standard input cannot be", remedy="Give a file")
    named: dict[str, list[str]] = {}
    for text in sources:
        name, _, value = text.partition("=")
        named.setdefault(name, []).append(value)
    names = {path: path.name.split(".")[0] for path in paths}
    called: dict[str, Path] = {}
    for path, name in names.items():
        if (first := called.setdefault(name, path)) != path:
            raise ConfigError(
                f"{first} and {path} would both be the corpus {name}: the file name up to its first dot",
                remedy="Rename one of them, or evaluate each into a folder of its own",
            )
    if unknown := sorted(set(named) - set(names.values())):
        raise ConfigError(
            f"--source names {unknown[0]}, which is no corpus of this run",
            remedy=f"Name one of {', '.join(names.values())}",
        )
    return {
        path: open_corpus(path, name=name, sources=named.get(name, ()), held_out=held_out, seed=seed)
        for path, name in names.items()
    }
