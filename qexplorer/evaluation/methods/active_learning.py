"""Linear continuous active learning over the whole corpus (Cormack and Grossman, SIGIR 2014): an upper reference.

It searches nothing: after each seed a linear model that is trained on the known flags, the seeds and all verdicts so
far picks what is reviewed next, out of every listing of the index. Where the whole corpus can be read, that is the
cheapest way to find most.
"""

from dataclasses import replace
from typing import Any

from qexplorer.evaluation.budget import Spent
from qexplorer.evaluation.case import Case, Judged
from qexplorer.evaluation.methods.base import Cost
from qexplorer.evaluation.pool import GroupResult, Reviewer, SeedResult, count_campaigns, kinds_of
from qexplorer.near_duplicates import terms


class ActiveLearning:
    """Chooses reviews itself; its pool is all that it has reviewed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._case: Case | None = None
        self._done: dict[int, GroupResult] = {}
        self._matrix: Any = None
        self._features: Any = None

    def run(self, case: Case, *, number: int, load: int, reviews: int) -> GroupResult:
        """Run one group; `load` changes nothing, so each group runs once."""
        if case is not self._case:
            self._read(case)
        if number not in self._done:
            self._done[number] = self._run(case, number, reviews)
        return replace(self._done[number], load=load)

    def _run(self, case: Case, number: int, reviews: int) -> GroupResult:
        reviewer, passed = Reviewer(case, case.groups[number]), set[int]()
        seeds: list[Judged] = []
        credit: list[int] = []
        for place, judged in enumerate(case.groups[number]):
            seeds.append(judged)
            done = 0
            for best in self._ranked(case, seeds, reviewer):
                if done == reviews:
                    break
                if best not in passed:
                    passed.add(best)
                    new = reviewer.review(best)
                    done += new
                    credit += [place] * new
        found = [place for place, find in zip(reviewer.reviewed, reviewer.finds, strict=True) if find]
        by_seed: dict[int, list[int]] = {}
        for place, find, at in zip(reviewer.reviewed, reviewer.finds, credit, strict=True):
            if find:
                by_seed.setdefault(at, []).append(place)
        return GroupResult(
            method=self.name,
            load=0,
            group=number,
            budget=reviews * len(seeds),
            seeds=tuple(
                SeedResult(judged=judged, spent=Spent(), cost=Cost(), ms=0.0, found=tuple(by_seed.get(n, ())))
                for n, judged in enumerate(seeds)
            ),
            verdicts=tuple(reviewer.finds),
            campaigns=count_campaigns(case, seeds, found),
            kinds=kinds_of(case, found),
        )

    def _read(self, case: Case) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._case, self._done = case, {}
        self._features = TfidfVectorizer(analyzer=terms, sublinear_tf=True, min_df=2)
        self._matrix = self._features.fit_transform(
            [case.documents.text(place) for place in range(len(case.documents))]
        ).tocsr()

    def _ranked(self, case: Case, seeds: list[Judged], reviewer: Reviewer) -> list[int]:
        """Return all listings, those most like what is known to be prohibited first."""
        import numpy as np
        from scipy.sparse import vstack
        from sklearn.linear_model import LogisticRegression

        flags = [flag.normalised for flag in case.knowledge.flags] + [judged.seed.normalised for judged in seeds]
        known = self._features.transform([*flags, *case.knowledge.sample])
        labels = [1] * len(flags) + [0] * len(case.knowledge.sample) + [int(find) for find in reviewer.finds]
        # A verdict outweighs a listing that was drawn blindly: it is certain, and it lies near the border.
        weights = [1.0] * len(flags) + [0.5] * len(case.knowledge.sample) + [2.0] * len(reviewer.finds)
        matrix = vstack([known, self._matrix[reviewer.reviewed]]) if reviewer.reviewed else known
        model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear", dual=True, random_state=0)
        model.fit(matrix, labels, sample_weight=weights)
        return [int(place) for place in np.argsort(-model.decision_function(self._matrix), kind="stable")]
