"""What a reply and a shipped record wait for, beyond the journal's mapped memory: nothing, or the disk."""

import asyncio
import contextlib
import os
from pathlib import Path

from invoker.journal.directory import sync_directory
from invoker.journal.journal import Journal, Unsynced
from shared import logs

log = logs.get("durability")


class GroupSync:
    """Syncs the journal before replies, one sync for all calls that wait (`INVOKER_DURABILITY=power`), on another
    thread. `failure` says why the last sync failed, if it did: replies and records go on then."""

    def __init__(self, journal: Journal) -> None:
        self.failure: str | None = None
        self._journal = journal
        self._waiting: list[asyncio.Future[None]] = []
        self._changed = False
        self._task: asyncio.Task[None] | None = None
        journal.on_change = self._note_change

    async def wait(self) -> None:
        """Until all that has been appended before this call is on the disk, or can't be brought there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._start()
        await done

    def _note_change(self) -> None:
        """Files have come or gone: not only the calls that wait want that on the disk."""
        self._changed = True
        self._start()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._sync())

    async def _sync(self) -> None:
        while self._waiting or self._changed:
            waiting, self._waiting, self._changed = self._waiting, [], False
            unsynced = self._journal.take_unsynced()
            try:
                await asyncio.to_thread(_sync, unsynced)
            except Exception as error:  # noqa: BLE001 - whatever it is: nobody may wait for ever
                self._note(error.strerror or str(error) if isinstance(error, OSError) else repr(error))
                self._journal.note_not_synced(unsynced)
            else:
                self._note(None)
            self._journal.note_synced(unsynced.upto)
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


def _sync(unsynced: Unsynced) -> None:
    for path in unsynced.files:
        _sync_file(path)
    if unsynced.directory is not None:
        sync_directory(unsynced.directory)
    for path in unsynced.removable:
        path.unlink(missing_ok=True)
        sync_directory(path.parent)


def _sync_file(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # all of it was acknowledged while the disk couldn't be synced
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
