"""Accepts connections as an event loop does, but none is closed without a word where there are no files for it.

libuv takes such a connection and closes it, unseen by the server and with no reason for its peer. Here it waits, and
others with it, in the system's queue; that is counted, logged once, and a reason in `/readyz`.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable

from shared import logs
from shared.files import OWN_ERRORS, raise_limit

AT_ONCE = 64
"""Connections taken in one go; then others have their turn on the event loop."""
RETRY_S = 0.05
TOLD_FOR_S = 5.0
PEER_ERRORS = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,  # a firewall's
        *(errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH),
        *(errno.EOPNOTSUPP, errno.ENONET),
    }
)
"""Of a connection that has ended before it was taken (accept(2))."""

Protocol = Callable[[], asyncio.BaseProtocol]

log = logs.get("accepting")


class Acceptors:
    """All listeners of one process. `failures`: how often connections had to wait, by the name of the error."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self._limit = raise_limit()
        self._reason = ""
        self._told_until = 0.0

    @property
    def reason(self) -> str | None:
        """Why connections have to wait, if they had to lately; for `/readyz`."""
        if self._reason and asyncio.get_running_loop().time() > self._told_until:
            log.info("accepting.works_again")
            self._reason = ""
        return self._reason or None

    def listen(
        self,
        listener: socket.socket,
        protocol: Protocol,
        reserve: Callable[[], int],
        has_room: Callable[[int], bool] = lambda _pending: True,
    ) -> "Acceptor":
        """From now on connections of the listening socket get protocols, while more files than `reserve` are free, and
        while there is room beside so many that are not made yet."""
        return Acceptor(self, listener, protocol, reserve, has_room)

    def lack(self, listener: socket.socket, reserve: int) -> int | None:
        """The error of having no file for a connection. The lowest free number is the next one's."""
        try:
            number = os.dup(listener.fileno())
        except OSError as error:
            return error.errno
        os.close(number)
        return errno.EMFILE if number >= self._limit - reserve else None

    def note_failure(self, number: int) -> None:
        name = errno.errorcode.get(number, str(number))
        self.failures[name] = self.failures.get(name, 0) + 1
        if self.reason is None:
            log.error("accepting.failed", reason=os.strerror(number), limit=self._limit)
        self._reason = f"connections wait to be accepted: {os.strerror(number)}"
        self._told_until = asyncio.get_running_loop().time() + TOLD_FOR_S


class Acceptor:
    """One listening socket. `close` and `wait_closed` are as those of `asyncio.Server`, but for open connections."""

    def __init__(
        self,
        acceptors: Acceptors,
        listener: socket.socket,
        protocol: Protocol,
        reserve: Callable[[], int],
        has_room: Callable[[int], bool],
    ) -> None:
        self._acceptors = acceptors
        self._listener = listener
        self._protocol = protocol
        self._reserve = reserve
        self._has_room = has_room
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """No more are accepted, and the socket is closed. Idempotent."""
        if self._listener.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def wait_closed(self) -> None:
        """Until those that were accepted are connections."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if not self._has_room(len(self._connecting)):
                self._wait()
                return
            if lack := self._acceptors.lack(self._listener, self._reserve()):
                self._acceptors.note_failure(lack)
                self._wait()
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in PEER_ERRORS:
                    continue
                self._acceptors.note_failure(error.errno or 0)
                self._wait()
                return
            task = self._loop.create_task(self._connect(connection, self._protocol()))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _wait(self) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(RETRY_S, self._resume)

    async def _connect(self, connection: socket.socket, protocol: asyncio.BaseProtocol) -> None:
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except Exception as error:
            connection.close()
            if not isinstance(error, OSError) or error.errno in OWN_ERRORS:
                log.exception("accepting.lost_connection")
