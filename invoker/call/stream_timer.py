"""How long a stream may have nothing to say: one timer for all of it, however many pieces it comes in."""

import asyncio
import math

from invoker.call.ending import Ending
from invoker.call.flights import Flights
from invoker.protocols.base import StreamReader
from invoker.routing.models import Model


class StreamTimer:
    """Ends the current task if the first output, or any more of the stream, is waited for too long. To be closed within
    its flight."""

    __slots__ = ("_first_due", "_flights", "_handle", "_idle_s", "_loop", "_pause_s", "_reader", "_since", "_task")

    def __init__(self, flights: Flights, model: Model, *, streamed: bool) -> None:
        """`streamed`: it is known already that a stream is wanted."""
        self._loop = flights.loop
        now = self._loop.time()
        self._since: float | None = now
        self._flights = flights
        self._task: asyncio.Task[object] = asyncio.current_task(self._loop)  # type: ignore[assignment]  # there is one
        self._first_due = math.inf if model.first_token_s is None else now + model.first_token_s
        self._idle_s = math.inf if model.idle_s is None else model.idle_s
        self._pause_s = min(self._idle_s, model.first_token_s or math.inf)
        self._reader: StreamReader | None = None
        self._handle: asyncio.TimerHandle | None = None
        if streamed:
            self._arm(self._first_due)

    def follow(self, reader: StreamReader) -> None:
        """The stream begins."""
        self._reader = reader
        self.more()
        self.close()
        self._arm(min(self._first_due, self._loop.time() + self._idle_s))

    def more(self) -> None:
        """Some has come, and more is waited for."""
        self._since = self._loop.time()

    def rest(self) -> None:
        """Until `more`, its caller is waited for."""
        self._since = None

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, due: float) -> None:
        if due < math.inf:
            self._handle = self._loop.call_at(due, self._check)

    def _check(self) -> None:
        self._handle = None
        now = self._loop.time()
        reader, since = self._reader, self._since
        if since is None:
            self._arm(now + self._pause_s)
            return
        first_due = self._first_due if reader is None or reader.first_output_us is None else math.inf
        idle_due = math.inf if reader is None else since + self._idle_s
        if first_due <= now:
            self._flights.endings.end(self._task, Ending.FIRST_TOKEN)
        elif idle_due <= now:
            self._flights.endings.end(self._task, Ending.IDLE)
        else:
            self._arm(min(first_due, idle_due))
