"""The socket's file: made private, never taken from another process, and removed only if it is ours."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from shared.files import lock_within
from shared.settings import StartupError

SOCKET_MODE = 0o660
BACKLOG = 512
LOCK_WAIT_S = 3.0
"""A sidecar that starts holds it for some milliseconds."""


class SocketFile:
    """A listening Unix socket and the file by which it is reached."""

    def __init__(self, path: Path, *, wait_s: float = LOCK_WAIT_S) -> None:
        """Bind and listen. `StartupError` if something else is at the path, or it can't be used; or if another process
        holds the lock of its directory for so long."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Two that start at once must not both find the same stale file, and one remove the other's new one.
            with _locked(path.parent, wait_s):
                _remove_stale(path)
                self.listener = _bind(path)
                self._inode = path.stat().st_ino
        except OSError as error:
            raise StartupError(f"SIDECAR_SOCKET: {str(path)!r} can't be listened on: {_reason(error)}") from None

    def is_reachable(self) -> bool:
        """Whether the file is still there, and still ours: our socket keeps its inode from being used again."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def remove(self) -> None:
        """Remove the file, if it is still ours."""
        if self.is_reachable():
            self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(directory: Path, wait_s: float) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            lock_within(descriptor, wait_s)
        except TimeoutError:
            raise StartupError(f"SIDECAR_SOCKET: another process holds the lock of {str(directory)!r}") from None
        yield
    finally:
        os.close(descriptor)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode must be right from the file's first moment on, not after a chmod.
    umask = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; `StartupError` for anything else in its place."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartupError(f"SIDECAR_SOCKET: {str(path)!r} exists and is not a socket; it is left as it is")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        except BlockingIOError:  # its backlog is full, so there is one who listens
            raise StartupError(f"SIDECAR_SOCKET: another process listens on {str(path)!r}") from None
        else:
            raise StartupError(f"SIDECAR_SOCKET: another process listens on {str(path)!r}")


def _reason(error: OSError) -> str:
    if error.errno is None:
        return str(error)  # such as "AF_UNIX path too long"
    return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
