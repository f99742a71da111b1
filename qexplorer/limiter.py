"""How fast this replica may search: its share of the fleet's allowance, halved under load."""

from qexplorer.clock import Clock

RECOVERY_S = 30.0
SLOWEST = 1 / 64
# A replica without a partition has nothing to search for, but must not divide by zero.
LEAST_SHARE = 1e-6
STEP_S = 1.0
TINY = 1e-6


class SearchLimiter:
    """A token bucket of one second's worth of searches.

    `max_qps` is the fleet's allowance in searches a second. `share` in (0, 1] is this replica's part of it, set
    from the assigned partitions. `back_off` halves the rate, once a second at most; it doubles again every 30 s without
    another.
    """

    def __init__(self, max_qps: float, clock: Clock) -> None:
        self._max_qps = max_qps
        self._clock = clock
        self._share = 1.0
        self._slowed = 1.0
        self._changed_at = clock.monotonic()
        self._backed_off_at = -STEP_S
        self._filled_at = clock.monotonic()
        # Searches earned and taken since the start; what is earned ahead is a second's worth at most.
        self._earned = max(1.0, max_qps)
        self._taken = 0.0
        self._paid = 0

    @property
    def rate(self) -> float:
        """Searches a second that are allowed now."""
        while self._slowed < 1.0 and self._clock.monotonic() - self._changed_at >= RECOVERY_S:
            self._slowed = min(1.0, self._slowed * 2)
            self._changed_at += RECOVERY_S
        return self._max_qps * self._share * self._slowed

    def set_share(self, share: float) -> None:
        """Set this replica's part of the fleet's allowance; 0 is taken for the least part."""
        self._share = max(share, LEAST_SHARE)

    def back_off(self) -> None:
        """Halve the rate: the platform's search is overloaded or slow. What comes at once is one overload."""
        now = self._clock.monotonic()
        if now - self._backed_off_at >= STEP_S:
            self._backed_off_at = now
            self._slowed = max(SLOWEST, self._slowed / 2)
        self._changed_at = now

    async def take(self, searches: int) -> None:
        """Wait until that many searches may start."""
        self._fill()
        paid = min(self._paid, searches)
        self._paid -= paid
        self._taken += searches - paid
        # A later caller waits for what those before it have taken, so nobody starves.
        until = self._taken
        while (left := until - self._earned) > TINY:
            # In short steps: the rate may rise meanwhile, when partitions or the platform's search come back.
            await self._clock.sleep(min(STEP_S, left / self.rate))
            self._fill()

    def give_back(self, searches: int) -> None:
        """Let as many searches start without a wait: those that were taken never reached the platform's search."""
        self._paid += searches

    def _fill(self) -> None:
        now = self._clock.monotonic()
        rate = self.rate
        self._earned = min(self._taken + max(1.0, rate), self._earned + (now - self._filled_at) * rate)
        self._filled_at = now
