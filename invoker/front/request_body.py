"""Reads the body of a request that is not plain: in chunks, compressed, of HTTP/1.0, or only when asked for."""

import asyncio
from typing import NoReturn

from aiohttp import hdrs, web

from invoker.front.held_bodies import Held
from invoker.front.listener import STALLED_S
from invoker.http.codings import ACCEPTED, BrokenCodingError, TooLargeError, UnknownCodingError, decoded
from invoker.http.pieces import Body, add_piece, joined
from invoker.protocols.base import BadRequestError
from shared.cors import is_allowed
from shared.request_heads import BrokenBodyError


async def read_body(request: web.Request, max_bytes: int, held: Held) -> Body:
    """Unpacked. `BadRequestError` if it can't be had, before any of it is asked for where that can be told."""
    if (request.content_length or 0) > max_bytes:
        _refuse_size(max_bytes)
    codings = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ()))
    try:
        decoded(b"", codings, max_bytes)
    except UnknownCodingError as error:
        headers = f"Accept-Encoding: {ACCEPTED}\r\n".encode()
        raise BadRequestError(415, "unsupported_coding", str(error), headers) from None
    await _ask_for_it(request)
    body = await _read(request, max_bytes, held)
    return await _unpack(body, codings, max_bytes, held) if codings else body


def check_origin(request: web.Request, allowed: str) -> None:
    """A browser sends a form wherever a page wants it, without asking first: `BadRequestError` for those of other pages
    than the gateway's own and those that are allowed, so that no page can invoke a model."""
    if request.content_type.startswith("multipart/") and hdrs.ORIGIN in request.headers:
        own = request.headers[hdrs.ORIGIN].partition("://")[2] == request.host
        if not own and not is_allowed(request, frozenset(allowed.split(","))):
            message = "A form from a page of another origin is not taken (INVOKER_CORS_ORIGINS)"
            raise BadRequestError(403, "unsupported_media_type", message)


async def expect_nothing(_request: web.Request) -> None:
    """aiohttp's would have the caller send a body that is refused."""


async def _ask_for_it(request: web.Request) -> None:
    """Answers `Expect` (RFC 9110, 10.1.1), which HTTP/1.0 doesn't know."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None or request.version < (1, 1):
        return
    if expected.lower() != "100-continue":
        raise BadRequestError(417, "invalid_request", f"Expect: {expected[:64]!r} is not known here")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer has not begun


async def _read(request: web.Request, max_bytes: int, held: Held) -> Body:
    pieces: list[bytes] = []
    size = 0
    try:
        while part := await asyncio.wait_for(request.content.readany(), STALLED_S):
            size += len(part)
            if size > max_bytes:
                _refuse_size(max_bytes)
            held.must_add(len(part))
            add_piece(pieces, part)
    except TimeoutError:
        message = "The request did not come to its end in time"
        raise BadRequestError(408, "request_timeout", message) from None
    except BrokenBodyError as error:
        raise BadRequestError(*error.refused) from None
    return joined(pieces)


async def _unpack(body: Body, codings: str, max_bytes: int, held: Held) -> Body:
    """In pieces, between which others get their turn."""
    packed = body if isinstance(body, bytes) else await asyncio.to_thread(b"".join, body)
    unpacked: list[bytes] = []
    try:
        for piece in decoded(packed, codings, max_bytes):
            add_piece(unpacked, piece)
            held.must_add(len(piece))
            await asyncio.sleep(0)
    except TooLargeError:
        _refuse_size(max_bytes)
    except BrokenCodingError as error:
        raise BadRequestError(400, "invalid_body", f"The body can't be unpacked: {error}") from None
    return joined(unpacked)


def _refuse_size(max_bytes: int) -> NoReturn:
    raise BadRequestError(413, "body_too_large", f"The body is larger than {max_bytes} bytes, the limit")
