"""What is held back of a stream, however it is cut into pieces."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.call.holding import MAX_HELD_BYTES, HeldSink
from invoker.protocols.events import EventReader
from invoker.protocols.usage import anthropic_usage
from tests.invoker.front.test_fallback import BLOCK, COMMENT, DELTA, PING, START, STOP

BEFORE = (START % b"m" + PING + COMMENT + BLOCK).replace(b"\n", b"\r\n")
AFTER = DELTA % b"x" + DELTA % b"y" + STOP


class FakeSink:
    """Keeps what it gets."""

    def __init__(self, *, at_once: bool) -> None:
        self.put = self._put if at_once else None
        self.heads: list[tuple[int, bytes, bytes]] = []
        self.sent = b""

    def start(self, status: int, headers: bytes, media_type: bytes) -> None:
        self.heads.append((status, headers, media_type))

    def _put(self, piece: bytes) -> bool:
        self.sent += piece
        return True

    async def write(self, piece: bytes) -> None:
        self.sent += piece


def pieces_of(text: bytes, cuts: set[int]) -> list[bytes]:
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


@given(st.sets(st.integers(1, len(BEFORE + AFTER)), max_size=30), st.booleans(), st.data())
def test_nothing_goes_on_before_the_first_output(cuts: set[int], at_once: bool, data: st.DataObject) -> None:
    """And all of it from then on, in its order, with one head; or nothing is lost of what is taken back."""
    ends = data.draw(st.integers(0, len(BEFORE + AFTER)))
    inner = FakeSink(at_once=at_once)
    reader = EventReader(anthropic_usage)
    sink = HeldSink(inner, reader)
    sink.start(200, b"x: y\r\n", b"text/event-stream")
    fed = b""

    async def feed() -> None:
        nonlocal fed
        for piece in pieces_of((BEFORE + AFTER)[:ends], cuts):
            whole = reader.feed(piece, 1)
            fed += whole
            put = sink.put
            assert (put is not None) is at_once
            if put is not None:
                assert put(whole)
            else:
                await sink.write(whole)
            has_output = reader.first_output_us is not None
            assert (sink.passed, inner.sent) == (has_output, fed if has_output else b"")

    asyncio.run(feed())
    assert inner.heads == ([(200, b"x: y\r\n", b"text/event-stream")] if sink.passed else [])
    assert inner.sent + sink.take() == fed
    assert sink.take() == b""


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_is_held_back_is_bounded(at_once: bool) -> None:
    inner = FakeSink(at_once=at_once)
    sink = HeldSink(inner, EventReader(anthropic_usage))
    for _ in range(MAX_HELD_BYTES // len(PING)):
        await sink.write(PING)
    assert (sink.passed, inner.sent) == (False, b"")
    await sink.write(PING)
    assert sink.passed
    assert len(inner.sent) - MAX_HELD_BYTES < len(PING)
