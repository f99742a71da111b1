"""The table of a load: one line a method, means over groups with their 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

from qexplorer.evaluation.bootstrap import Interval, mean
from qexplorer.evaluation.results import Row, pick

COLUMNS = (
    "method", "finds at half", "finds", "campaigns in pool", "searches / seed", "hits / seed", "no result", "copies",
    "distinct", "words", "log10 hits", "parsed", "tokens / seed", "model ms / seed", "search ms / seed",
)  # fmt: skip

PER_SEED_COLUMNS = ("method", "precision", "yield", "finds at half", "finds", "campaigns found", *COLUMNS[4:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One method at one load on one corpus."""

    method: str
    finds_half: Interval
    finds: Interval
    campaigns: Interval
    most: float
    searches: float
    hits: float
    zero_results: float
    copies: float
    distinct: float
    words: float
    breadth: float
    tokens: float
    model_ms: float
    search_ms: float
    parsed: float
    precision: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All methods at one load on one corpus, under one protocol, with triage or without."""

    corpus: str
    part: str
    protocol: str
    triage: bool
    load: int
    groups: int
    reviews: int
    lines: tuple[Line, ...]


def tables(rows: Sequence[Row]) -> list[Table]:
    """Return a table for each corpus, protocol, triage and load, in the order of the rows."""
    made = []
    for corpus, protocol, triage, load in dict.fromkeys((r.corpus, r.protocol, r.triage, r.load) for r in rows):
        here = [
            row for row in rows if (row.corpus, row.protocol, row.triage, row.load) == (corpus, protocol, triage, load)
        ]
        methods = dict.fromkeys(row.method for row in here)
        made.append(
            Table(
                corpus=corpus,
                part=here[0].part,
                protocol=protocol,
                triage=triage,
                load=load,
                groups=len({row.group for row in here}),
                reviews=here[0].reviews,
                lines=tuple(_line(method, pick(here, method=method)) for method in methods),
            )
        )
    return made


def _line(method: str, rows: Sequence[Row]) -> Line:
    def average(name: str) -> float:
        return float(sum(getattr(row, name) for row in rows)) / len(rows)

    replies = sum(row.replies for row in rows)
    return Line(
        method=method,
        finds_half=mean([row.finds_half for row in rows]),
        finds=mean([row.finds for row in rows]),
        campaigns=mean([row.campaigns for row in rows]),
        most=average("campaigns_most"),
        searches=average("searches"),
        hits=average("hits"),
        zero_results=average("zero_results"),
        copies=average("copies"),
        distinct=average("distinct"),
        words=average("words"),
        breadth=average("breadth"),
        tokens=average("tokens"),
        model_ms=average("model_ms"),
        search_ms=average("search_ms"),
        precision=average("precision"),
        share=average("share"),
        parsed=1 - sum(row.unparseable for row in rows) / replies if replies else 1.0,
    )


def caption(table: Table) -> str:
    """Return what a table is of."""
    return (
        f"{table.corpus}, {table.part}, {table.protocol}, {'triage' if table.triage else 'no triage'}, "
        f"{table.load} searches a seed; {table.groups} groups, {table.reviews} reviews a "
        f"{'seed' if table.protocol == 'per_seed' else 'group'}, means [95 % interval]"
    )


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    return markdown_table(*cells(table), caption(table))


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]], title: str) -> str:
    """Return a table in Markdown with a bold title; a cell that holds a line break or a bar stays one cell."""
    text = [f"**{title}**", "", _in_bars(head), f"|{'---|' * len(head)}"]
    return "\n".join([*text, *map(_in_bars, lines)]) + "\n"


def _in_bars(texts: Sequence[str]) -> str:
    plain = (" ".join(text.split()).replace("|", r"\|") for text in texts)
    return f"| {' | '.join(plain)} |"


def cells(table: Table) -> tuple[Sequence[str], list[list[str]]]:
    """Return the head of a table and its figures as text."""
    if table.protocol == "per_seed":
        lines = [[each[0], f"{line.precision:.2f}", f"{line.share:.2f}", *each[1:]] for line, each in _texts(table)]
        return PER_SEED_COLUMNS, lines
    return COLUMNS, [each for _, each in _texts(table)]


def _texts(table: Table) -> list[tuple[Line, list[str]]]:
    return [(line, _cells(line)) for line in table.lines]


def _cells(line: Line) -> list[str]:
    return [
        line.method,
        line.finds_half.text(),
        line.finds.text(),
        f"{line.campaigns.text()} of {line.most:.0f}",
        f"{line.searches:.1f}",
        f"{line.hits:.0f}",
        f"{line.zero_results:.0%}",
        f"{line.copies:.0%}",
        f"{line.distinct:.2f}",
        f"{line.words:.1f}",
        f"{line.breadth:.2f}",
        f"{line.parsed:.1%}",
        f"{line.tokens:.0f}",
        f"{line.model_ms:.0f}",
        f"{line.search_ms:.0f}",
    ]
