"""Why a call is ended before its answer is there: said first, and only then is its task cancelled."""

import asyncio
import enum


class Ending(enum.Enum):
    """What ended it."""

    DEADLINE = enum.auto()
    DRAIN = enum.auto()
    CALLER_GONE = enum.auto()
    FIRST_TOKEN = enum.auto()
    IDLE = enum.auto()


class UntakenError(asyncio.CancelledError):
    """A call was cancelled while its caller had yet to take what was there."""


class LeftWaitingError(asyncio.CancelledError):
    """A call was cancelled while it waited for room."""


class EndedError(Exception):
    """A call was ended by us, and its caller is still to be answered. `untaken`: it is that caller that was waited
    for; `queued`: it was room."""

    def __init__(self, ending: Ending, *, untaken: bool = False, queued: bool = False) -> None:
        super().__init__(ending)
        self.ending = ending
        self.untaken = untaken
        self.queued = queued


class Endings:
    """Of tasks that make calls. Whoever has a reason of ours ends them here; beside that, only the server that a caller
    has left cancels them."""

    def __init__(self) -> None:
        self._endings: dict[asyncio.Task[object], Ending] = {}

    def end(self, task: asyncio.Task[object], ending: Ending) -> None:
        """A task that waits now; the first reason counts."""
        if task not in self._endings:
            self._endings[task] = ending
            task.cancel()

    def take(self, task: asyncio.Task[object]) -> Ending:
        """Why a task was cancelled: told once. It may go on, unless its caller is gone."""
        ending = self._endings.pop(task, Ending.CALLER_GONE)
        if ending is not Ending.CALLER_GONE:
            task.uncancel()
        return ending
