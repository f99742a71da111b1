"""The methods by name: each a way to get from a seed to hits worth a review."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from qexplorer.errors import ConfigError
from qexplorer.evaluation.methods.base import Method
from qexplorer.evaluation.methods.extractor import Extractor, Replies
from qexplorer.evaluation.methods.nearest_spans import NearestSpans
from qexplorer.evaluation.methods.own_spans import OwnSpans
from qexplorer.evaluation.methods.whole_text import WholeText
from qexplorer.evaluation.seeds import Knowledge

Make = Callable[[str, Knowledge], Method]

METHODS: Mapping[str, Make] = MappingProxyType(
    {
        "whole_text": lambda name, _: WholeText(name, 60),
        "whole_text_300": lambda name, _: WholeText(name, 300),
        "whole_text_1000": lambda name, _: WholeText(name, 1000),
        "own_spans": lambda name, known: OwnSpans(name, known, by_triage=False),
        "own_spans_by_triage": lambda name, known: OwnSpans(name, known, by_triage=True),
        "nearest_spans": lambda name, known: NearestSpans(name, known, by_triage=False),
        "nearest_spans_by_triage": lambda name, known: NearestSpans(name, known, by_triage=True),
    }
)
# What is made of each extractor: the suffix of its name, ordered by triage, with the whole text.
EXTRACTORS = (
    ("", False, False),
    (":triage", True, False),
    ("+whole_text", False, True),
    (":triage+whole_text", True, True),
)


def make_methods(names: Sequence[str], extractors: Mapping[str, Replies], knowledge: Knowledge) -> list[Method]:
    """Return the methods; each extractor gives four, by order of its queries and with the whole text or without.

    Raises ConfigError for a name that is not known.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ConfigError(f"there is no method {unknown[0]}", remedy=f"Use some of: {', '.join(METHODS)}")
    made: list[Method] = [METHODS[name](name, knowledge) for name in names]
    for name, replies in extractors.items():
        for suffix, by_triage, text_too in EXTRACTORS:
            if by_triage and knowledge.triage is None:
                continue
            made.append(Extractor(name + suffix, replies, knowledge, by_triage=by_triage, text_too=text_too))
    return made
