"""What to know of a data set before training on it: counts, rewards, lengths, overlaps, and why pairs were dropped."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qexplorer.learn.pairs import Pair
from qexplorer.learn.reward import Asked
from qexplorer.learn.targets import Target
from qexplorer.near_duplicates import jaccard, terms

EDGES = (-1.5, -1.0, -0.5, -0.2, -0.05, 0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 4.0)


def card(
    *,
    inputs: Mapping[str, Any],
    asked: Sequence[Asked],
    judges: Mapping[str, int],
    targets: Sequence[Target],
    target_flags: int,
    pairs: Sequence[Pair],
    pair_flags: int,
    dropped: Counter[str],
) -> dict[str, Any]:
    """Return the card of a data set as plain values; two indices may each have a flag of one id."""
    queries = [query for target in targets for query in target.queries]
    return {
        "inputs": dict(inputs),
        "judges": dict(judges),
        "searches": {
            "run": len(asked),
            "found nothing": sum(not each.found for each in asked),
            "too broad": sum(bool(each.refused) for each in asked),
        },
        "targets": {
            "rows": len(targets),
            "flags": target_flags,
            "how": dict(Counter(target.how for target in targets)),
            "queries a reply": _mean([len(target.queries) for target in targets]),
            "words a query": _mean([len(terms(query)) for query in queries]),
            "distinct queries": len(set(queries)),
            "campaigns gained": _mean([target.value for target in targets]),
        },
        "pairs": {
            "rows": len(pairs),
            "flags": pair_flags,
            "dropped": dict(dropped),
            "reward of chosen": _mean([pair.chosen.value for pair in pairs]),
            "reward of rejected": _mean([pair.rejected.value for pair in pairs]),
            "token overlap": _mean(
                [jaccard(frozenset(terms(p.chosen.text)), frozenset(terms(p.rejected.text))) for p in pairs]
            ),
            "characters of chosen": _mean([len(pair.chosen.text) for pair in pairs]),
            "characters of rejected": _mean([len(pair.rejected.text) for pair in pairs]),
            "histogram": _histogram([reply.value for pair in pairs for reply in (pair.chosen, pair.rejected)]),
        },
    }


def as_markdown(values: Mapping[str, Any]) -> str:
    """Return a card as text: a heading and a list for each part."""
    lines = ["# Data card", ""]
    for name, part in values.items():
        lines += [f"## {name.capitalize()}", ""]
        lines += [f"- {key}: {_shown(value)}" for key, value in part.items()]
        lines.append("")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items()) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def _histogram(values: Sequence[float]) -> dict[str, int]:
    counts, _ = np.histogram(np.array(values, dtype=float), bins=np.array(EDGES))
    bins = zip(EDGES[:-1], EDGES[1:], counts.tolist(), strict=True)
    return {f"{low:g} to {high:g}": count for low, high, count in bins}
