"""The models of all workers, swapped while they run: by the parent, which has checked them, in memory that they share.

The parent looks at the models file whenever it looks at its workers, and so needs no signal; SIGHUP makes it look at
what the file names, too, such as keys. A worker looks here with each sign of life.
"""

import contextlib
import gc
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from invoker.models_file.reading import check_models, shown_path, usable
from invoker.process.shared_value import SharedValue
from invoker.routing.limits import Slots
from invoker.routing.models import Models
from invoker.routing.places import Tallies
from invoker.settings import InvokerSettings
from shared import logs
from shared.clock import Clock
from shared.settings import StartupError

log = logs.get("models")


class Snapshot(NamedTuple):
    """`refused`: why the file, as it is now, is not what these are from; empty if they are. `loaded_us`: when they were
    read."""

    models: Models
    refused: str = ""
    loaded_us: int = 0


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """What is made here stays: to look for garbage in it again and again takes most of the time, for which a worker's
    calls wait."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Swapping:
    """A worker's: looks whether there is another one, and takes it."""

    def __init__(self, snapshots: SharedValue, swap: Callable[[Snapshot], None]) -> None:
        self._snapshots = snapshots
        self._swap = swap
        self._generation = 0

    def look(self) -> None:
        if (found := self._snapshots.read(self._generation)) is not None:
            self._generation, pickled = found
            with uncollected():
                snapshot = pickle.loads(pickled)  # our own parent's
            self._swap(snapshot)


class ModelsFile:
    """The parent's: what is in use, and what the file is like."""

    def __init__(self, settings: InvokerSettings, snapshots: SharedValue, tallies: Tallies, clock: Clock) -> None:
        """`StartupError` if it can't be used."""
        self._settings = settings
        self._snapshots = snapshots
        self._slots = Slots(tallies)
        self._clock = clock
        self._seen = self._state()
        self.current = Snapshot(self._load(), loaded_us=self._clock.now_us())

    def look(self, *, asked: bool = False) -> None:
        """Load it if it was changed, or if that is `asked` for; a bad one changes nothing but what is told of it."""
        seen = self._state()
        if seen == self._seen and not asked:
            return
        self._seen = seen
        try:
            self.current = Snapshot(self._load(), loaded_us=self._clock.now_us())
        except StartupError as error:
            self._refuse(str(error))
        except Exception as error:  # a defect here is no reason to end workers that are well
            log.exception("models.defect")
            self._refuse(f"INVOKER_MODELS_FILE: it can't be checked: {type(error).__name__}; the log says where")
        else:
            log.info("models.loaded", models=len(self.current.models.names))
        self._snapshots.write(pickle.dumps(self.current))

    def _refuse(self, reason: str) -> None:
        self.current = self.current._replace(refused=reason)
        log.error("models.refused", reason=reason)

    def _load(self) -> Models:
        path = self._settings.models_file
        with uncollected():
            checked = check_models(self._settings)
        models = usable(checked, path)
        self._slots.give(models.limits())
        if checked.findings:  # no errors
            first = checked.findings[0].after(shown_path(path))
            log.warning("models.doubtful", warnings=len(checked.findings), first=first)
        return models

    def _state(self) -> object:
        """What changes with the file, a link to it too; None if there is none."""
        path: Path | None = self._settings.models_file
        try:
            status = None if path is None else path.stat()
        except OSError:
            return None
        return status and (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
