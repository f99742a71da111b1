"""Triage: how likely a listing is wanted, from its text, by a linear model over hashed words and letters.

It is trained on known flags against random listings. A random listing is unlabelled, not negative: those that look
like a flag (near-duplicates, and what a first model scores above most flags) are left out before the final fit. Both
classes weigh the same, so a score is the probability at even odds: it orders the review queue and is no estimate of how
much of the marketplace is prohibited.
"""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qexplorer.errors import BadInputError, ConfigError
from qexplorer.foresight import Foreseen, Foresight, tensors_of
from qexplorer.near_duplicates import NEAR, Group, fingerprint, joined, terms
from qexplorer.normalise import normalise
from qexplorer.promises import text_worth
from qexplorer.redact import redact
from schemas import Listing

FEATURES = 2**17
FORMAT = "qexplorer-triage-4"
FOLDS = 5
FEWEST = 20
FEWEST_CLUSTERS = 2
DOUBTFUL_QUANTILE = 0.05
MOST_DOUBTFUL = 0.05
MOST_OF_ONE_POSTER = 0.25
FAMILIAR = 0.25


class Triage(Protocol):
    """A model over listing texts."""

    @property
    def version(self) -> str:
        """Name the artefact by the hash of its content."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the calibrated probability, at even odds, that each normalised text is wanted."""

    def weigh(self, queries: Sequence[str]) -> list[float]:
        """Return what each normalised query adds to the log odds: how promising it is to search."""

    def foresee(self, queries: Sequence[str], policy: str = "") -> list[Foreseen]:
        """Return what each normalised query would find among known flags of a policy and random listings."""

    def text_promise(self, text: str, policy: str = "") -> float:
        """Return the known campaigns that a query must promise to be searched before a whole normalised text."""

    def siblings(self, text: str, most: int, policy: str = "") -> list[str]:
        """Return spans of a policy's known flags nearest to a normalised text, those first that promise most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriageReport:
    """What a training used and how well it separates texts that it has not seen (5-fold, near-duplicates together)."""

    flags: int
    unlabelled: int
    left_out: int
    auc: float
    average_precision: float


class LinearTriage:
    """The model of an artefact: hashed features, idf and weights, Platt's slope and offset, and the foresight.

    Safetensors holds it: nothing in the file is executed, and opening it does not pull torch into the process.
    """

    def __init__(self, tensors: Mapping[str, Any], *, version: str) -> None:
        self._weights = tensors["weights"]
        self._intercept, self._slope, self._offset = (float(value) for value in tensors["scalars"])
        self._features = _features()
        if self._weights.shape != (2 * FEATURES,) or tensors["idf"].shape != (2 * FEATURES,):
            raise ValueError(f"it has {self._weights.shape} weights and not {2 * FEATURES}")
        self._features[-1].idf_ = tensors["idf"]
        self._foresight = Foresight(tensors)
        self._text_worth = float(tensors["text_worth"][0])
        self._version = version

    @property
    def version(self) -> str:
        """Name the artefact by the hash of its content."""
        return self._version

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the calibrated probability, at even odds, that each normalised text is wanted."""
        import numpy as np

        if not texts:
            return []
        odds = self._slope * (self._decide(texts) + self._intercept) + self._offset
        return [float(value) for value in 1 / (1 + np.exp(-odds))]

    def weigh(self, queries: Sequence[str]) -> list[float]:
        """Return what each normalised query adds to the log odds, the model's offset left out."""
        return [float(value) for value in self._decide(queries)] if queries else []

    def foresee(self, queries: Sequence[str], policy: str = "") -> list[Foreseen]:
        """Return what each normalised query would find among the known flags and random listings of the training."""
        return [self._foresight.foresee(query, policy) for query in queries]

    def text_promise(self, text: str, policy: str = "") -> float:
        """Return the known campaigns that a query must promise to be searched before a whole normalised text.

        They are those that the text promises, times how much better texts keep promises here than queries (`promises`).
        Where known flags hardly have its words, as of goods that nobody has flagged before, no promise is enough.
        """
        if self._foresight.familiarity(text, policy) < FAMILIAR:
            return math.inf
        return self._text_worth * self._foresight.foresee_text(text, policy).gain(frozenset())

    def siblings(self, text: str, most: int, policy: str = "") -> list[str]:
        """Return spans of a policy's known flags nearest to a normalised text, those first that promise most."""
        return self._foresight.siblings(text, most, policy)

    def _decide(self, texts: Sequence[str]) -> Any:
        return self._features.transform([_spaced(text) for text in texts]) @ self._weights


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFlag:
    """A flagged listing to learn from: its normalised text, its policy and its seller, each "" where not known.

    `shown` is the normalised text without contacts, of which spans may be shown; the whole text where it is "".
    """

    text: str
    policy: str = ""
    seller: str = ""
    shown: str = ""

    @classmethod
    def of(cls, listing: Listing, policy: str) -> "KnownFlag":
        """Return what is learnt from of a listing that was flagged under a policy."""
        plain = redact(listing.text)
        shown = normalise(plain) if plain != listing.text else ""
        return cls(text=normalise(listing.text), policy=policy, seller=listing.seller, shown=shown)


def train_triage(flags: Sequence[KnownFlag], unlabelled: Sequence[str], path: Path, *, seed: int = 0) -> TriageReport:
    """Train on known flags and normalised texts of random listings, and write the artefact to `path`.

    Raises BadInputError when there are fewer than 20 flags or unlabelled texts, or all of either say nearly the same.
    """
    import numpy as np

    if len(flags) < FEWEST or len(unlabelled) < FEWEST:
        raise BadInputError(
            f"{len(flags)} flags and {len(unlabelled)} other listings are too few to train a triage",
            remedy=f"Give at least {FEWEST} of each",
        )
    texts = [flag.text for flag in flags]
    clusters, copies = _clusters([*texts, *unlabelled], len(flags))
    positive = [_spaced(text) for text in texts]
    others = [_spaced(text) for place, text in enumerate(unlabelled) if place not in copies]
    groups = np.array(
        [
            *clusters[: len(flags)],
            *(clusters[len(flags) + place] for place in range(len(unlabelled)) if place not in copies),
        ]
    )
    labels = np.array([1] * len(positive) + [0] * len(others))
    # The features are fitted once: what idf learns from a held-out text is negligible, refitting costs minutes.
    features = _features().fit([*positive, *others])
    matrix = features.transform([*positive, *others])
    keep = np.flatnonzero((labels == 1) | ~_doubtful(_decisions(matrix, labels, groups, seed), labels))
    matrix, labels, groups = matrix[keep], labels[keep], groups[keep]
    decisions = _decisions(matrix, labels, groups, seed)
    slope, offset = _platt(decisions, labels)
    order = random.Random(seed).sample(range(len(others)), len(others))
    campaigns = clusters[: len(flags)]
    sample = [others[place] for place in order]
    policies, posters = [flag.policy for flag in flags], _posters(flags, campaigns)
    shown = [flag.shown or flag.text for flag in flags]
    foresight = tensors_of(texts, campaigns, sample, len(others), policies=policies, posters=posters, shown=shown)
    worth = text_worth(
        texts, campaigns, sample, len(others), policies=policies, posters=posters, shown=shown, seed=seed
    )
    foresight["text_worth"] = np.array([worth], dtype=np.float64)
    _write(path, features[-1].idf_, _classifier(seed).fit(matrix, labels), slope, offset, foresight)
    return _report(len(flags), len(unlabelled), int((labels == 0).sum()), decisions, labels)


def open_triage(path: Path | None) -> LinearTriage | None:
    """Open the artefact at `path`; None, for a run without triage, when no path is given.

    Raises ConfigError when it is missing, broken, or holds types that a triage has no use for.
    """
    if path is None:
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        tensors = load(data)
        return LinearTriage(tensors, version=f"linear@{hashlib.sha256(data).hexdigest()[:12]}")
    except OSError as error:
        raise ConfigError(
            f"the triage {path} cannot be read: {error.strerror}",
            remedy="Train one: qexplorer triage train; or unset triage",
        ) from None
    except KeyError as error:
        raise ConfigError(
            f"{path} is no triage of this release: it has no {error}",
            remedy="Train it again: qexplorer triage train",
        ) from error
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"{path} is no triage: {error}", remedy="Train it again") from error


def _spaced(text: str) -> str:
    return " ".join(terms(text))


def _features() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import FeatureUnion, make_pipeline

    spaces = r"\S+"
    words = HashingVectorizer(n_features=FEATURES, token_pattern=spaces, ngram_range=(1, 2), alternate_sign=False)
    letters = HashingVectorizer(n_features=FEATURES, analyzer="char_wb", ngram_range=(3, 4), alternate_sign=False)
    return make_pipeline(FeatureUnion([("words", words), ("letters", letters)]), TfidfTransformer(sublinear_tf=True))


def _classifier(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    # A hundred rounds, the default, are too few for tens of thousands of flags.
    return LogisticRegression(
        C=10.0, class_weight="balanced", solver="liblinear", dual=True, max_iter=1000, random_state=seed
    )


def _clusters(texts: Sequence[str], flags: int) -> tuple[list[int], set[int]]:
    """Return a near-duplicate cluster for each text, and which of the unlabelled repeat a flag."""
    group = Group(NEAR)
    clusters: list[int] = []
    copies: set[int] = set()
    for place, text in enumerate(texts):
        mark = fingerprint(text)
        like = group.like(mark)
        clusters.append(int(like) if like is not None else place)
        if like is None:
            group.add(str(place), mark.hashes, mark.bands)
        elif place >= flags and int(like) < flags:
            copies.add(place - flags)
    return clusters, copies


def _posters(flags: Sequence[KnownFlag], clusters: Sequence[int]) -> list[int]:
    """Return who posted each flag: campaigns of which one seller was flagged under one policy are of the same people.

    A text that everybody copies would make all of them the same, so a quarter of all flags is too many to be believed.
    """
    first: dict[tuple[str, str], int] = {}
    same = [(cluster, place) for place, cluster in enumerate(clusters)]
    for place, flag in enumerate(flags):
        if flag.seller:
            same.append((first.setdefault((flag.policy, flag.seller), place), place))
    posters = joined(len(flags), same)
    sizes = Counter(posters)
    return [
        poster if sizes[poster] <= MOST_OF_ONE_POSTER * len(flags) else cluster
        for poster, cluster in zip(posters, clusters, strict=True)
    ]


def _decisions(matrix: Any, labels: Any, groups: Any, seed: int) -> Any:
    """Return for each text the decision of a model that has not seen its cluster."""
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    decisions = np.zeros(len(labels))
    # With one cluster of a class, a model that has not seen it knows the other class alone.
    fewest = min(len(set(groups[labels == label])) for label in (1, 0))
    if fewest < FEWEST_CLUSTERS or len(set(groups)) < FOLDS:
        raise BadInputError(
            "the flags, or the other listings that are no copies of them, say nearly the same",
            remedy="Give flags of several campaigns, and random listings",
        )
    folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(matrix, labels, groups):
        model = _classifier(seed).fit(matrix[train], labels[train])
        decisions[test] = model.decision_function(matrix[test])
    return decisions


def _doubtful(decisions: Any, labels: Any) -> Any:
    """Return which unlabelled texts score above most flags: at most a twentieth of them, the highest."""
    import numpy as np

    others = labels == 0
    bound = max(
        np.quantile(decisions[labels == 1], DOUBTFUL_QUANTILE), np.quantile(decisions[others], 1 - MOST_DOUBTFUL)
    )
    return others & (decisions > max(bound, 0.0))


def _platt(decisions: Any, labels: Any) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=1e6, class_weight="balanced").fit(decisions.reshape(-1, 1), labels)
    return float(fit.coef_[0][0]), float(fit.intercept_[0])


def _write(path: Path, idf: Any, classifier: Any, slope: float, offset: float, foresight: Mapping[str, Any]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    tensors: dict[str, Any] = {
        "idf": np.asarray(idf, dtype=np.float32),
        "weights": np.asarray(classifier.coef_[0], dtype=np.float32),
        "scalars": np.array([classifier.intercept_[0], slope, offset], dtype=np.float64),
        **foresight,
    }
    save_file(tensors, part, metadata={"format": FORMAT})
    part.replace(path)


def _report(flags: int, unlabelled: int, kept: int, decisions: Any, labels: Any) -> TriageReport:
    from sklearn.metrics import average_precision_score, roc_auc_score

    return TriageReport(
        flags=flags,
        unlabelled=unlabelled,
        left_out=unlabelled - kept,
        auc=float(roc_auc_score(labels, decisions)),
        average_precision=float(average_precision_score(labels, decisions)),
    )
