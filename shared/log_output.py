"""Lines on their way to stderr or stdout. Who writes one never waits for who reads them.

A pipe that nobody reads (a stalled log driver, a terminal after Ctrl-S) takes 64 KiB and then holds up whoever writes.
So what it doesn't take waits here, up to a bound; what is beyond is dropped, counted, and told of once there is room.
"""

import contextlib
import os
import select
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable

MAX_WAITING_BYTES = 1024 * 1024
PIECE_BYTES = select.PIPE_BUF
"""Written at once: a pipe takes it whole or not at all, so that lines of several processes aren't mixed."""
POLL_MS = 200
FLUSH_STEP_S = 0.01


class LineOutput:
    """`on_room(count)` is called when lines can be written again after so many were dropped."""

    def __init__(self, descriptor: int, on_room: Callable[[int], None]) -> None:
        self.dropped = 0
        self._on_room = on_room
        self._untold = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._descriptor = descriptor
        self._write, self.close = _unblocked(descriptor)
        self._is_writing = threading.Lock()  # by one thread at a time, in order

    @property
    def is_stalled(self) -> bool:
        """Whether lines are being dropped."""
        return self._untold > 0

    def write(self, text: str) -> None:
        """One line or several. Never raises, and never waits."""
        data = f"{text}\n".encode(errors="backslashreplace")
        with self._changed:
            if self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
                self.dropped += 1
                self._untold += 1
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            self._changed.notify()
        if self._thread is None:
            self.pump()

    def pump(self) -> bool:
        """Write what can be written at once; whether that was all."""
        if not self._is_writing.acquire(blocking=False):
            return False
        try:
            while (piece := self._first()) is not None:
                written = self._write(piece)
                if written is None:
                    return False
                self._forget(written)
        finally:
            self._is_writing.release()
        self._tell_dropped()
        return True

    def start(self) -> None:
        """From now on, a thread writes. In a process that was just forked, what waits is its parent's."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_writing = threading.Lock()
        self._waiting.clear()
        self._waiting_bytes = self._untold = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def flush(self, timeout_s: float) -> None:
        """Until all is written, at most for so long."""
        for _ in range(round(timeout_s / FLUSH_STEP_S)):
            if self.pump() and not self._waiting:
                return
            select.select((), (), (), FLUSH_STEP_S)  # `time.sleep` fails under libfaketime whose clock is moved

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
            if not self.pump():
                poll.poll(POLL_MS)

    def _first(self) -> bytes | None:
        with self._lock:
            return self._waiting[0][:PIECE_BYTES] if self._waiting else None

    def _forget(self, written: int) -> None:
        with self._lock:
            rest = self._waiting.popleft()[written:]
            self._waiting_bytes -= written
            if rest:
                self._waiting.appendleft(rest)

    def _tell_dropped(self) -> None:
        with self._lock:
            count, self._untold = self._untold, 0
        if count:
            self._on_room(count)


Write = Callable[[bytes], int | None]


def _unblocked(descriptor: int) -> tuple[Write, Callable[[], object]]:
    """What writes a piece, and says how much of it was taken; None where it would have to wait. What can't be written
    at all is gone, as nobody is left to hear of it. And what closes it.

    The descriptor itself stays as it is: it is shared with other processes, which expect it to block."""
    with contextlib.suppress(OSError):
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            peer = socket.socket(fileno=os.dup(descriptor))
            return _sender(peer), peer.close
        if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            own = os.open(f"/proc/self/fd/{descriptor}", flags)
            return _writer(own), lambda: os.close(own)
    return _writer(descriptor), lambda: None


def _writer(descriptor: int) -> Write:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)

    def write(piece: bytes) -> int | None:
        try:
            return os.write(descriptor, piece) if poll.poll(0) else None
        except BlockingIOError:
            return None
        except OSError:
            return len(piece)

    return write


def _sender(peer: socket.socket) -> Write:
    def send(piece: bytes) -> int | None:
        try:
            return peer.send(piece, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return None
        except OSError:
            return len(piece)

    return send
