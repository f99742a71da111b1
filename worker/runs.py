"""Runs of a replay side by side: what each found for the same flags, in the form of an evaluation's results."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from qexplorer.corpus import is_toxic
from qexplorer.errors import BadInputError
from qexplorer.evaluation.compare import compare_rows, sentence
from qexplorer.evaluation.metrics.distinct import distinct_rate
from qexplorer.evaluation.metrics.finds import discovery_curve, finds_at
from qexplorer.evaluation.metrics.words import words_per_query
from qexplorer.evaluation.metrics.zero_results import zero_result_rate
from qexplorer.evaluation.report import html_report, markdown_report
from qexplorer.evaluation.results import Results, Row, SeedRow, hash_of, require_new, write_results
from schemas import FlagResult, QueryAudit, Suspect, WireError

GROUP = 10
REVIEWS = 100
PROTOCOL = "replay"


@dataclass(frozen=True, slots=True)
class _Find:
    """A suspect, without what a comparison does not need: a run may have a million of them."""

    flag: str
    kind: str
    listing_id: str
    review_key: str
    score: float


@dataclass(frozen=True, slots=True)
class _Search:
    """A candidate that was searched; `words` is what was asked, "" for a whole text or a contact."""

    flag: str
    source: str
    words: str
    hits: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class _Answered:
    """What answering a flag took."""

    searches: int
    hits: int
    completion_tokens: int
    unparseable: int


@dataclass(slots=True)
class RunRecords:
    """One run, repeats dropped by their keys: finds, searches and answers by flag."""

    name: str
    finds: dict[str, list[_Find]] = field(default_factory=dict)
    searches: dict[str, list[_Search]] = field(default_factory=dict)
    answered: dict[str, _Answered] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "RunRecords":
        """Read the file of a run. Raises BadInputError when it is none."""
        finds: dict[str, _Find] = {}
        searches: dict[str, _Search] = {}
        run = cls(name=path.name.removesuffix(".gz").removesuffix(".jsonl"))
        for key, record in _records(path):
            if isinstance(record, Suspect):
                finds[key] = _find(record)
            elif isinstance(record, FlagResult):
                run.answered[record.flag_id] = _answered(record)
            elif record.searches:
                searches[key] = _search(record)
            else:
                # The last record of a key holds: what was searched at first may be in the bank at a repeat.
                searches.pop(key, None)
        for find in finds.values():
            run.finds.setdefault(find.flag, []).append(find)
        for search in searches.values():
            run.searches.setdefault(search.flag, []).append(search)
        if not run.answered:
            raise BadInputError(f"{path} has no answered flag", remedy="Replay with other bounds")
        return run


def _records(path: Path) -> Iterator[tuple[str, Suspect | QueryAudit | FlagResult]]:
    for row in _rows(path):
        try:
            kind, key, data = row["type"], row["key"], orjson.dumps(row["record"])
        except (KeyError, TypeError):
            raise BadInputError(f"{path} is no file of a replay", remedy="Give what --out had written") from None
        if kind in _KINDS:
            try:
                yield key, _KINDS[kind].from_bytes(data)
            except WireError as error:
                raise BadInputError(f"{path}: {error}", remedy="Replay again with this version") from None


_KINDS: dict[str, type[Suspect | QueryAudit | FlagResult]] = {
    kind.__name__: kind for kind in (Suspect, QueryAudit, FlagResult)
}


def _answered(result: FlagResult) -> _Answered:
    return _Answered(result.searches, result.hits, result.completion_tokens, result.unparseable)


def _find(suspect: Suspect) -> _Find:
    return _Find(
        flag=suspect.seed.flag_id,
        kind=suspect.seed.kind,
        listing_id=suspect.listing_id,
        review_key=suspect.review_key,
        score=suspect.triage_score or 0.0,
    )


def _search(audit: QueryAudit) -> _Search:
    return _Search(
        flag=audit.flag_id,
        source=audit.query.source.value,
        words=audit.query.normalised,
        hits=audit.hits,
        took_ms=audit.took_ms,
    )


def compare_runs(paths: Sequence[Path], truth: Path | None, say: Callable[[str], None] = lambda _: None) -> list[str]:
    """Compare the first run with each other one, write a results folder beside it, and return what was found.

    Flags that all runs have answered are compared, in groups of ten whose suspects make one pool, best first. With
    labels a find is a listing that they call violating; without, each counts with its triage's probability, which says
    what a run believes of itself and is no proof.
    """
    runs = []
    for path in paths:
        say(f"reads {path}")
        runs.append(RunRecords.read(path))
    if len({run.name for run in runs}) < len(runs):
        raise BadInputError("two runs have files of the same name", remedy="Name the files by their runs")
    labels = _labels(truth) if truth is not None else None
    flags = sorted(set.intersection(*(set(run.answered) for run in runs)))
    if len(flags) < GROUP:
        raise BadInputError(
            f"the runs have {len(flags)} flags in common, fewer than one group of {GROUP}", remedy="Replay more"
        )
    groups = [flags[start : start + GROUP] for start in range(0, len(flags) - len(flags) % GROUP, GROUP)]
    # Of all runs and flags alike: a group in which one run finds nothing must meet the same group of another.
    triage = any(find.score for run in runs for finds in run.finds.values() for find in finds)
    rows = [_row(run, number, group, labels, triage=triage) for run in runs for number, group in enumerate(groups)]
    seeds = [
        _seed(run, number, flag, labels, triage=triage)
        for run in runs
        for number, group in enumerate(groups)
        for flag in group
    ]
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


def _row(run: RunRecords, number: int, flags: Sequence[str], labels: Mapping[str, bool] | None, *, triage: bool) -> Row:
    pool = _pool(run, flags)
    worth = [_worth(find, labels) for find in pool]
    verdicts = [value >= 0.5 for value in worth]
    searched = [search for flag in flags for search in run.searches.get(flag, ())]
    answered = [run.answered[flag] for flag in flags]
    words = [search.words for search in searched if search.words]
    return Row(
        corpus="replay",
        digest="",
        part="replayed",
        protocol=PROTOCOL,
        triage=triage,
        method=run.name,
        load=0,
        group=number,
        seeds_hash=hash_of(flags),
        seeds=len(flags),
        reviews=REVIEWS,
        reviewed=min(REVIEWS, len(pool)),
        finds_half=finds_at(verdicts, REVIEWS // 2) if labels is not None else sum(worth[: REVIEWS // 2]),
        finds=finds_at(verdicts, REVIEWS) if labels is not None else sum(worth[:REVIEWS]),
        campaigns=float(sum(worth)),
        campaigns_most=len(pool),
        searches=sum(each.searches for each in answered) / len(flags),
        hits=sum(each.hits for each in answered) / len(flags),
        zero_results=zero_result_rate([search.hits for search in searched]),
        copies=0.0,
        distinct=distinct_rate(words),
        words=words_per_query(words),
        breadth=0.0,
        tokens=sum(each.completion_tokens for each in answered) / len(flags),
        model_ms=0.0,
        search_ms=sum(search.took_ms for search in searched) / len(flags),
        replies=len(flags),
        unparseable=sum(each.unparseable for each in answered),
        kinds=json.dumps(_kinds(pool, worth)),
        curve=discovery_curve(verdicts, REVIEWS),
    )


def _pool(run: RunRecords, flags: Iterable[str]) -> list[_Find]:
    """Return the finds of some flags as one review queue, best first, each listing once."""
    found = [find for flag in flags for find in run.finds.get(flag, ())]
    pool: dict[str, _Find] = {}
    for find in sorted(found, key=lambda find: (-find.score, find.review_key)):
        pool.setdefault(find.listing_id, find)
    return list(pool.values())


def _worth(find: _Find, labels: Mapping[str, bool] | None) -> float:
    if labels is None:
        return find.score
    return float(labels.get(find.listing_id, labels.get(find.review_key, False)))


def _kinds(pool: Sequence[_Find], worth: Sequence[float]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for find, value in zip(pool[:REVIEWS], worth, strict=False):
        counts[find.kind] = counts.get(find.kind, 0.0) + value
    return {kind: round(count, 1) for kind, count in counts.items()}


def _seed(run: RunRecords, number: int, flag: str, labels: Mapping[str, bool] | None, *, triage: bool) -> SeedRow:
    finds = _pool(run, [flag])
    searched = run.searches.get(flag, ())
    return SeedRow(
        corpus="replay",
        protocol=PROTOCOL,
        triage=triage,
        method=run.name,
        load=0,
        group=number,
        listing=flag,
        kind=finds[0].kind if finds else "",
        text="",
        finds=sum(_worth(find, labels) for find in finds),
        searches=run.answered[flag].searches,
        hits=run.answered[flag].hits,
        queries=[search.words or f"({search.source})" for search in searched],
        totals=[search.hits for search in searched],
        found=[find.listing_id for find in finds],
    )


def _by_flag(runs: Sequence[RunRecords], flags: Sequence[str], labels: Mapping[str, bool] | None) -> str:
    """Return a line for each flag: suspects and finds of each run, and what the first has that the others lack."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    head = ["flag", *(f"{run.name} {what}" for run in runs for what in ("suspects", "finds", "searches"))]
    writer.writerow([*head, "only in the first", "only in another"])
    for flag in flags:
        pools = [_pool(run, [flag]) for run in runs]
        ids = [{find.listing_id for find in pool} for pool in pools]
        others: set[str] = set().union(*ids[1:])
        cells = [
            value
            for run, pool in zip(runs, pools, strict=True)
            for value in (len(pool), round(sum(_worth(find, labels) for find in pool), 2), run.answered[flag].searches)
        ]
        writer.writerow([flag, *cells, len(ids[0] - others), len(others - ids[0])])
    return table.getvalue()


def _labels(path: Path) -> dict[str, bool]:
    """Read labels: rows with `id` and `toxic`, or verdicts by review key."""
    labels: dict[str, bool] = {}
    for row in _rows(path):
        if "toxic" in row and "id" in row:
            labels[str(row["id"])] = is_toxic(row["toxic"])
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
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(f"{path} is a broken gzip file: {error}", remedy="Copy it again") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}", remedy="Check its path") from None
