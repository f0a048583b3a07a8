"""Streams of the mock server (server-sent events): at a rate, and with all that real ones do and shouldn't.

A dialect gives its events; here they become bytes, in the pieces and at the times that a `StreamBehaviour` says.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Meta

from deploy.mock.latency import MAX_LATENCY_S

Seconds = Annotated[float, Meta(ge=0, le=MAX_LATENCY_S)]
At = Annotated[int, Meta(ge=0, le=2**31)]

LINE_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
GZIP_WBITS = 31


class StreamBehaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a model streams; places are counted in tokens that were sent, or in bytes of the body."""

    tokens_per_second: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    """None: all at once, behind the first."""
    first_token_s: Seconds = 0.0
    """Beside the latency, with headers sent."""
    stall_after_tokens: At | None = None
    stall_s: Seconds = MAX_LATENCY_S
    error_after_tokens: At | None = None
    """An error event, and no more."""
    end_after_tokens: At | None = None
    """A clean end of the body, in the middle of the answer."""
    cut_at_byte: At | None = None
    """The connection is closed there, without the end of the body."""
    usage: Literal["as_asked", "never", "each", "with_content"] = "as_asked"
    """`each`: running totals in every event; `with_content`: beside the last output instead of alone."""
    finish: bool = True
    """Whether it is said why the answer ends (`finish_reason`, `message_delta` and `message_stop`)."""
    done: bool = True
    """Whether `[DONE]` is said where the dialect has it."""
    pieces: Literal["events", "bytes", "one"] = "events"
    """A write for each event, for each byte, or one for all."""
    line_end: Literal["lf", "crlf", "cr"] = "lf"
    space: bool = True
    """After `data:`."""
    comments: bool = False
    """A comment before each event, as servers send that keep a connection alive."""
    coding: Literal["identity", "gzip"] = "identity"


class Event(NamedTuple):
    """One event of a dialect. `name`: of its type, where the dialect says it. `tokens`: how many it brings."""

    data: bytes
    name: str = ""
    tokens: int = 0


def event(value: Any, name: str = "", tokens: int = 0) -> Event:
    return Event(msgspec.json.encode(value), name, tokens)


def encode_event(each: Event, behaviour: StreamBehaviour) -> bytes:
    """As it is on the wire, with its blank line."""
    end = LINE_ENDS[behaviour.line_end]
    field = b"data: " if behaviour.space else b"data:"
    name = b"event: " + each.name.encode() + end if each.name else b""
    comment = b": PROCESSING" + end + end if behaviour.comments else b""
    return comment + name + field + each.data + end + end


async def paced(
    events: Iterable[Event], error: Callable[[], Event], behaviour: StreamBehaviour
) -> AsyncIterator[Event]:
    """The events, each in its time, up to where the behaviour ends them."""
    sent = 0
    interval_s = 1 / behaviour.tokens_per_second if behaviour.tokens_per_second else 0.0
    for each in events:
        if each.tokens:
            if sent == behaviour.error_after_tokens:
                yield error()
                return
            if sent == behaviour.end_after_tokens:
                return
            if sent == behaviour.stall_after_tokens:
                await asyncio.sleep(behaviour.stall_s)
            wait_s = behaviour.first_token_s if sent == 0 else interval_s * each.tokens
            if wait_s:
                await asyncio.sleep(wait_s)
            sent += each.tokens
        yield each


def pieces_of(body: bytes, behaviour: StreamBehaviour) -> Iterator[bytes]:
    if behaviour.pieces != "bytes":
        yield body
    else:
        yield from (body[at : at + 1] for at in range(len(body)))


class _Body:
    """Writes a body's pieces, up to where it is to be cut."""

    def __init__(self, response: web.StreamResponse, behaviour: StreamBehaviour) -> None:
        self._response = response
        self._behaviour = behaviour
        self._left = behaviour.cut_at_byte
        self._packer = zlib.compressobj(wbits=GZIP_WBITS) if behaviour.coding == "gzip" else None

    async def write(self, text: bytes) -> bool:
        """False once it is cut."""
        if self._packer is not None:
            text = self._packer.compress(text) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        return await self._write(text)

    async def end(self) -> None:
        if self._packer is not None and not await self._write(self._packer.flush()):
            return
        if self._left is None:
            await self._response.write_eof()

    async def _write(self, body: bytes) -> bool:
        cut = self._left is not None and len(body) >= self._left
        if self._left is not None:
            body = body[: self._left]
            self._left -= len(body)
        for piece in pieces_of(body, self._behaviour):
            await self._response.write(piece)
        return not cut


async def stream(
    request: web.Request, events: Iterable[Event], error: Callable[[], Event], behaviour: StreamBehaviour
) -> web.StreamResponse:
    """Answer with these events; `error` makes the one that says that the rest fails."""
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    if behaviour.coding != "identity":
        headers["Content-Encoding"] = behaviour.coding
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    body = _Body(response, behaviour)
    whole = True
    gathered = b""
    async for each in paced(events, error, behaviour):
        text = encode_event(each, behaviour)
        if behaviour.pieces == "one":
            gathered += text
        elif not (whole := await body.write(text)):
            break
    if gathered:
        whole = await body.write(gathered)
    if whole:
        await body.end()
    if behaviour.cut_at_byte is not None and request.transport is not None:
        request.transport.close()  # what was written goes out before, and the last chunk doesn't
    return response
