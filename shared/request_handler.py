"""A connection to an aiohttp application, as both servers make it."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from shared import logs
from shared.errors import has_left, problem_response, status_problem
from shared.half_closed import HalfClosed
from shared.head_rules import ENDED, MAX_HEADER_BYTES, MAX_HEADERS, MAX_REQUEST_LINE_BYTES, Refused
from shared.lingering import linger
from shared.problems import clip
from shared.request_heads import BrokenBodyError, check_head, target_of, unreadable

SERVER = "invocation-gateway"
"""Who answers, without versions: nobody learns from it which known faults to try."""
UNREADABLE = "UNKNOWN"
"""aiohttp's method of what is no request."""
KEPT_HEAD_BYTES = 256
END = b"\r\n\r\n"


Refuse = Callable[[str, Refused], web.Response]
"""Makes what a peer is told of a request for this path, or for none that is known."""

log = logs.get("http")


def refuse_with_problem(_path: str, refused: Refused) -> web.Response:
    return problem_response(status_problem(refused.status, clip(refused.message)))


class RequestHandler(web.RequestHandler):
    """aiohttp's, but what is no right request is answered as `refuse` says, in HTTP/1.1, and nothing that a peer does
    is logged; a peer that has closed its side is answered, and one that still sends gets its last answer; bodies stay
    as compressed as they came."""

    __slots__ = ("_begin", "_body", "_ended", "_handle", "_max_header_bytes", "_refuse", "_tail", "_unreadable")

    def __init__(
        self,
        server: web.Server,
        refuse: Refuse = refuse_with_problem,
        max_header_bytes: int = MAX_HEADER_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # none is written, and AppRunner's is typed so
            max_line_size=MAX_REQUEST_LINE_BYTES,
            max_field_size=max_header_bytes,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            **options,
        )
        self._refuse = refuse
        self._max_header_bytes = max_header_bytes
        self._begin = b""  # of the request whose head is being read
        self._tail = b""  # the last that was read, in which an END may begin; nothing if a head has just ended there
        self._body: StreamReader | None = None  # of the newest request
        self._ended = False  # the peer's side, or what can be read of it
        self._unreadable = False  # what came last, and so whatever follows
        self._handle = server.request_handler
        self._request_handler = self._check_and_handle

    # What comes.

    def data_received(self, data: bytes) -> None:
        """The parser gets one head at a time: with one that it refuses, it would drop all that came before."""
        while self._in_head and not self._buffer_paused:
            if not self._tail:
                data = data.lstrip(b"\r\n")  # as many empty lines may come before a request (RFC 9112, 2.2)
            place = (self._tail + data).find(END)
            if place < 0 or self._unreadable:
                break
            end = place + len(END) - len(self._tail)
            self._feed(data[:end])
            self._tail, data = b"", data[end:]
        if not self._unreadable:
            self._feed(data)
            self._tail = (self._tail + data[-len(END) :])[1 - len(END) :]

    @property
    def _in_head(self) -> bool:
        return self._body is None or self._body.is_eof()

    def _feed(self, data: bytes) -> None:
        count, body = self._request_count, self._body
        if self._in_head:
            self._begin += data[: KEPT_HEAD_BYTES - len(self._begin)]
        super().data_received(data)
        if self._request_count == count:
            return
        message, newest = self._messages[-1]
        if not isinstance(message, _ErrInfo):
            self._body, self._begin = newest, b""
            return
        self._unreadable = True
        if body is not None and not body.is_eof():  # no request, but the rest of one that is being answered
            self._messages.pop()
            self._break_off(body, unreadable(message.exc, self._max_header_bytes))

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's says None: not kept
        """Whether the connection is kept: for an answer that is still to be given."""
        transport, request, body = self.transport, self._current_request, self._body
        if transport is None or self._upgraded:
            return False
        if self._begin.strip():
            error = BadHttpMessage(ENDED.message)
            self._messages.append((_ErrInfo(ENDED.status, error, ENDED.message), EMPTY_PAYLOAD))
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        elif not self._messages and (self._waiter is not None or not self._request_count):
            return False
        elif body is not None and not body.is_eof():
            self._break_off(body, ENDED)
        self._ended = True
        writer = None if request is None else request.writer
        begun = writer is not None and writer.output_size > 0
        in_chunks = begun and getattr(writer, "chunked", False)
        if in_chunks or not begun:
            self.transport = cast(asyncio.Transport, HalfClosed(transport, in_chunks=in_chunks))
        return True

    def _break_off(self, body: StreamReader, why: Refused) -> None:
        self._ended = True
        body.set_exception(BrokenBodyError(why))
        body.feed_eof()

    def close_idle(self) -> None:
        """At once, unless a request is being answered."""
        if self._waiter is not None:
            self.force_close()

    # What goes.

    async def _check_and_handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refused = check_head(request, self._max_header_bytes)
        return await self._handle(request) if refused is None else self._refusal(request, request.path, refused)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """aiohttp's own logs a traceback of whatever a peer does."""
        if request.method == UNREADABLE:
            refused = ENDED if message == ENDED.message else unreadable(exc, self._max_header_bytes)
            return self._refusal(request, target_of(self._begin), refused)
        if has_left(request):
            raise ConnectionError
        log.error("request.failed", method=request.method, path=clip(request.path), exc_info=exc)
        if request.writer.output_size > 0:  # too late for another status line: the connection ends
            raise ConnectionError
        refused = Refused(status, "defect", "The server failed to answer; its log says why.")
        return self._refusal(request, request.path, refused)

    def _refusal(self, request: web.BaseRequest, path: str, refused: Refused) -> web.Response:
        request._version = HttpVersion11  # whatever it said, or nothing that could be read
        answer = self._refuse(path, refused)
        answer.headers["Server"] = SERVER
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        answered, reset = await super().finish_response(request, resp, start_time)
        if self._ended and not self._messages:
            self.close()
        elif not reset and self.transport is not None and not answered.keep_alive and _may_send(request):
            await self._linger(self.transport)
        return answered, reset

    async def _linger(self, transport: asyncio.BaseTransport) -> None:
        ended = asyncio.Event()

        def lost(error: Exception | None) -> None:
            ended.set()
            self.connection_lost(error)

        if linger(transport, lost):
            await ended.wait()


def _may_send(request: web.BaseRequest) -> bool:
    """Whether its peer has not said that this request is its last, or has not sent all of it; or none could be read."""
    return request.keep_alive or not request.content.is_eof() or request.method == UNREADABLE
