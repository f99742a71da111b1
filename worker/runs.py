"""Runs of a replay side by side: what each found for the same flags, in the form of an evaluation's results."""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from qexplorer.errors import BadInputError
from qexplorer.evaluation.compare import compare_rows, sentence
from qexplorer.evaluation.metrics.distinct import distinct_rate
from qexplorer.evaluation.metrics.finds import discovery_curve, finds_at
from qexplorer.evaluation.metrics.words import words_per_query
from qexplorer.evaluation.metrics.zero_results import zero_result_rate
from qexplorer.evaluation.report import html_report, markdown_report
from qexplorer.evaluation.results import Results, Row, SeedRow, require_new, write_results
from schemas import FlagResult, QueryAudit, QuerySource, Suspect, WireError

GROUP = 10
REVIEWS = 100
PROTOCOL = "replay"


@dataclass(slots=True)
class RunRecords:
    """The records of one run, repeats dropped by their keys: suspects, candidates and answers by flag."""

    name: str
    suspects: dict[str, list[Suspect]] = field(default_factory=dict)
    audits: dict[str, list[QueryAudit]] = field(default_factory=dict)
    results: dict[str, FlagResult] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "RunRecords":
        """Read the file of a run. Raises BadInputError when it is none."""
        last: dict[tuple[str, str], Any] = {}
        for row in _rows(path):
            try:
                last[row["type"], row["key"]] = row["record"]
            except (KeyError, TypeError):
                raise BadInputError(f"{path} is no file of a replay", remedy="Give what --out had written") from None
        run = cls(name=path.name.removesuffix(".gz").removesuffix(".jsonl"))
        try:
            for (kind, _), record in last.items():
                data = orjson.dumps(record)
                if kind == "Suspect":
                    suspect = Suspect.from_bytes(data)
                    run.suspects.setdefault(suspect.seed.flag_id, []).append(suspect)
                elif kind == "QueryAudit":
                    audit = QueryAudit.from_bytes(data)
                    run.audits.setdefault(audit.flag_id, []).append(audit)
                elif kind == "FlagResult":
                    result = FlagResult.from_bytes(data)
                    run.results[result.flag_id] = result
        except WireError as error:
            raise BadInputError(f"{path}: {error}", remedy="Replay again with this version") from None
        if not run.results:
            raise BadInputError(f"{path} has no answered flag", remedy="Replay with other bounds")
        return run


def compare_runs(paths: Sequence[Path], truth: Path | None) -> list[str]:
    """Compare the first run with each other one, write a results folder beside it, and return what was found.

    Flags that all runs have answered are compared, in groups of ten whose suspects make one pool, best first. With
    labels a find is a listing that they call violating; without, each counts with its triage's probability, which says
    what a run believes of itself and is no proof.
    """
    runs = [RunRecords.read(path) for path in paths]
    if len({run.name for run in runs}) < len(runs):
        raise BadInputError("two runs have files of the same name", remedy="Name the files by their runs")
    labels = _labels(truth) if truth is not None else None
    flags = sorted(set.intersection(*(set(run.results) for run in runs)))
    if len(flags) < GROUP:
        raise BadInputError(
            f"the runs have {len(flags)} flags in common, fewer than one group of {GROUP}", remedy="Replay more"
        )
    groups = [flags[start : start + GROUP] for start in range(0, len(flags) - len(flags) % GROUP, GROUP)]
    rows = [_row(run, number, group, labels) for run in runs for number, group in enumerate(groups)]
    seeds = [_seed(run, number, flag, labels) for run in runs for number, group in enumerate(groups) for flag in group]
    judge = f"labels of {truth}" if truth else "the triage's own probabilities: no labels were given"
    results = Results(
        rows=tuple(rows), seeds=tuple(seeds), meta={"judge": judge, "runs": [str(path) for path in paths]}
    )
    folder = _folder(paths)
    require_new(folder)
    pages = {
        "report.md": markdown_report(results),
        "report.html": html_report(results),
        "flags.csv": _by_flag(runs, flags, labels),
    }
    write_results(results, folder, pages=pages)
    said = [f"judged by {judge}"]
    for other in runs[1:]:
        said += [sentence(found) for found in compare_rows(rows, runs[0].name, rows, other.name)]
    return [*said, f"written to {folder}: report.html, flags.csv; qexplorer compare --results reads it"]


def _folder(paths: Sequence[Path]) -> Path:
    return paths[0].with_name("-to-".join(path.name.removesuffix(".gz").removesuffix(".jsonl") for path in paths))


def _row(run: RunRecords, number: int, flags: Sequence[str], labels: Mapping[str, bool] | None) -> Row:
    pool = _pool(run, flags)
    worth = [_worth(suspect, labels) for suspect in pool]
    verdicts = [value >= 0.5 for value in worth]
    audits = [audit for flag in flags for audit in run.audits.get(flag, ())]
    searched = [audit for audit in audits if audit.searches]
    results = [run.results[flag] for flag in flags]
    words = [audit.query.normalised for audit in searched if audit.query.source not in _WITHOUT_WORDS]
    return Row(
        corpus="replay",
        digest="",
        part="replayed",
        protocol=PROTOCOL,
        triage=labels is None or any(suspect.triage_score is not None for suspect in pool),
        method=run.name,
        load=0,
        group=number,
        seeds=len(flags),
        reviews=REVIEWS,
        reviewed=min(REVIEWS, len(pool)),
        finds_half=finds_at(verdicts, REVIEWS // 2) if labels is not None else sum(worth[: REVIEWS // 2]),
        finds=finds_at(verdicts, REVIEWS) if labels is not None else sum(worth[:REVIEWS]),
        campaigns=float(sum(worth)),
        campaigns_most=len(pool),
        searches=sum(result.searches for result in results) / len(flags),
        hits=sum(result.hits for result in results) / len(flags),
        zero_results=zero_result_rate([audit.hits for audit in searched]),
        copies=0.0,
        distinct=distinct_rate(words),
        words=words_per_query(words),
        breadth=0.0,
        tokens=sum(result.completion_tokens for result in results) / len(flags),
        model_ms=0.0,
        search_ms=sum(audit.took_ms for audit in searched) / len(flags),
        replies=len(flags),
        unparseable=sum(result.unparseable for result in results),
        kinds=json.dumps(_kinds(pool, worth)),
        curve=discovery_curve(verdicts, REVIEWS),
    )


_WITHOUT_WORDS = frozenset({QuerySource.WHOLE_TEXT, QuerySource.CONTACT})


def _pool(run: RunRecords, flags: Iterable[str]) -> list[Suspect]:
    """Return the suspects of some flags as one review queue, best first, each listing once."""
    found = [suspect for flag in flags for suspect in run.suspects.get(flag, ())]
    best = sorted(found, key=lambda suspect: (-(suspect.triage_score or 0.0), suspect.review_key))
    return list({suspect.listing_id: suspect for suspect in reversed(best)}.values())[::-1]


def _worth(suspect: Suspect, labels: Mapping[str, bool] | None) -> float:
    if labels is None:
        return suspect.triage_score or 0.0
    return float(labels.get(suspect.listing_id, labels.get(suspect.review_key, False)))


def _kinds(pool: Sequence[Suspect], worth: Sequence[float]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for suspect, value in zip(pool[:REVIEWS], worth, strict=False):
        counts[suspect.seed.kind] = counts.get(suspect.seed.kind, 0.0) + value
    return {kind: round(count, 1) for kind, count in counts.items()}


def _seed(run: RunRecords, number: int, flag: str, labels: Mapping[str, bool] | None) -> SeedRow:
    suspects = _pool(run, [flag])
    searched = [audit for audit in run.audits.get(flag, ()) if audit.searches]
    return SeedRow(
        corpus="replay",
        protocol=PROTOCOL,
        triage=True,
        method=run.name,
        load=0,
        group=number,
        listing=flag,
        kind=suspects[0].seed.kind if suspects else "",
        text="",
        finds=sum(_worth(suspect, labels) for suspect in suspects),
        searches=run.results[flag].searches,
        hits=run.results[flag].hits,
        queries=[audit.query.normalised or f"({audit.query.source.value})" for audit in searched],
        totals=[audit.hits for audit in searched],
        found=[suspect.listing_id for suspect in suspects],
    )


def _by_flag(runs: Sequence[RunRecords], flags: Sequence[str], labels: Mapping[str, bool] | None) -> str:
    """Return a line for each flag: suspects and finds of each run, and what the first has that the others lack."""
    head = ["flag", *(f"{run.name} {what}" for run in runs for what in ("suspects", "finds", "searches"))]
    lines = [",".join([*head, "only in the first", "only in another"])]
    for flag in flags:
        pools = [_pool(run, [flag]) for run in runs]
        ids = [{suspect.listing_id for suspect in pool} for pool in pools]
        others: set[str] = set().union(*ids[1:])
        cells = [
            str(value)
            for run, pool in zip(runs, pools, strict=True)
            for value in (len(pool), round(sum(_worth(s, labels) for s in pool), 2), run.results[flag].searches)
        ]
        lines.append(",".join([json.dumps(flag), *cells, str(len(ids[0] - others)), str(len(others - ids[0]))]))
    return "\n".join(lines) + "\n"


def _labels(path: Path) -> dict[str, bool]:
    """Read labels: rows with `id` and `toxic`, or verdicts by review key."""
    labels: dict[str, bool] = {}
    for row in _rows(path):
        if "toxic" in row and "id" in row:
            labels[str(row["id"])] = bool(row["toxic"])
        elif "review_key" in row and row.get("decision") in {"violating", "not_violating"}:
            labels[row["review_key"]] = row["decision"] == "violating"
    if not labels:
        raise BadInputError(f"{path} has no labels", remedy="Give rows with id and toxic, or verdicts")
    return labels


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError:
                    # The last line of a process that was killed.
                    continue
                if not isinstance(row, dict):
                    raise BadInputError(f"{path}: line {number} is no object", remedy="Give a file of JSON lines")
                yield row
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}", remedy="Check its path") from None
