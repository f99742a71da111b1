from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.base import Wire, WireValue
from schemas.listing import Id

Count = Annotated[int, Field(ge=0)]


class QuerySource(StrEnum):
    """Where a candidate came from."""

    GREEDY = "greedy"
    SAMPLE = "sample"
    BEAM = "beam"
    LEXICAL = "lexical"
    WHOLE_TEXT = "whole_text"
    CONTACT = "contact"


class Query(WireValue):
    """A search query: what was proposed, and the normalised words that were searched."""

    id: Id
    text: str
    normalised: str
    source: QuerySource
    score: float | None = None


class QueryFate(StrEnum):
    """What became of a candidate."""

    SELECTED = "selected"
    NOT_SELECTED = "not_selected"
    EMPTY = "empty"
    REJECTED = "rejected"
    BANKED = "banked"
    OVER_BUDGET = "over_budget"
    FAILED = "failed"


class Versions(WireValue):
    """Everything that can change what a flag finds; `release` is the registry's name for them together."""

    release: str = ""
    model: str = ""
    adapter: str = ""
    prompt: str = ""
    normaliser: str = ""
    triage: str = ""


class Position(WireValue):
    """Where a message stands in Kafka."""

    topic: str
    partition: int
    offset: int


class QueryAudit(Wire):
    """One candidate of one flag: its fate, the reason, and what it cost.

    `completion_tokens` is its share of the model's tokens: those of the generation that proposed it first, divided by
    the queries in that; 0 for a query that no model proposed.
    """

    audit_id: Id
    flag_id: Id
    policy: Id
    query: Query
    fate: QueryFate
    reason: str = ""
    dsl_hash: str = ""
    hits: Count = 0
    fetched: Count = 0
    suspects: Count = 0
    searches: Count = 0
    took_ms: Annotated[float, Field(ge=0)] = 0.0
    completion_tokens: Annotated[float, Field(ge=0)] = 0.0
    versions: Versions = Versions()
    run_id: str = ""
    arm: str = ""
    trace_id: str = ""
    at: AwareDatetime


class FlagOutcome(StrEnum):
    """How a flag was answered."""

    SUSPECTS = "suspects"
    EMPTY = "empty"
    WITHDRAWN = "withdrawn"
    TOO_OLD = "too_old"
    TOO_DEEP = "too_deep"


class FlagResult(Wire):
    """The answer to one flag: suspects, or the reason why there are none.

    `repeats` are the ids of listings that nearly repeat the flagged one or a known item: nothing to review
    again, but the platform may act on them. `held` suspects are published later: the hour's cap of their policy is
    reached.
    """

    result_id: Id
    flag_id: Id
    policy: Id
    outcome: FlagOutcome
    reason: str = ""
    candidates: Count = 0
    searches: Count = 0
    searches_saved: Count = 0
    hits: Count = 0
    suspects: Count = 0
    held: Count = 0
    unparseable: Count = 0
    repeats: tuple[str, ...] = ()
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    ms: Annotated[float, Field(ge=0)] = 0.0
    position: Position | None = None
    versions: Versions = Versions()
    run_id: str = ""
    arm: str = ""
    trace_id: str = ""
    at: AwareDatetime
