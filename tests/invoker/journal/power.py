"""A disk that keeps what was synced, and nothing else: what a loss of power leaves of a directory."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

ZEROS = b"\0" * 64 * 1024


class Disk:
    """Notes each sync of the process from now on: of a file its content, of a directory what is in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: set[threading.Thread] = set()
        self._files: dict[int, bytes] = {}
        self._directories: dict[int, dict[str, int]] = {}
        for name, real in (("fsync", os.fsync), ("fdatasync", os.fdatasync)):
            monkeypatch.setattr(os, name, self._noting(real))

    def left(self, source: Path, target: Path, *, written_back: bool) -> None:
        """Make the target what a loss of power leaves of the source. `written_back`: the system happened to have
        written what files held, although nobody had asked it to; but not the directories."""
        now = {path.stat().st_ino: path for path in source.rglob("*")}
        self._restore(source.stat().st_ino, target, now if written_back else {})

    def _noting(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            self.threads.add(threading.current_thread())
            inode = os.fstat(descriptor).st_ino
            path = Path(f"/proc/self/fd/{descriptor}").resolve()
            if path.is_dir():
                self._directories[inode] = {child.name: child.stat().st_ino for child in path.iterdir()}
            else:
                self._files[inode] = path.read_bytes()
            real(descriptor)

        return sync

    def _restore(self, inode: int, target: Path, now: dict[int, Path]) -> None:
        target.mkdir()
        for name, child in self._directories.get(inode, {}).items():
            if child in self._directories:
                self._restore(child, target / name, now)
            else:
                content = now[child].read_bytes() if child in now else self._files.get(child, ZEROS)
                (target / name).write_bytes(content)
