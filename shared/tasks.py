"""What a process does beside its requests. No task and no thread ends unseen: one that fails is told of, is started
again after a while, and is a reason in `/readyz` until it has run well again."""

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

from shared import logs
from shared.clock import Clock

RESTART_FIRST_S, RESTART_LAST_S = 0.1, 5.0
HEALTHY_AFTER_US = 5_000_000
"""What has run for so long since it was started again is taken for well; and is restarted soon, if it fails anew."""

log = logs.get("background")


class EndedError(Exception):
    """What should go on until it is stopped has come to an end of its own."""


@dataclasses.dataclass(slots=True)
class _Failure:
    reason: str
    restart_s: float
    running_since_us: int | None = None


class Background:
    """The long-lived tasks and threads of one process, and which of them fail."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, _Failure] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """By name, why what doesn't run well is so, in words for `/readyz`. For any thread."""
        with self._lock:
            for name in [*self._failures]:
                self._settle(name)
            return {name: f"{name} failed and is started again: {f.reason}" for name, f in self._failures.items()}

    @contextlib.asynccontextmanager
    async def task(
        self, name: str, work: Callable[[], Awaitable[None]], *, ends: bool = False
    ) -> AsyncIterator[asyncio.Task[None]]:
        """`work` runs within it, as a task that is cancelled at its end. Whatever `work` raises, it is called again;
        likewise if it returns, unless it `ends` when all is done."""
        running = asyncio.create_task(self._keep_running(name, work, ends=ends), name=name)
        try:
            yield running
        finally:
            running.cancel()
            await asyncio.wait([running])

    def thread(self, name: str, work: Callable[[], None], stopped: threading.Event) -> threading.Thread:
        """A thread, not started yet, that calls `work` until it returns, or fails once `stopped` is set."""

        def keep_running() -> None:
            while True:
                self._note_start(name)
                try:
                    return work()
                except Exception as error:  # noqa: BLE001 - it is told, whatever it is
                    restart_s = self._note_failure(name, error)
                if stopped.wait(restart_s):
                    return None

        return threading.Thread(target=keep_running, name=name, daemon=True)

    async def _keep_running(self, name: str, work: Callable[[], Awaitable[None]], *, ends: bool) -> None:
        while True:
            self._note_start(name)
            try:
                await work()
                if ends:
                    return
                raise EndedError("it has ended of its own")
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                restart_s = self._note_failure(name, error)  # what it waited for was cancelled, not the task
            except Exception as error:  # noqa: BLE001 - it is told, whatever it is
                restart_s = self._note_failure(name, error)
            await asyncio.sleep(restart_s)

    def _note_start(self, name: str) -> None:
        with self._lock:
            if failure := self._failures.get(name):
                failure.running_since_us = self._clock.monotonic_us()

    def _note_failure(self, name: str, error: BaseException) -> float:
        """Tell of it, with a traceback if it is another than before; seconds until it is started again."""
        reason = f"{type(error).__name__}: {error}"
        with self._lock:
            self._settle(name)
            before = self._failures.get(name)
            restart_s = min(before.restart_s * 2, RESTART_LAST_S) if before else RESTART_FIRST_S
            self._failures[name] = _Failure(reason, restart_s)
        if before is None or before.reason != reason:
            log.error("background.failed", task=name, reason=reason, restart_in_s=restart_s, exc_info=error)
        return restart_s

    def _settle(self, name: str) -> None:
        """Forget a failure since which it has run well."""
        failure = self._failures.get(name)
        if failure is None or failure.running_since_us is None:
            return
        if self._clock.monotonic_us() - failure.running_since_us >= HEALTHY_AFTER_US:
            del self._failures[name]
            log.info("background.works_again", task=name)
