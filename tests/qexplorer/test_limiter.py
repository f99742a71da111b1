"""How fast a replica may search."""

import asyncio

import pytest

from qexplorer.limiter import SearchLimiter
from qexplorer.testing import ManualClock


async def test_what_exceeds_a_second_s_worth_is_waited_for() -> None:
    """With 10 searches a second, 30 searches take the stock of 10 and two seconds more."""
    clock = ManualClock()
    limiter = SearchLimiter(10, clock)
    await limiter.take(10)
    await limiter.take(20)
    assert sum(clock.slept) == pytest.approx(2.0)


async def test_a_wait_ends_soon_after_the_rate_is_back() -> None:
    """Work that is in hand while the worker has no partition must not hold it up for days when it has some again."""
    clock = ManualClock()
    limiter = SearchLimiter(200, clock)
    limiter.set_share(0)
    clock.after_sleeps(3, lambda: limiter.set_share(1))
    await limiter.take(700)
    assert clock.monotonic() <= 3 + 700 / 200


async def test_what_never_reached_the_search_is_given_back() -> None:
    """Attempts in an outage leave no debt."""
    clock = ManualClock()
    limiter = SearchLimiter(10, clock)
    for _ in range(50):
        await limiter.take(10)
        limiter.give_back(10)
    assert sum(clock.slept) == 0


async def test_who_comes_later_waits_for_those_before() -> None:
    """Thirty searches of three callers at ten a second are spread over two seconds, in their order."""
    clock = ManualClock()
    limiter = SearchLimiter(10, clock)
    ended: list[tuple[int, float]] = []

    async def caller(number: int) -> None:
        await limiter.take(10)
        ended.append((number, clock.monotonic()))

    await asyncio.gather(*(caller(number) for number in range(3)))
    assert [number for number, _ in ended] == [0, 1, 2]
    assert clock.monotonic() - ended[0][1] >= 2


async def test_a_replica_takes_the_share_of_its_partitions() -> None:
    """With 2 of 8 partitions a replica has a quarter of the fleet's allowance."""
    limiter = SearchLimiter(100, ManualClock())
    limiter.set_share(2 / 8)
    assert limiter.rate == 25


async def test_an_overload_halves_the_rate_and_half_a_minute_doubles_it() -> None:
    """100 → 50 → 25 under load, back to 50 and 100 every 30 s, never above."""
    clock = ManualClock()
    limiter = SearchLimiter(100, clock)
    limiter.back_off()
    for _ in range(12):
        # As many searches of one request may be refused at once: that is one overload.
        limiter.back_off()
    rates = [limiter.rate]
    clock.advance(1)
    limiter.back_off()
    rates.append(limiter.rate)
    for _ in range(3):
        clock.advance(30)
        rates.append(limiter.rate)
    assert rates == [50, 25, 50, 100, 100]


async def test_the_rate_never_reaches_zero() -> None:
    """However often it is halved, and with no partition at all, something may still run."""
    clock = ManualClock()
    limiter = SearchLimiter(64, clock)
    for _ in range(100):
        clock.advance(1)
        limiter.back_off()
    assert limiter.rate == pytest.approx(64 / 64)
    limiter.set_share(0)
    assert limiter.rate > 0


async def test_however_many_replicas_there_are_together_they_keep_to_the_allowance() -> None:
    """A thousand replicas with one of a thousand partitions each search at the fleet's rate, not above it."""
    limiter = SearchLimiter(100, ManualClock())
    limiter.set_share(1 / 1000)
    assert 1000 * limiter.rate == pytest.approx(100)
