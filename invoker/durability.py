"""What a reply waits for, beyond the journal's mapped memory: nothing, or the disk."""

import asyncio
import os

from invoker.journal import Journal
from shared import logs

log = logs.get("durability")


class GroupSync:
    """Syncs the journal before replies, one sync for all calls that wait (`INVOKER_DURABILITY=power`).
    `failure` says why the last sync failed, if it did: replies go on then."""

    def __init__(self, journal: Journal) -> None:
        self.failure: str | None = None
        self._journal = journal
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Until all that has been appended before this call is on the disk, or can't be brought there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._task is None:
            self._task = asyncio.create_task(self._sync())
        await done

    async def _sync(self) -> None:
        while waiting := self._waiting:
            self._waiting = []
            try:
                await asyncio.to_thread(_sync_file, self._journal.duplicate_file())
            except Exception as error:  # noqa: BLE001 - whatever it is: nobody may wait for ever
                self._note(error.strerror or str(error) if isinstance(error, OSError) else repr(error))
            else:
                self._note(None)
            for done in waiting:
                if not done.done():  # a caller that is gone has cancelled its own
                    done.set_result(None)
        self._task = None

    def _note(self, failure: str | None) -> None:
        if failure is not None and failure != self.failure:
            log.error("durability.sync_failed", reason=failure)
        elif failure is None and self.failure is not None:
            log.info("durability.works_again")
        self.failure = failure


def _sync_file(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
