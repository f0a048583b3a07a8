"""Nothing that a process does in the background ends unseen."""

import asyncio
import threading

import pytest

from shared.clock import SystemClock
from shared.tasks import HEALTHY_AFTER_US, Background


class Clock(SystemClock):
    """Stands still, or is set forward."""

    now = 0

    def monotonic_us(self) -> int:
        return self.now


class Work:
    """Fails as it is told to, once for each; then goes on for good."""

    def __init__(self, *failures: BaseException | None) -> None:
        self.failures = [*failures]
        self.calls = 0
        self.goes_on = asyncio.Event()

    async def __call__(self) -> None:
        self.calls += 1
        if self.failures:
            failure = self.failures.pop(0)
            if failure is not None:
                raise failure
            return
        self.goes_on.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (OSError(24, "Too many open files"), "OSError: [Errno 24] Too many open files"),
        (AssertionError("no"), "AssertionError: no"),
        (asyncio.CancelledError("what it waited for"), "CancelledError: what it waited for"),
        (None, "EndedError: it has ended of its own"),
    ],
)
async def test_a_task_that_fails_is_started_again_and_told(failure: BaseException | None, told: str) -> None:
    """However it ends; and it is a reason until it has run well for a while."""
    clock, work = Clock(), Work(failure)
    background = Background(clock)
    async with background.task("adoption", work) as task:
        await work.goes_on.wait()
        assert background.reasons == {"adoption": f"adoption failed and is started again: {told}"}
        clock.now += HEALTHY_AFTER_US - 1
        assert background.reasons
        clock.now += 1
        assert background.reasons == {}
    assert task.cancelled()
    assert work.calls == 2


async def test_the_same_failure_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a traceback; another one again. It is tried again later each time."""
    logged: list[str] = []
    monkeypatch.setattr(
        "shared.tasks.log.error", lambda _event, **fields: logged.append(fields["reason"]), raising=False
    )
    monkeypatch.setattr("shared.tasks.RESTART_FIRST_S", 0.001)
    work = Work(*(OSError("full") for _ in range(5)), OSError("gone"))
    async with Background(Clock()).task("intake", work):
        await work.goes_on.wait()
    assert logged == ["OSError: full", "OSError: gone"]


async def test_what_may_end_ends() -> None:
    """No reason, and it is not called again."""
    background, work = Background(Clock()), Work(None)
    async with background.task("outbox", work, ends=True) as task:
        await asyncio.wait([task])
    assert (work.calls, background.reasons) == (1, {})


async def test_a_task_ends_with_its_block_while_it_waits_to_be_started_again() -> None:
    """Nothing is left behind."""
    work = Work(*(OSError("full") for _ in range(100)))
    async with Background(Clock()).task("intake", work) as task:
        while not work.calls:
            await asyncio.sleep(0)
    assert task.done()


def test_a_thread_that_fails_is_started_again_and_told() -> None:
    """It ends when it returns; or when it fails after it was to stop."""
    background, stopped, goes_on = Background(Clock()), threading.Event(), threading.Event()
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) > 1:
            goes_on.set()
            stopped.wait()
        raise ValueError("a defect")

    thread = background.thread("ledger", work, stopped)
    thread.start()
    assert goes_on.wait(20)
    assert background.reasons == {"ledger": "ledger failed and is started again: ValueError: a defect"}
    stopped.set()
    thread.join(20)
    assert (thread.is_alive(), len(calls)) == (False, 2)
