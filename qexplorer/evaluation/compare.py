"""Which of two is better, by how much, and how sure: paired over groups of the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from qexplorer.errors import BadInputError
from qexplorer.evaluation.bootstrap import Interval, difference, ratio
from qexplorer.evaluation.results import Results, Row, pick

MEASURES = ("finds", "campaigns")
FEWEST = 5  # groups: an interval of fewer is no measure of chance
Place = tuple[str, str, str, bool, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One measure of two methods on one corpus at one load; groups are the units."""

    corpus: str
    protocol: str
    triage: bool
    load: int
    measure: str
    one: str
    other: str
    groups: int
    values: tuple[float, float]
    hits: tuple[float, float]
    difference: Interval
    ratio: Interval

    @property
    def verdict(self) -> str:
        """Say `better`, `worse`, or `not told apart`: too few groups, or the interval of the difference holds 0."""
        if self.groups < FEWEST:
            return "not told apart"
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "not told apart"


def compare_methods(results: Results, one: str, other: str) -> list[Comparison]:
    """Compare two methods of one evaluation; raises BadInputError when it lacks one of them."""
    return compare_rows(results.rows, one, results.rows, other)


def compare_folders(one: Results, other: Results, methods: Sequence[str] = ()) -> list[Comparison]:
    """Compare each method that two evaluations share, or those named; raises BadInputError where one is missing."""
    names = list(methods) or [name for name in one.methods() if name in other.methods()]
    if not names:
        raise BadInputError(
            "the two results have no method in common", remedy="Compare two methods of one: --results FOLDER ONE OTHER"
        )
    return [found for name in names for found in compare_rows(one.rows, name, other.rows, name)]


def sentence(found: Comparison) -> str:
    """Return a comparison in one line."""
    how = f"{found.corpus}, {found.protocol}{'' if found.triage else ' without triage'}, {found.load} searches"
    names = f"{found.one} {found.values[0]:.1f}, {found.other} {found.values[1]:.1f} {found.measure}"
    figures = f"difference {found.difference.text()}, ratio {found.ratio.text(2)}"
    few = f", fewer than {FEWEST}" if found.groups < FEWEST else ""
    hits = f"{found.hits[0]:.0f} to {found.hits[1]:.0f} hits a seed"
    return f"{how}: {names}: {found.verdict}; {figures}; {hits}; {found.groups} groups{few}"


def compare_rows(one: Sequence[Row], name: str, other: Sequence[Row], baseline: str) -> list[Comparison]:
    """Compare a method of some rows with one of others, wherever both ran on the same groups of seeds."""
    for rows, wanted in ((one, name), (other, baseline)):
        if not pick(rows, method=wanted):
            names = ", ".join(dict.fromkeys(row.method for row in rows))
            raise BadInputError(f"the results have no method {wanted}", remedy=f"They have {names}")
    ours, theirs = _by_place(pick(one, method=name)), _by_place(pick(other, method=baseline))
    shared = [place for place in ours if ours[place].keys() & theirs.get(place, {}).keys()]
    if not shared:
        raise BadInputError(
            f"{name} and {baseline} have no corpus, split, load and group of seeds in common",
            remedy="Evaluate both on the same corpora with the same seed, groups and reviews",
        )
    return [_one(place, measure, ours[place], theirs[place]) for place in shared for measure in MEASURES]


def _by_place(rows: Sequence[Row]) -> dict[Place, dict[str, Row]]:
    """Return the rows of each place by their seeds."""
    places: dict[Place, dict[str, Row]] = {}
    for row in rows:
        place = (row.corpus, f"{row.digest} {row.part} {row.reviews}", row.protocol, row.triage, row.load)
        places.setdefault(place, {})[row.seeds_hash] = row
    return places


def _one(place: Place, measure: str, one: dict[str, Row], other: dict[str, Row]) -> Comparison:
    groups = [seeds for seeds in one if seeds in other]
    ours = [float(getattr(one[group], measure)) for group in groups]
    theirs = [float(getattr(other[group], measure)) for group in groups]
    corpus, _, protocol, triage, load = place
    return Comparison(
        corpus=corpus,
        protocol=protocol,
        triage=triage,
        load=load,
        measure=measure,
        one=one[groups[0]].method,
        other=other[groups[0]].method,
        groups=len(groups),
        values=(sum(ours) / len(groups), sum(theirs) / len(groups)),
        hits=(sum(one[g].hits for g in groups) / len(groups), sum(other[g].hits for g in groups) / len(groups)),
        difference=difference(ours, theirs),
        ratio=ratio(ours, theirs),
    )
