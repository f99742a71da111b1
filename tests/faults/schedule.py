"""What goes in and what breaks when, all drawn from one seed."""

import random
from dataclasses import dataclass

FLAGS = 120
SECONDS = 10.0
POISON_EVERY = 20

# Each kind with how long it lasts, in seconds: the shortest and the longest. 0 is a blow without duration.
KINDS: dict[str, tuple[float, float]] = {
    "kill worker": (0.5, 4.0),
    "kill inference": (0.0, 0.0),
    "stop worker": (14.0, 16.0),
    "restart worker": (0.5, 2.0),
    "add worker": (3.0, 8.0),
    "kill broker": (1.0, 4.0),
    "cut network": (2.0, 8.0),
    "search 429": (2.0, 8.0),
    "search 503": (2.0, 8.0),
    "search partial": (2.0, 8.0),
    "search garbage": (2.0, 8.0),
    "search slow": (3.0, 8.0),
    "search gone": (2.0, 8.0),
    "search disk full": (2.0, 6.0),
    "model out of memory": (2.0, 6.0),
    "model hangs": (2.0, 6.0),
    "producer errors": (2.0, 6.0),
}
# In the long run a stopped worker stays so for as long as a paused virtual machine may.
LONG = {"stop worker": (28.0, 32.0)}
SEVERAL = {"kill leader": (2.0, 8.0)}
SEARCH_NODES = {"kill search node": (2.0, 8.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One fault: what, when after the start, for how long, and which of several (by a number to be taken modulo)."""

    kind: str
    at: float
    lasts: float
    which: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One run: workers at the start, and the blows in order."""

    seed: int
    workers: int
    batch_size: int
    blows: tuple[Blow, ...]

    def text(self) -> str:
        """Return it in one line."""
        blows = ", ".join(f"{blow.kind} at {blow.at:.0f} s for {blow.lasts:.0f} s" for blow in self.blows)
        return f"seed {self.seed}: {self.workers} workers, batches of {self.batch_size}; {blows}"


def draw(seed: int, *, long: bool = False, brokers: int = 1, search_nodes: int = 1) -> Schedule:
    """Return the schedule of a seed; every kind of fault comes first in one of as many seeds in a row."""
    kinds = dict(KINDS)
    if long:
        kinds |= LONG
    if brokers > 1:
        kinds |= SEVERAL
    if search_nodes > 1:
        kinds |= SEARCH_NODES
    names = list(kinds)
    rng = random.Random(seed)
    chosen = [names[seed % len(names)], *(rng.choice(names) for _ in range(rng.randint(1, 2)))]
    blows = [
        Blow(kind=kind, at=rng.uniform(1.0, SECONDS), lasts=rng.uniform(*kinds[kind]), which=rng.randrange(100))
        for kind in chosen
    ]
    return Schedule(
        seed=seed,
        workers=rng.randint(2, 3) if not long else rng.randint(2, 4),
        batch_size=rng.choice((2, 4, 16)),
        blows=tuple(sorted(blows, key=lambda blow: blow.at)),
    )
