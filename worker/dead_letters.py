"""Messages that cannot be answered: set aside with their bytes and the reason, and the fleet stopped at too many."""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from qexplorer.clock import Clock
from qexplorer.errors import BadInputError, StorageError
from qexplorer.metrics import Metrics
from schemas import DeadLetter, DeadLetterReason
from worker.kafka import Publisher, Record
from worker.limits import DeadLetterLimits
from worker.work import Message, SetAside

log = structlog.get_logger()

# Headers of a dead letter: why, the message's own key, and that it had no value (which here would mean: removed).
LETTER, KEY, NULL = "qx-dead-letter", "qx-key", "qx-null"
# On a later record under the same key: what has become of the letter.
STATE = "qx-state"
# On a message that was sent again: the letter that it was.
REDRIVEN = "qx-redriven"
# On a letter without its message, which was too large to be sent again: how many bytes it had.
TRUNCATED = "qx-truncated"
OURS = frozenset({LETTER, KEY, NULL, STATE, TRUNCATED})
# A message of more does not fit into the topic's 2 MiB beside its letter.
MOST_BYTES = 2 * 1024 * 1024 - 64 * 1024


async def nobody(reason: str) -> None:
    """Trip for nobody: where no fleet has to be stopped."""
    del reason


class DeadLetters:
    """Writes dead letters, keyed by their id so that a later record can take the place of one.

    `trip` stops the fleet; it is called when a batch exceeds the limits.
    """

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        *,
        clock: Clock,
        metrics: Metrics,
        limits: DeadLetterLimits,
        trip: Callable[[str], Awaitable[None]] = nobody,
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._trip = trip

    async def publish(self, letters: Sequence[SetAside]) -> None:
        """Return once all are stored, without its message each that is larger than the topic takes.

        Raises StorageError where the topic does not take a letter alone.
        """
        if not letters:
            return
        try:
            await self._publisher.publish([self._record(*letter) for letter in letters])
        except BadInputError:
            for letter in letters:
                await self._publish_in_any_size(letter)

    async def _publish_in_any_size(self, letter: SetAside) -> None:
        for whole in (True, False):
            with contextlib.suppress(BadInputError):
                await self._publisher.publish([self._record(*letter, whole=whole)])
                return
        raise StorageError(
            f"{self._topic} does not take a letter without its message", remedy="Raise the topic's max.message.bytes"
        )

    def count(self, answered: int, letters: Sequence[SetAside]) -> str:
        """Count a delivered batch, log its letters, and return why the fleet must stop, or nothing."""
        for message, reason, stage, error in letters:
            self._metrics.dead_letters.labels(reason.value).inc()
            log.warning(
                "dead letter",
                reason=reason.value,
                stage=stage,
                error=error,
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
            )
        return self._limits.note(answered, len(letters))

    async def trip(self, reason: str) -> None:
        """Stop the fleet until somebody resumes it."""
        log.error("too many dead letters: the fleet pauses until `python -m worker resume`", reason=reason)
        await self._trip(reason)

    def _record(
        self, message: Message, reason: DeadLetterReason, stage: str, error: str, *, whole: bool = True
    ) -> Record:
        sent_before = sum(name == REDRIVEN for name, _ in message.headers)
        letter = DeadLetter(
            letter_id=letter_id(message),
            position=message.position,
            reason=reason,
            stage=stage,
            error=error[:1000],
            attempts=1 + sent_before,
            at=self._clock.now(),
        )
        # A sender's own headers of these names would lie about the letter.
        headers = [(name, data) for name, data in message.headers if name not in OURS]
        value = message.value or b""
        if not whole or Record(self._topic, message.key, value, headers).size() > MOST_BYTES:
            marks = [(TRUNCATED, str(len(value)).encode()), *((n, d) for n, d in headers if n == REDRIVEN)]
            return Record(self._topic, letter.letter_id.encode(), b"", [(LETTER, letter.to_bytes()), *marks])
        headers.append((LETTER, letter.to_bytes()))
        if message.key is not None:
            headers.append((KEY, message.key))
        if message.value is None:
            headers.append((NULL, b""))
        return Record(self._topic, letter.letter_id.encode(), value, headers)


def letter_id(message: Message) -> str:
    """Return the identity of a message's dead letter: the same for every attempt."""
    identity = f"{message.topic}\0{message.partition}\0{message.offset}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
