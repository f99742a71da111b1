"""The methods by name: each a way to get from a seed to hits worth a review."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from qexplorer.clock import Clock
from qexplorer.errors import ConfigError
from qexplorer.evaluation.budget import Index
from qexplorer.evaluation.case import Case
from qexplorer.evaluation.methods.active_learning import ActiveLearning
from qexplorer.evaluation.methods.base import Listed, Method
from qexplorer.evaluation.methods.by_feedback import ByFeedback, SpansOfHits
from qexplorer.evaluation.methods.by_foresight import ByForesight
from qexplorer.evaluation.methods.extractor import Extractor, Order, System
from qexplorer.evaluation.methods.human import Human
from qexplorer.evaluation.methods.knn import Knn
from qexplorer.evaluation.methods.nearest_spans import NearestSpans
from qexplorer.evaluation.methods.oracle import Oracle
from qexplorer.evaluation.methods.own_spans import OwnSpans
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.methods.rm3 import Rm3
from qexplorer.evaluation.methods.significant_text import SignificantText
from qexplorer.evaluation.methods.tfidf import TfIdf
from qexplorer.evaluation.methods.whole_text import WholeText
from qexplorer.evaluation.methods.yake import Yake
from qexplorer.search.client import OpenSearchClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where methods run: the evaluation, its index, and the cluster, for those that keep an index of their own."""

    case: Case
    index: Index
    client: OpenSearchClient
    clock: Clock
    human: Mapping[str, Sequence[str]] = field(default_factory=dict)


Make = Callable[[str, Place], Method | ActiveLearning]


def _own(name: str, place: Place, *, by_triage: bool) -> OwnSpans:
    return OwnSpans(name, place.case.knowledge, by_triage=by_triage)


def _nearest(name: str, place: Place, *, by_triage: bool) -> NearestSpans:
    return NearestSpans(name, place.case.knowledge, by_triage=by_triage)


def _foreseen(name: str, place: Place, inner: Listed) -> ByForesight:
    return ByForesight(name, place.case.knowledge, inner)


def _significant(name: str, place: Place) -> SignificantText:
    return SignificantText(name, place.case.knowledge, place.client, f"{place.case.index}-known", place.clock)


def _oracle(name: str, place: Place) -> Oracle:
    own, near = _own(name, place, by_triage=True), _nearest(name, place, by_triage=True)
    return Oracle(name, place.case, place.index, lambda seed: [*own.asks(seed), *near.asks(seed)])


METHODS: Mapping[str, Make] = MappingProxyType(
    {
        "whole_text": lambda name, _: WholeText(name, 60),
        "whole_text_300": lambda name, _: WholeText(name, 300),
        "whole_text_1000": lambda name, _: WholeText(name, 1000),
        "own_spans": lambda name, place: _own(name, place, by_triage=False),
        "own_spans_by_triage": lambda name, place: _own(name, place, by_triage=True),
        "own_spans_by_feedback": lambda name, place: ByFeedback(name, _own(name, place, by_triage=True)),
        "own_spans_by_foresight": lambda name, place: _foreseen(name, place, _own(name, place, by_triage=True)),
        "nearest_spans_by_foresight": lambda name, place: _foreseen(name, place, _nearest(name, place, by_triage=True)),
        "nearest_spans": lambda name, place: _nearest(name, place, by_triage=False),
        "nearest_spans_by_triage": lambda name, place: _nearest(name, place, by_triage=True),
        "nearest_spans_by_feedback": lambda name, place: ByFeedback(name, _nearest(name, place, by_triage=True)),
        "spans_of_hits": lambda name, place: SpansOfHits(name, place.case.knowledge, _own(name, place, by_triage=True)),
        "tfidf": lambda name, place: TfIdf(name, place.case.knowledge),
        "yake": lambda name, _: Yake(name),
        "significant_text": _significant,
        "rm3": lambda name, _: Rm3(name),
        "knn": lambda name, _: Knn(name),
        "human": lambda name, place: Human(name, place.human),
        "oracle": _oracle,
        "active_learning": lambda name, _: ActiveLearning(name),
    }
)
UPPER_REFERENCES = frozenset({"oracle", "active_learning"})
# What is made of each extractor: the suffix of its name, the order of its queries, and whether with the whole text.
EXTRACTORS: tuple[tuple[str, Order, bool], ...] = (
    ("", "votes", False),
    (":foresight", "foresight", False),
    ("+whole_text", "votes", True),
    (":foresight+whole_text", "foresight", True),
)
BEST_OF_N = ":best_of_n"
SYSTEM = ":system"


def is_upper_reference(name: str) -> bool:
    """Whether a method reads labels or the whole corpus, so that no method of the system could do the same."""
    return name in UPPER_REFERENCES or name.endswith(BEST_OF_N)


def require_known(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is no method's."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ConfigError(f"there is no method {unknown[0]}", remedy=f"Use some of: {', '.join(METHODS)}")


def make_methods(
    names: Sequence[str], extractors: Mapping[str, Replies], place: Place
) -> list[Method | ActiveLearning]:
    """Return the methods.

    Each extractor gives one for each order of its queries, with the whole text and without, what the product makes of
    its replies, and the best of all its queries by the labels. Raises ConfigError for a name that is not known.
    """
    require_known(names)
    made = [METHODS[name](name, place) for name in names]
    knowledge = place.case.knowledge
    for name, every in extractors.items():
        replies = every.told(knowledge.triage)
        for suffix, order, text_too in EXTRACTORS:
            if order == "votes" or knowledge.triage is not None:
                made.append(Extractor(name + suffix, replies, knowledge, order=order, text_too=text_too))
        made.append(System(name + SYSTEM, replies, knowledge))
        plain = Extractor(name, replies, knowledge)
        made.append(Oracle(name + BEST_OF_N, place.case, place.index, plain.asks))
    return made
