"""Replies and refusals as aiohttp's responses."""

import asyncio

from aiohttp import web

from invoker.front.answering import Answering, Reply
from invoker.http.pieces import Body
from invoker.http.request_id import parse_request_id
from invoker.protocols.base import JSON, BadRequestError
from shared.head_rules import Refused
from shared.request_handler import Refuse, refuse_with_problem


def response_of(reply: Reply, media_type: bytes = JSON.encode()) -> web.Response:
    """With the reply's header lines; its answer is in one piece."""
    status, answer, headers = reply
    assert isinstance(answer, bytes)
    return web.Response(body=answer, status=status, headers=_fields(headers, media_type))


def given_request_id(request: web.Request) -> str | None:
    """Its caller's, if it has one that can be taken."""
    given = request.headers.getall("x-request-id", ())
    return parse_request_id(given[0].encode("utf-8", "surrogateescape")) if len(given) == 1 else None


def _fields(lines: bytes, media_type: bytes) -> dict[str, str]:
    text = (b"Content-Type: %b\r\n%b" % (media_type, lines)).decode("utf-8", "surrogateescape")
    parts = (line.partition(": ") for line in text.split("\r\n"))
    return {name: value for name, _, value in parts if name}


class ResponseSink:
    """Implements `Sink` on aiohttp's server, whose handler returns the `response`."""

    put = None

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._status, self._headers, self._media_type = 0, b"", b""
        self._rest: Body = b""
        self._stream: web.StreamResponse | None = None
        self._broken = False

    def start(self, status: int, headers: bytes, media_type: bytes = JSON.encode()) -> None:
        if self._stream is not None:
            raise ConnectionError  # with which aiohttp ends the connection
        self._status, self._headers, self._media_type = status, headers, media_type

    async def write(self, piece: bytes) -> None:
        if not piece:
            return
        try:
            if self._stream is None:
                self._stream = web.StreamResponse(status=self._status, headers=_fields(self._headers, self._media_type))
                await self._stream.prepare(self._request)
            await self._stream.write(piece)
        except ConnectionError:
            raise asyncio.CancelledError from None  # as of a caller whose leaving is noticed first

    @property
    def begun(self) -> bool:
        return self._stream is not None

    def end(self, rest: Body) -> None:
        self._rest = rest

    def break_off(self, last: bytes) -> None:
        self._rest, self._broken = last, True

    async def response(self) -> web.StreamResponse:
        """A large one is joined while others have their turn."""
        rest = self._rest if isinstance(self._rest, bytes) else await asyncio.to_thread(b"".join, self._rest)
        if self._stream is None:
            return response_of((self._status, rest, self._headers), self._media_type)
        if self._broken:
            if rest:
                await self._stream.write(rest)
            if self._request.transport is not None:
                self._request.transport.close()  # once it is sent, without the chunk that ends a body
            raise ConnectionError
        await self._stream.write_eof(rest)
        return self._stream


def refusing(answering: Answering) -> Refuse:
    """Tells in its dialect what is wrong with a request for an invocation, or for nobody knows what, and with a problem
    what is wrong with others; counts all of them."""

    def refuse(path: str, refused: Refused) -> web.Response:
        if not path or answering.find(path) is not None:
            return response_of(answering.refusal(BadRequestError(*refused), path))
        answering.rejected[refused.reason] += 1
        return refuse_with_problem(path, refused)

    return refuse
