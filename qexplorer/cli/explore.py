"""`qexplorer extract` and `qexplorer explore`: the core on files and pipes, without Kafka."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qexplorer.cli.common import Config, Fields, Lines, Meter, OpenSearchUrl, Output, lines_to, progress, settings_of
from qexplorer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from qexplorer.offline import Given
    from qexplorer.policies import Policies
    from qexplorer.settings import Settings

Source = Annotated[Path, typer.Argument(help="Flags, or listings with a kind; - for JSONL on standard input.")]
Model = Annotated[str | None, typer.Option("--model", help="A hub id, a path, `packaged`, or `scripted`.")]
Adapter = Annotated[str | None, typer.Option("--adapter", help="Path of a LoRA adapter.")]


def extract(
    source: Source = Path("-"),
    field: Fields = None,
    model: Model = None,
    adapter: Adapter = None,
    triage: Annotated[Path | None, typer.Option(help="Triage that orders the queries.")] = None,
    config: Config = None,
    out: Output = None,
) -> None:
    """Write the queries of each flag, one line a flag, without searching."""
    from qexplorer.candidates import propose
    from qexplorer.llm.prompt import load_template
    from qexplorer.normalise import normalise
    from qexplorer.offline import Engines, batched
    from qexplorer.policies import load_policies
    from qexplorer.triage import open_triage

    settings = _settings(config, None, model, adapter, triage)
    policies = load_policies(settings.policies).for_engines(settings.engines)
    opened = open_triage(settings.triage)
    engines = Engines(settings, opened)
    with lines_to(out) as lines, progress("extracting") as meter:
        for batch in batched(_given(source, field, policies), settings.worker.batch_size):
            started = time.monotonic()
            replies, versions = engines.reply(batch)
            ms = (time.monotonic() - started) * 1000 / len(batch)
            for (flag, policy), reply, version in zip(batch, replies, versions, strict=True):
                text = flag.listing.text[: settings.explore.max_text]  # as when it is explored
                proposal = propose(
                    text,
                    normalise(text),
                    reply,
                    contact_key=b"",
                    triage=opened,
                    policy=policy.id,
                )
                lines.write(
                    {
                        "flag_id": flag.flag_id,
                        "queries": [
                            {
                                "text": candidate.query.text,
                                "source": candidate.query.source.value,
                                "score": candidate.query.score,
                                "refused": candidate.refused,
                            }
                            for candidate in proposal.candidates
                        ],
                        "unparseable": proposal.unparseable,
                        "model": version.model,
                        "adapter": version.adapter,
                        "prompt": load_template(policy.prompt).version,
                        "prompt_tokens": reply.prompt_tokens,
                        "completion_tokens": reply.completion_tokens,
                        "ms": round(ms, 1),
                        "error": reply.error,
                    }
                )
                meter.advance()


def explore(
    source: Source = Path("-"),
    field: Fields = None,
    model: Model = None,
    adapter: Adapter = None,
    triage: Annotated[Path | None, typer.Option(help="Triage that orders and filters the hits.")] = None,
    index: Annotated[str | None, typer.Option(help="Search this index, whatever the policies say.")] = None,
    audit: Annotated[Path | None, typer.Option(help="File for the record of every candidate and flag.")] = None,
    config: Config = None,
    opensearch: OpenSearchUrl = None,
    out: Output = None,
) -> None:
    """Write the suspects of each flag, one line a suspect; what is known is kept in memory only."""
    from qexplorer.policies import load_policies

    settings = _settings(config, opensearch, model, adapter, triage)
    # A file holds flags of any age: to explore the past is what one would run this for.
    changes: dict[str, Any] = {"max_flag_age": timedelta.max, **({"index": index} if index else {})}
    policies = load_policies(settings.policies).for_engines(settings.engines)
    policies = policies.model_copy(
        update={"policies": tuple(policy.model_copy(update=changes) for policy in policies.policies)}
    )
    with lines_to(out) as lines, progress("exploring") as meter:
        if audit is None:
            asyncio.run(_explore(settings, _given(source, field, policies), lines, None, meter))
        else:
            with lines_to(audit) as audits:
                asyncio.run(_explore(settings, _given(source, field, policies), lines, audits, meter))


async def _explore(
    settings: "Settings",
    flags: Iterator["Given"],
    lines: Lines,
    audits: Lines | None,
    meter: Meter,
) -> None:
    from qexplorer.answer import Run
    from qexplorer.bank import QueryBank
    from qexplorer.clock import SystemClock
    from qexplorer.discoveries import Discoveries
    from qexplorer.explore import Explorer
    from qexplorer.limiter import SearchLimiter
    from qexplorer.offline import Engines, batched
    from qexplorer.search.client import OpenSearchClient
    from qexplorer.search.memory import MemoryStore
    from qexplorer.triage import open_triage

    clock, store, run = SystemClock(), MemoryStore(), Run(run_id="explore")
    triage = open_triage(settings.triage)
    engines = Engines(settings, triage)
    bank, discoveries = QueryBank(store, "bank"), Discoveries(store, "discoveries")
    outcomes: Counter[str] = Counter()
    suspect_count = 0
    async with OpenSearchClient(settings.search) as client:
        explorer = Explorer(
            client,
            clock=clock,
            limiter=SearchLimiter(settings.search.max_qps, clock),
            settings=settings.explore,
            search=settings.search,
            bank=bank,
            discoveries=discoveries,
            triage=triage,
        )
        for batch in batched(flags, settings.worker.batch_size):
            seeds = await explorer.seeds([(flag, policy, None) for flag, policy in batch], run)
            replies, versions = await asyncio.to_thread(engines.reply, batch)
            for answer in await explorer.explore(seeds, replies, versions, run):
                await discoveries.claim(answer.claims, clock.now(), settings.explore.claim_timeout_s)
                await discoveries.published(answer.claims, clock.now())
                await bank.write(answer.bank)
                for suspect in answer.suspects:
                    lines.write(suspect.to_bytes())
                if audits is not None:
                    for record in (*answer.audits, answer.result):
                        audits.write(record.to_bytes())
                outcomes[answer.result.reason or answer.result.outcome.value] += 1
                suspect_count += len(answer.suspects)
                meter.advance()
    typer.echo(f"{outcomes.total()} flags, {suspect_count} suspects", err=True)
    for reason, count in outcomes.most_common():
        typer.echo(f"  {count} × {reason}", err=True)


def _settings(
    config: Path | None, opensearch: str | None, model: str | None, adapter: str | None, triage: Path | None
) -> "Settings":
    settings = settings_of(config, opensearch)
    default = settings.engines.get("default")
    if (model or adapter) and default is None:
        raise ConfigError("the settings have no engine `default`", remedy="Set it, or leave --model out")
    if adapter and adapter != "packaged" and not Path(adapter).is_dir():
        raise ModelError(f"there is no adapter at {adapter}", remedy="Give the folder of a LoRA adapter")
    changes: dict[str, Any] = {}
    if default is not None and (model or adapter):
        engine = {"kind": "scripted"} if model == "scripted" else {"model": model or default.model}
        # An adapter belongs to its model: another model comes without.
        kept = default.adapter if model in {None, default.model} else ""
        changed = default.model_copy(update={**engine, "adapter": adapter or kept})
        changes["engines"] = {**settings.engines, "default": changed}
    if triage is not None:
        changes["triage"] = triage
    return settings.model_copy(update=changes)


def _given(source: Path, field: list[str] | None, policies: "Policies") -> Iterator["Given"]:
    from qexplorer.offline import read_flags
    from qexplorer.rows import parse_fields

    return read_flags(source, parse_fields(field or ()), policies, lambda line: typer.echo(line, err=True))
