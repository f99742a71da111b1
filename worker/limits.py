"""When too many messages are set aside: a bad deployment must not drain the topic into the dead letters."""

from collections import deque

WINDOW = 200
# A share of fewer messages says nothing.
LEAST = 50


def no_limits() -> "DeadLetterLimits":
    """Return limits that nothing exceeds: in a replay or a dry run letters are part of what is looked at."""
    return DeadLetterLimits(in_a_row=10**12, share=1.0)


class DeadLetterLimits:
    """Counts what is answered and what is set aside, and says when it has been too much.

    Two limits, since two things go wrong: nothing works any more, or much does not.
    """

    def __init__(self, *, in_a_row: int, share: float) -> None:
        self._in_a_row = in_a_row
        self._share = share
        self._run = 0
        self._last: deque[tuple[int, int]] = deque()

    def note(self, answered: int, set_aside: int) -> str:
        """Count a batch; return why it is too much, or nothing."""
        self._run = set_aside if answered else self._run + set_aside
        self._last.append((answered, set_aside))
        while sum(map(sum, self._last)) - sum(self._last[0]) >= WINDOW:
            self._last.popleft()
        bad, seen = sum(bad for _, bad in self._last), sum(map(sum, self._last))
        if self._run >= self._in_a_row:
            return f"{self._run} dead letters in a row"
        if seen >= LEAST and bad > self._share * seen:
            return f"{bad} dead letters among the last {seen} messages"
        return ""

    def reset(self) -> None:
        """Begin anew: somebody has looked, and told the fleet to go on."""
        self._run = 0
        self._last.clear()
