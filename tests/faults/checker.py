"""The judge: from what was sent, what came out and what was broken when, to what was lost, doubled or late."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# A commit is at most this old: what was answered so long before a fault may be answered again after it.
COMMIT_S = 5.0
# So long after it was mended a fault can still be why: a session runs out, partitions move, a batch is done again.
AFTERMATH_S = 25.0
DRAIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message of the input: its flag (or its own bytes' name, for poison), what it must find, and where it stands."""

    flag: str
    partition: int
    offset: int
    sibling: str = ""
    poison: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A record of the output: its kind and identity, when the broker got it, and what it is about."""

    kind: str
    key: str
    at: float
    flag: str = ""
    listing: str = ""
    place: tuple[int, int] = (-1, -1)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that was broken, from when to when."""

    kind: str
    start: float
    end: float


@dataclass(slots=True)
class History:
    """All that was recorded of a run; `healed` is when the last fault ended, `drained` when all was answered."""

    sent: list[Sent] = field(default_factory=list)
    came: list[Came] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    healed: float = 0.0
    drained: float = 0.0


@dataclass(slots=True)
class Verdict:
    """What is wrong with a history; all empty when the promises were kept."""

    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    repeated: int = 0
    disordered: list[str] = field(default_factory=list)
    late_s: float = 0.0
    letters: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.unexplained or self.doubled or self.disordered or self.late_s)

    def text(self) -> str:
        """Say what is wrong, with examples."""
        parts = [
            f"{name}: {len(found)}, as {found[:3]}"
            for name, found in (
                ("lost", self.lost),
                ("set aside without a reason to", self.unexplained),
                ("doubled", self.doubled),
                ("out of order", self.disordered),
            )
            if found
        ]
        if self.late_s:
            parts.append(f"drained {self.late_s:.0f} s after the last fault")
        return "; ".join(parts) or "kept"


def judge(history: History) -> Verdict:
    """Return what is wrong."""
    verdict = Verdict()
    results = [came for came in history.came if came.kind == "FlagResult"]
    letters = [came for came in history.came if came.kind == "DeadLetter"]
    suspects = [came for came in history.came if came.kind == "Suspect"]
    answered, found = {came.flag for came in results}, {came.listing for came in suspects}
    aside = {came.place for came in letters}
    for sent in history.sent:
        is_aside = (sent.partition, sent.offset) in aside
        if sent.poison:
            if not is_aside:
                verdict.lost.append(f"poison {sent.flag}: in no dead letter")
        elif is_aside:
            verdict.unexplained.append(sent.flag)
        elif sent.flag not in answered:
            verdict.lost.append(f"{sent.flag}: no answer")
        elif sent.sibling not in found:
            # An answer that does not have what was there to be found is a loss in disguise.
            verdict.lost.append(f"{sent.flag}: answered without {sent.sibling}")
    for came in letters:
        verdict.letters[came.reason] = verdict.letters.get(came.reason, 0) + 1
    for group in (results, letters, suspects):
        _repeats(group, history.faults, verdict)
    verdict.disordered = list(_disorder(results, history.sent))
    late = history.drained - history.healed
    verdict.late_s = late if late > DRAIN_S else 0.0
    return verdict


def _repeats(records: Sequence[Came], faults: Sequence[Fault], verdict: Verdict) -> None:
    """Count what came twice: allowed under one identity, when a fault lies between the two or right before them."""
    last: dict[str, Came] = {}
    for came in sorted(records, key=lambda each: each.at):
        before = last.get(came.key)
        last[came.key] = came
        if before is None:
            continue
        excused = any(fault.start <= came.at and fault.end + AFTERMATH_S >= before.at - COMMIT_S for fault in faults)
        if excused:
            verdict.repeated += 1
        else:
            verdict.doubled.append(f"{came.kind} {came.key}")


def _disorder(results: Sequence[Came], sent: Iterable[Sent]) -> Iterable[str]:
    """Yield flags whose first answer came before that of an earlier one of their partition."""
    first: dict[str, float] = {}
    for came in results:
        first[came.flag] = min(came.at, first.get(came.flag, came.at))
    latest: dict[int, float] = {}
    for each in sorted(sent, key=lambda one: (one.partition, one.offset)):
        if each.poison or each.flag not in first:
            continue
        if first[each.flag] < latest.get(each.partition, 0.0):
            yield each.flag
        latest[each.partition] = max(first[each.flag], latest.get(each.partition, 0.0))
