"""Files for a journal to go on in: made before they are needed, and used again; and whether there is space for more."""

import asyncio
import errno
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from invoker.journal.directory import Bound
from invoker.journal.segment import Segment
from shared import logs
from shared.clock import Clock

MAX_SPARES = 2
RETRY_FULL_US = 100_000

DropReason = Literal["journal_full", "disk_full"]
DROP_REASONS: tuple[DropReason, DropReason] = ("journal_full", "disk_full")

log = logs.get("journal")


class Spares:
    """Those of one journal. `full`: why there is no file to be had, if there is none."""

    def __init__(self, directory: Path, bound: Bound, clock: Clock) -> None:
        self.full: DropReason | None = None
        self._directory = directory
        self._bound = bound
        self._clock = clock
        self._segments: list[Segment] = []
        self._preparing = False
        self._retry_full_us = 0

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def take(self, records_waiting: int) -> Segment | None:
        """One of them, or a new one; None if there is none to be had, which is tried again after a while."""
        if not self._segments:
            if self.full is not None:
                if self._clock.monotonic_us() < self._retry_full_us:
                    return None
                self._retry_full_us = self._clock.monotonic_us() + RETRY_FULL_US
                if self._prepare():
                    return None  # calls don't wait while a full journal is looked through for space
            try:
                self._segments.append(self._bound.allocate(self._new_path()))
            except OSError as error:
                self._note_full(error, records_waiting)
                return None
        return self._segments.pop()

    def prepare(self) -> None:
        """See that there is one when it is needed."""
        if not self._segments and self.full is None:
            self._prepare()

    def keep(self, segment: Segment) -> bool:
        """Take a segment in, to be used again, unless there are enough of them or it has another size."""
        if len(self._segments) >= MAX_SPARES or segment.size != self._bound.segment_bytes:
            return False
        segment.map()
        spare = self._new_path()
        segment.path.rename(spare)
        segment.path = spare
        self._segments.append(segment)
        return True

    def note_space(self, dropped: dict[str, int]) -> None:
        """A file was found, or has become free."""
        if self.full is not None:
            log.info("journal.space_again", producer=self._directory.name, dropped=dropped)
            self.full = None

    def _prepare(self) -> bool:
        """Allocate one on another thread: it can take milliseconds. Whether one is being allocated."""
        if self._preparing:
            return True
        path = self._new_path()

        def allocate() -> None:
            segment: Segment | None = None
            try:
                segment = self._bound.allocate(path)
            except OSError:
                pass  # told when the space is really needed
            finally:
                loop.call_soon_threadsafe(keep, segment)

        def keep(segment: Segment | None) -> None:
            self._preparing = False
            if segment is not None:
                self._segments.append(segment)

        try:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, allocate)
        except RuntimeError:  # no loop, or no thread to be had: a call must not fail by it
            return False
        self._preparing = True
        return True

    def _new_path(self) -> Path:
        return self._directory / f"{secrets.token_hex(8)}.spare"

    def _note_full(self, error: OSError, records_waiting: int) -> None:
        reason: DropReason = "journal_full" if error.errno == errno.EDQUOT else "disk_full"
        self._retry_full_us = self._clock.monotonic_us() + RETRY_FULL_US
        if self.full != reason:
            log.error("journal.full", reason=reason, detail=error.strerror, records_waiting=records_waiting)
            self.full = reason


def remove_files(paths: list[Path]) -> None:
    """On another thread: hundreds take longer than calls may wait. Here, if there is no loop or no thread."""

    def remove() -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    try:
        asyncio.get_running_loop().run_in_executor(None, remove)
    except RuntimeError:
        remove()
