"""The core on files and pipes, in one process and without Kafka: for trying, training and evaluating."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from qexplorer.llm.engine import NOBODY_WAITS_S, Engine, EngineVersion, Reply, Sampling
from qexplorer.llm.opening import open_engine
from qexplorer.normalise import normalise
from qexplorer.policies import Policies, Policy
from qexplorer.prompts import prompt_of
from qexplorer.rows import read_rows, to_flag
from qexplorer.settings import Settings
from qexplorer.triage import Triage
from schemas import FlaggedListing, WireError

Given = tuple[FlaggedListing, Policy]


class Engines:
    """The engines that the policies name, opened when they are first needed, in this process."""

    def __init__(self, settings: Settings, triage: Triage | None) -> None:
        self._settings = settings
        self._triage = triage
        self._opened: dict[tuple[str, str], Engine] = {}

    def reply(self, batch: Sequence[Given]) -> tuple[list[Reply], list[EngineVersion]]:
        """Return the reply to each flag and who gave it; a flag that breaks its model is left without queries."""
        answered: dict[int, tuple[Reply, EngineVersion]] = {}
        groups: dict[Policy, list[int]] = {}
        for place, (_, policy) in enumerate(batch):
            groups.setdefault(policy, []).append(place)
        for policy, places in groups.items():
            engine = self._engine(policy)
            most = self._settings.explore.max_text
            prompts = [
                prompt_of(flag, policy, normalise(flag.listing.text[:most]), most_text=most, triage=self._triage)
                for flag, _ in (batch[place] for place in places)
            ]
            sampling = Sampling(samples=policy.candidates, temperature=policy.temperature)
            found = engine.generate(prompts, sampling, deadline_s=NOBODY_WAITS_S)
            for place, reply in zip(places, found, strict=True):
                answered[place] = (reply, engine.version)
        pairs = [answered[place] for place in range(len(batch))]
        return [reply for reply, _ in pairs], [version for _, version in pairs]

    def _engine(self, policy: Policy) -> Engine:
        key = (policy.engine, policy.adapter)
        if key not in self._opened:
            settings = self._settings.engines[policy.engine]
            self._opened[key] = open_engine(
                settings.model_copy(update={"adapter": policy.adapter}) if policy.adapter else settings
            )
        return self._opened[key]


def read_flags(
    source: Path, fields: dict[str, str], policies: Policies, on_problem: Callable[[str], None]
) -> Iterator[Given]:
    """Yield the flags of a source with their policies; rows that are none are told to `on_problem`."""
    for row in read_rows(source):
        if row.value is None:
            on_problem(f"row {row.number} left out: {row.problem}")
            continue
        try:
            flag = to_flag(row.value, fields, policies.of_kind)
        except WireError as error:
            on_problem(f"row {row.number} left out: {error}")
            continue
        policy = policies.find(flag.policy, flag.kind)
        if policy is None:
            on_problem(f"row {row.number} left out: no policy {flag.policy} takes the kind {flag.kind}")
        else:
            yield flag, policy


def batched(flags: Iterator[Given], size: int) -> Iterator[list[Given]]:
    """Yield lists of at most `size` flags."""
    while batch := list(itertools.islice(flags, size)):
        yield batch
