"""One caller's connection: reads plain invocations and writes their answers, and hands what is not plain to aiohttp.

aiohttp's server costs some 25 µs of CPU per request, as much as all the rest of a call. So this one knows a single
kind of request (see `plain`); at the first that is another, aiohttp takes over the connection with all that is unread.
"""

import asyncio
import contextlib
import socket
from typing import Protocol, cast

from invoker.front.answering import Reply
from invoker.front.held_bodies import SMALL_BYTES, Held
from invoker.front.sink import Dated, WireSink
from invoker.http.heads import END, MAX_HEAD_BYTES, RequestHead, has_broken_line, parse_request_head
from invoker.http.pieces import Body, add_piece, joined
from shared.lingering import linger

MAX_AHEAD_BYTES = 64 * 1024
"""What a caller may send ahead of the answer that it waits for; then it is not read from."""


class Listener(Dated, Protocol):
    """What a connection needs of the worker that it belongs to. `now` is a coarse time in seconds."""

    stalled_s: int
    now: int

    def opened(self, connection: "CallerConnection") -> None: ...

    def closed(self, connection: "CallerConnection") -> None: ...

    def other_server(self) -> asyncio.Protocol:
        """For a connection with a request that is not plain."""
        ...


class CallerConnection(asyncio.Protocol):
    """Answers one request at a time, in the order they came. `since` is when it became idle, when a head began,
    or when a piece of a body last came."""

    def __init__(self, listener: Listener) -> None:
        self.since = listener.now
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._head: RequestHead | None = None  # of the request whose body is being read
        self._body: list[bytes] = []
        self._missing_bytes = 0
        self._request: asyncio.Future[tuple[RequestHead, Body]] = self._loop.create_future()
        self._task: asyncio.Task[None] | None = None
        self._writable = True
        self._unsent_bytes = 0
        self._lingering = False
        self._ended = False  # the caller's side
        self._sink = WireSink(listener)
        self._held = Held(listener.answering.bodies)
        self._held_unsent = Held(listener.answering.bodies)
        listener.opened(self)  # and not when it is made: of many that come at once, the first would not be counted

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun and all answers have gone out."""
        began = self._request.done() or self._head is not None or self._unread
        return not began and (self._transport is None or not self._transport.get_write_buffer_size())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._sink.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._take_body(self._head, data)
        elif self._writable and not self._request.done():
            self._take_head(self._unread + data if self._unread else data)
        else:
            self._unread += data
            if len(self._unread) > MAX_AHEAD_BYTES and self._transport is not None:
                self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._writable = False
        self._sink.pause()
        if self._transport is not None:
            self._held_unsent.add(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._writable = True
        self._sink.resume()
        self._held_unsent.release()
        self._unsent_bytes = 0
        self._go_on()

    def eof_received(self) -> bool:
        """Whether the connection is kept: for answers that are still to be given."""
        self._ended = True
        if self._request.done():
            self._sink.await_half_closed()
            return True
        if self._writable:
            self._end_of_requests()
        return not self._writable

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended and not self._lingering and not self._request.done() and (self._head or self._unread):
            self._listener.answering.incomplete(self._head)  # nobody is there to be told, but it counts
        self._leave()

    def _leave(self) -> None:
        self._transport = self._sink.transport = None
        self._held.release()
        self._held_unsent.release()
        self._listener.closed(self)
        if self._task is not None:
            self._task.cancel()

    # Requests.

    def _take_head(self, data: bytes) -> None:
        """`data` begins where a request does."""
        end = data.find(END) + len(END)
        if end < len(END):
            if len(data) > MAX_HEAD_BYTES or not data[:1].isalpha() or has_broken_line(data):
                self._hand_over(data)
            else:
                self._note_begin()
                self._unread = data
            return
        answering = self._listener.answering
        head = parse_request_head(data[:end]) if end <= MAX_HEAD_BYTES else None
        if head is None or answering.find(head.path) is None or head.content_length > answering.max_body_bytes:
            self._hand_over(data)
            return
        whole = end + head.content_length
        if len(data) >= whole:
            if head.content_length > SMALL_BYTES and not self._held.add(head.content_length):
                self._refuse_body(head)
                return
            self._start(head, data[end:whole], data[whole:])
        else:
            self._note_begin()
            self._unread = b""
            self._head, self._body, self._missing_bytes = head, [data[end:]], whole - len(data)
            if not self._held.add(len(data) - end):
                self._refuse_body(head)

    def _note_begin(self) -> None:
        if not self._unread:
            self.since = self._listener.now

    def _take_body(self, head: RequestHead, data: bytes) -> None:
        self.since = self._listener.now
        missing = self._missing_bytes
        if not self._held.add(min(len(data), missing)):
            self._refuse_body(head)
            return
        if len(data) < missing:
            self._missing_bytes = missing - len(data)
            add_piece(self._body, data)
            return
        add_piece(self._body, data[:missing])
        body, self._body = joined(self._body), []
        self._head = None
        self._start(head, body, data[missing:])

    def _refuse_body(self, head: RequestHead) -> None:
        """Together with those of all other callers it is too large."""
        self._held.release()
        self._refuse(self._listener.answering.too_much(head))

    def _start(self, head: RequestHead, body: Body, unread: bytes) -> None:
        self._unread = unread
        self._request.set_result((head, body))

    def _hand_over(self, data: bytes) -> None:
        """aiohttp goes on from here: nothing of this request has been answered."""
        transport = self._transport
        assert transport is not None
        self._leave()
        with contextlib.suppress(OSError):  # aiohttp waits forever for a caller that doesn't read; the system needn't
            stalled_ms = self._listener.stalled_s * 1000
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_ms)
        other = self._listener.other_server()
        transport.set_protocol(other)
        other.connection_made(transport)
        other.data_received(data)
        if self._ended and not other.eof_received():
            transport.close()

    # Answers.

    async def _serve(self) -> None:
        """Answer one request after the other, until the connection has ended. That cancels, which goes unseen
        if a timeout or the shutdown cancels the call in the same moment."""
        answering, sink = self._listener.answering, self._sink
        while self._transport is not None:
            head, body = await self._request
            sink.last = head.close
            await answering.answer(head, body, sink)
            self._held.release()
            self._request = self._loop.create_future()
            if sink.last:
                self._end(reads_on=not head.close or bool(self._unread))
            self._go_on()
            if self._request.done():  # what was sent ahead; if it is refused, too, nobody else had a turn
                await asyncio.sleep(0)

    def _refuse(self, reply: Reply) -> None:
        """As the connection's last answer."""
        status, answer, headers = reply
        self._sink.last = True
        self._sink.start(status, headers)
        self._sink.end(answer)
        self._end(reads_on=True)

    def _end(self, *, reads_on: bool) -> None:
        """With its last answer written. Only a caller that sends no more is known to get it if nothing more is read."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._ended or not reads_on:
            transport.close()
            return
        self._lingering = True
        self._unread, self._head, self._body = b"", None, []
        linger(transport, self.connection_lost)

    def _go_on(self) -> None:
        """To the next request, if it may begin."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._request.done() or not self._writable:
            return
        self.since = self._listener.now
        if self._unread:
            data, self._unread = self._unread, b""
            if not self._ended:
                transport.resume_reading()
            self._take_head(data)
        if self._ended:
            self._end_of_requests()

    def _end_of_requests(self) -> None:
        """No more comes: what has begun is all there, or never will be."""
        if self._request.done():
            self._sink.await_half_closed()
        elif self._head is not None or self._unread:
            self._refuse(self._listener.answering.incomplete(self._head))
        elif self._transport is not None:
            self._transport.close()

    # Its end.

    def close(self) -> None:
        """Once all that was written has gone out; not while a request is being answered."""
        if self._transport is None:
            self._listener.closed(self)  # it never came about
        elif not self._request.done() and not self._lingering:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def end_stalled(self) -> None:
        """Nothing has happened for long: unless a model is waited for, the caller is told, or its answer dropped."""
        transport = self._transport
        if transport is None or self._lingering or (self._request.done() and not self._sink.begun):
            return
        unsent_bytes = transport.get_write_buffer_size()
        if unsent_bytes:
            if unsent_bytes == self._unsent_bytes:
                transport.abort()
            self._unsent_bytes, self.since = unsent_bytes, self._listener.now
        elif not self._sink.begun and not self.is_idle:
            self._refuse(self._listener.answering.timed_out(self._head))
