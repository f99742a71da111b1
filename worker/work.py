"""What passes through the stages of the worker: messages, flags on their way, and micro-batches between two stages."""

from dataclasses import dataclass, field

from qexplorer.answer import Answer
from qexplorer.candidates import Proposal
from qexplorer.llm.engine import EngineVersion, Reply
from qexplorer.steps import Seed
from schemas import DeadLetterReason, Position
from worker.kafka import Header
from worker.release import Release

NOBODY = EngineVersion(model="", adapter="")
NOTHING = Proposal(candidates=(), unparseable=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it stands in Kafka; `arrived` is the monotonic time at which this worker had it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    arrived: float | None = None

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(topic=self.topic, partition=self.partition, offset=self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One flag on its way: its message, its seed, the model's reply and who gave it, what is proposed by it."""

    message: Message
    seed: Seed
    reply: Reply | None = None
    version: EngineVersion = NOBODY
    proposal: Proposal = NOTHING


# A message that becomes a dead letter: with the reason, the stage and the error.
SetAside = tuple[Message, DeadLetterReason, str, str]


@dataclass(slots=True)
class Prepared:
    """A micro-batch that has been read and not yet searched for; it stays with the release it began with."""

    release: Release
    works: list[Work] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """A micro-batch that has been searched for: its answers are known and not yet delivered.

    `one_by_one` says that its flags had to be taken apart: one of them breaks a batch.
    """

    answered: list[tuple[Work, Answer]] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    one_by_one: bool = False

    @property
    def answers(self) -> list[Answer]:
        """The answers in order."""
        return [answer for _, answer in self.answered]
