"""Calls in flight: counted, each for so long at most, and ended together when the worker drains."""

import asyncio
import contextlib
from typing import Self

from invoker.call.deadlines import Deadlines
from invoker.call.ending import EndedError, Ending, Endings, LeftWaitingError, UntakenError
from invoker.call.in_flight import InFlight


class Flights:
    """All of one worker, on its running loop."""

    def __init__(self) -> None:
        self.counts = InFlight()
        self.endings = Endings()
        self.loop = asyncio.get_running_loop()  # kept, because each time it costs the system call getpid
        self.deadlines = Deadlines(self.loop, self.endings)
        self.idle = asyncio.Event()

    async def wait_idle(self, seconds: float) -> None:
        """Until there is none, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.counts.total:
                    self.idle.clear()
                    await self.idle.wait()

    def end_all(self, ending: Ending) -> None:
        for task in self.deadlines.tasks():
            self.endings.end(task, ending)


class Flight:
    """What the current task does within it is a call in flight. Raises `EndedError` if we end it."""

    __slots__ = ("_flights", "_model_id", "_task", "_timeout_s")

    def __init__(self, flights: Flights, model_id: str, timeout_s: float) -> None:
        self._flights = flights
        self._model_id = model_id
        self._timeout_s = timeout_s
        self._task: asyncio.Task[object] = asyncio.current_task(flights.loop)  # type: ignore[assignment]  # there is one

    def __enter__(self) -> Self:
        flights = self._flights
        flights.counts.enter(self._model_id)
        flights.deadlines.add(self._task, self._timeout_s)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        flights = self._flights
        flights.deadlines.remove(self._task, self._timeout_s)
        flights.counts.leave(self._model_id)
        if not flights.counts.total:
            flights.idle.set()
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            return
        if (ending := flights.endings.take(self._task)) is not Ending.CALLER_GONE:
            raise EndedError(ending, untaken=kind is UntakenError, queued=kind is LeftWaitingError) from None

    @property
    def remaining_s(self) -> float:
        return self._flights.deadlines.remaining_s(self._task, self._timeout_s)


class FurtherFlight(Flight):
    """What a call does that was in flight before, as another model's. `due`: when its time is over, by the loop's
    clock."""

    __slots__ = ("_due", "_timer")

    def __init__(self, flights: Flights, model_id: str, timeout_s: float, due: float) -> None:
        super().__init__(flights, model_id, timeout_s)
        self._due = due

    def __enter__(self) -> Self:
        super().__enter__()
        flights = self._flights
        self._timer = flights.loop.call_at(self._due, flights.endings.end, self._task, Ending.DEADLINE)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._timer.cancel()
        super().__exit__(kind, *error)

    @property
    def remaining_s(self) -> float:
        return self._due - self._flights.loop.time()
