"""Long work in turns."""

import asyncio
import threading
import time

from qexplorer.turns import LIGHT, TURN_S, in_turns


async def test_results_come_in_order_and_others_run_in_between() -> None:
    """Another task gets a turn after each millisecond of work."""
    seen: list[str] = []

    async def other() -> None:
        for _ in range(3):
            seen.append("other")
            await asyncio.sleep(0)

    def work(item: str) -> str:
        seen.append(item)
        began = time.perf_counter()
        while time.perf_counter() - began <= TURN_S:
            pass
        return item.upper()

    beside = asyncio.create_task(other())
    assert await in_turns(work, ["a", "b", "c"], len) == ["A", "B", "C"]
    await beside
    assert seen == ["a", "other", "b", "other", "c", "other"]


async def test_a_heavy_item_leaves_the_loop() -> None:
    """A long text is worked on in a thread, a short one on the loop."""
    names = await in_turns(lambda _: threading.current_thread() is threading.main_thread(), ["x", "x" * 9999], len)
    assert LIGHT < 9999
    assert names == [True, False]
