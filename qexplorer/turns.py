"""Long work on the event loop in short turns."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Characters of a text up to which its work takes a millisecond or two.
LIGHT = 2_000
# A turn of the loop asks the system for news: once for each item, it would cost as much as light work itself.
TURN_S = 0.001


async def in_turns(work: Callable[[T], R], items: Sequence[T], weight: Callable[[T], int]) -> list[R]:
    """Return what `work` makes of each item, in order; others may run after each millisecond of it.

    An item of more than `LIGHT` characters by `weight` goes to a thread. All of them in one thread would be slower: the
    loop gets the interpreter back from a busy thread only every 5 ms, at each of its steps.
    """
    done: list[R] = []
    since = time.perf_counter()
    for item in items:
        if weight(item) > LIGHT:
            done.append(await asyncio.to_thread(work, item))
        else:
            done.append(work(item))
            if time.perf_counter() - since < TURN_S:
                continue
            await asyncio.sleep(0)
        since = time.perf_counter()
    return done
