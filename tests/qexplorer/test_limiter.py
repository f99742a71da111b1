"""How fast a replica may search."""

import pytest

from qexplorer.limiter import SearchLimiter
from qexplorer.testing import ManualClock


async def test_what_exceeds_a_second_s_worth_is_waited_for() -> None:
    """With 10 searches a second, 30 searches take the stock of 10 and two seconds more."""
    clock = ManualClock()
    limiter = SearchLimiter(10, clock)
    await limiter.take(10)
    await limiter.take(20)
    assert clock.slept == [2.0]


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
    limiter.back_off()
    rates = [limiter.rate]
    for _ in range(3):
        clock.advance(30)
        rates.append(limiter.rate)
    assert rates == [25, 50, 100, 100]


async def test_the_rate_never_reaches_zero() -> None:
    """However often it is halved, and with no partition at all, something may still run."""
    limiter = SearchLimiter(64, ManualClock())
    for _ in range(100):
        limiter.back_off()
    assert limiter.rate == pytest.approx(64 / 64)
    limiter.set_share(0)
    assert limiter.rate > 0


async def test_however_many_replicas_there_are_together_they_keep_to_the_allowance() -> None:
    """A thousand replicas with one of a thousand partitions each search at the fleet's rate, not above it."""
    limiter = SearchLimiter(100, ManualClock())
    limiter.set_share(1 / 1000)
    assert 1000 * limiter.rate == pytest.approx(100)
