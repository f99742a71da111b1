"""Long work on the event loop in short turns."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Characters of a text up to which its work takes a millisecond or two.
LIGHT = 2_000


async def in_turns(work: Callable[[T], R], items: Sequence[T], weight: Callable[[T], int]) -> list[R]:
    """Return what `work` makes of each item, in order; others may run between any two items.

    An item of more than `LIGHT` characters by `weight` goes to a thread. All of them in one thread would be slower: the
    loop gets the interpreter back from a busy thread only every 5 ms, at each of its steps.
    """
    done: list[R] = []
    for item in items:
        if weight(item) > LIGHT:
            done.append(await asyncio.to_thread(work, item))
        else:
            done.append(work(item))
            await asyncio.sleep(0)
    return done
