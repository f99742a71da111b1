"""What an operator does with dead letters: look at them, send them again, or throw them away.

The topic is compacted by letter. What happens to a letter is a later record under its key: an empty one with the state
for a letter that was sent again, one without a value for a letter that was thrown away.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qexplorer.clock import Clock
from qexplorer.errors import BadInputError
from qexplorer.settings import Settings
from schemas import DeadLetter, DeadLetterReason, WireError
from worker.dead_letters import KEY, LETTER, NULL, OURS, REDRIVEN, STATE, TRUNCATED
from worker.kafka import Header, Publisher, Record
from worker.reading import Place, read_topic

AT_ONCE = 100
ANYWHERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter as it stands now; `state` is `open`, `truncated`, or says when it was sent again."""

    letter: DeadLetter
    size: int
    state: str = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which letters are meant, from `start` to before `end`; offsets are those of the messages that became letters."""

    ids: frozenset[str] = frozenset()
    reason: DeadLetterReason | None = None
    start: Place = ANYWHERE
    end: Place = ANYWHERE
    partition: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        offset = letter.position.offset
        return (
            (not self.ids or letter.letter_id in self.ids)
            and self.reason in {None, letter.reason}
            and self.partition in {None, letter.position.partition}
            and (self.start.offset is None or offset >= self.start.offset)
            and (self.end.offset is None or offset < self.end.offset)
            and (self.start.at is None or letter.at >= self.start.at)
            and (self.end.at is None or letter.at < self.end.at)
        )


class DeadLetterBox:
    """The topic of dead letters, read as a whole and folded by letter."""

    def __init__(self, settings: Settings, publisher: Publisher, clock: Clock) -> None:
        self._settings = settings
        self._publisher = publisher
        self._clock = clock
        self._topic = settings.kafka.topics.dead_letters

    async def letters(self, which: Which) -> list[Letter]:
        """Return the letters that were not thrown away, oldest first; texts stay in the topic."""
        found: dict[str, Letter] = {}
        async for message in read_topic(self._settings.kafka, self._topic):
            fold(found, message)
        return sorted(
            (letter for letter in found.values() if which.takes(letter.letter)),
            key=lambda each: (each.letter.at, each.letter.position.partition, each.letter.position.offset),
        )

    async def message(self, letter_id: str) -> Any:
        """Return a letter's message as it stands in the topic. Raises BadInputError when there is none."""
        return (await self._messages({letter_id}))[letter_id]

    async def redrive(
        self, which: Which, *, limit: int, most_attempts: int, tell: Callable[[str], None]
    ) -> tuple[int, int]:
        """Send letters again, oldest first, at most `limit`; return how many were sent and how many are left.

        A letter is sent once; what fails again becomes a letter of its own that counts its attempts, and from
        `most_attempts` on it is left alone. When the command dies between sending and noting it, the next one sends
        that letter again: the worker answers a flag once, however often it comes.
        """
        open_ones = [each for each in await self.letters(which) if each.state == "open"]
        tired = [each for each in open_ones if each.letter.attempts >= most_attempts]
        if tired:
            tell(f"{len(tired)} letters have failed {most_attempts} times or more and are left alone")
        flags = self._settings.kafka.topics.flags
        foreign = sorted({each.letter.position.topic for each in open_ones} - set(flags))
        if foreign:
            tell(f"those from {', '.join(foreign)} are left alone: name it among kafka.topics.flags to send them again")
        ready = [
            each for each in open_ones if each.letter.attempts < most_attempts and each.letter.position.topic in flags
        ]
        chosen = ready[:limit]
        messages = await self._messages({each.letter.letter_id for each in chosen})
        for start in range(0, len(chosen), AT_ONCE):
            part = chosen[start : start + AT_ONCE]
            await self._publisher.publish([self._again(each.letter, messages[each.letter.letter_id]) for each in part])
            state = f"redriven {self._clock.now().isoformat(timespec='seconds')}".encode()
            await self._publisher.publish(
                [Record(self._topic, each.letter.letter_id.encode(), b"", ((STATE, state),)) for each in part]
            )
        return len(chosen), len(ready) - len(chosen)

    async def purge(self, which: Which) -> int:
        """Throw letters away and return how many; Kafka removes their bytes when it compacts the topic."""
        chosen = await self.letters(which)
        await self.remove(each.letter.letter_id for each in chosen)
        return len(chosen)

    async def remove(self, letter_ids: Iterable[str]) -> None:
        """Write that letters are gone."""
        await self._publisher.publish([Record(self._topic, letter_id.encode(), None) for letter_id in letter_ids])

    def _again(self, letter: DeadLetter, message: Any) -> Record:
        key, value, headers = original(message)
        return Record(letter.position.topic, key, value, (*headers, (REDRIVEN, letter.letter_id.encode())))

    async def _messages(self, letter_ids: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async for message in read_topic(self._settings.kafka, self._topic):
            key = (message.key or b"").decode("utf-8", "replace")
            if key in letter_ids and message.value is not None and LETTER in dict(message.headers):
                found[key] = message
        if missing := letter_ids - found.keys():
            raise BadInputError(f"there is no letter {min(missing)}", remedy="See: python -m worker dlq list")
        return found


def fold(found: dict[str, Letter], message: Any) -> None:
    """Take one record of the topic into what is known of the letters; records that are none are passed over."""
    headers = dict(message.headers)
    key = (message.key or b"").decode("utf-8", "replace")
    if message.value is None:
        found.pop(key, None)
    elif LETTER in headers:
        try:
            letter = DeadLetter.from_bytes(headers[LETTER])
        except WireError:
            return
        cut = headers.get(TRUNCATED)
        found[letter.letter_id] = Letter(
            letter=letter,
            size=int(cut) if cut is not None and cut.isdigit() else len(message.value),
            # It can be read where it stood, as long as the topic of flags keeps it, and not be sent again.
            state="open" if cut is None else "truncated",
        )
    elif STATE in headers and key in found:
        found[key] = replace(found[key], state=headers[STATE].decode())


def original(message: Any) -> tuple[bytes | None, bytes | None, Sequence[Header]]:
    """Return key, value and headers of the message that became a letter."""
    headers = dict(message.headers)
    value = None if NULL in headers else message.value
    return headers.get(KEY), value, [(name, data) for name, data in message.headers if name not in OURS]
