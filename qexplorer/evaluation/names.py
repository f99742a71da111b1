"""The names of the protocols."""

from enum import StrEnum


class Protocol(StrEnum):
    """How methods are judged; `transfer` is the pool protocol on kinds that training lacks."""

    POOL = "pool"
    PER_SEED = "per_seed"
    DISGUISED = "disguised"
    TRANSFER = "transfer"
