"""The models of all workers, swapped while they run: by the parent, which has checked them, in memory that they share.

The parent looks at the models file whenever it looks at its workers, and so needs no signal; SIGHUP makes it look at
what the file names, too, such as keys. A worker looks here with each sign of life. What is written here is one whole
value with a checksum: one that is being written is read the next time.
"""

import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from invoker.routing.models import Models, load_models
from invoker.settings import InvokerSettings
from shared import logs
from shared.settings import StartupError

_HEAD = Struct(">QQI")  # generation, bytes that follow, their checksum

log = logs.get("models")


class Snapshot(NamedTuple):
    """`refused`: why the file, as it is now, is not what these are from; empty if they are."""

    models: Models
    refused: str = ""


class Snapshots:
    """Made by the parent before it forks, and read by its workers."""

    def __init__(self) -> None:
        self._file = os.memfd_create("models")

    def publish(self, generation: int, snapshot: Snapshot) -> None:
        content = pickle.dumps(snapshot)
        os.pwrite(self._file, _HEAD.pack(generation, len(content), zlib.crc32(content)) + content, 0)

    def read(self, generation: int) -> tuple[int, Snapshot] | None:
        """One of another generation, if there is one and all of it is here."""
        head = os.pread(self._file, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return None
        newest, size, checksum = _HEAD.unpack(head)
        if newest == generation:
            return None
        content = os.pread(self._file, size, _HEAD.size)
        if zlib.crc32(content) != checksum:
            return None
        return newest, pickle.loads(content)  # our own parent's


class Swapping:
    """A worker's: looks whether there is another one, and takes it."""

    def __init__(self, snapshots: Snapshots, swap: Callable[[Snapshot], None]) -> None:
        self._snapshots = snapshots
        self._swap = swap
        self._generation = 0

    def look(self) -> None:
        if (found := self._snapshots.read(self._generation)) is not None:
            self._generation, snapshot = found
            self._swap(snapshot)


class ModelsFile:
    """The parent's: what is in use, and what the file is like."""

    def __init__(self, settings: InvokerSettings, snapshots: Snapshots) -> None:
        """`StartupError` if it can't be used."""
        self._settings = settings
        self._snapshots = snapshots
        self._seen = self._state()
        self._generation = 0
        self.current = Snapshot(load_models(settings))

    def look(self, *, asked: bool = False) -> None:
        """Load it if it was changed, or if that is `asked` for; a bad one changes nothing but what is told of it."""
        seen = self._state()
        if seen == self._seen and not asked:
            return
        self._seen = seen
        try:
            self.current = Snapshot(load_models(self._settings))
        except StartupError as error:
            self.current = self.current._replace(refused=str(error))
            log.error("models.refused", reason=str(error))
        else:
            log.info("models.loaded", models=len(self.current.models.names))
        self._generation += 1
        self._snapshots.publish(self._generation, self.current)

    def _state(self) -> object:
        """What changes with the file, a link to it too; None if there is none."""
        path: Path | None = self._settings.models_file
        try:
            status = None if path is None else path.stat()
        except OSError:
            return None
        return status and (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
