"""The socket that gateway workers send their records to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from metrics_sidecar.intake.connection import ProducerConnection
from metrics_sidecar.intake.file_plan import RESERVED_FILES
from metrics_sidecar.intake.intake import Intake
from metrics_sidecar.intake.socket_file import SocketFile
from shared import logs
from shared.accepting import Acceptor
from shared.settings import StartupError

SWEEP_INTERVAL_S = 1.0

log = logs.get("intake")


@contextlib.asynccontextmanager
async def listening(intake: Intake, path: Path, sweep_interval_s: float = SWEEP_INTERVAL_S) -> AsyncIterator[None]:
    """The socket file, created with mode 0660, made anew when it vanishes, and removed at the end if it is ours."""
    door = _Door(intake, SocketFile(path))
    door.open()
    async with intake.ledger.background.task("intake", lambda: door.watch(sweep_interval_s)):
        try:
            yield
        finally:
            door.close()  # before anything is awaited: nobody is let in any more
            intake.close()


class _Door:
    """The way in: a server on the socket file."""

    def __init__(self, intake: Intake, file: SocketFile) -> None:
        self._intake = intake
        self._file = file
        self._acceptor: Acceptor | None = None

    def open(self) -> None:
        acceptors, protocol = self._intake.acceptors, lambda: ProducerConnection(self._intake)
        self._acceptor = acceptors.listen(self._file.listener, protocol, lambda: RESERVED_FILES)

    async def watch(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            self._intake.sweep()
            if not self._file.is_reachable():
                self._open_anew()

    def _open_anew(self) -> None:
        """Connections stay as they are: only new ones need the file."""
        intake = self._intake
        try:
            file = SocketFile(self._file.path, wait_s=0)  # tried again soon
        except StartupError as error:
            if intake.unreachable != str(error):
                log.error("intake.socket_lost", reason=str(error))
            intake.unreachable = str(error)
            return
        self.close()
        self._file = file
        self.open()
        intake.unreachable = None
        log.warning("intake.socket_replaced", socket=str(file.path), producers=len(intake.producers))

    def close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        self._file.remove()
