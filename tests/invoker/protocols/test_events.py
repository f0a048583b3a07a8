"""Streams that go through: what goes on at once, what is held back, and how they ended."""

import pytest

from invoker.protocols.base import InvalidAnswerError
from invoker.protocols.events import MAX_EVENT_BYTES, EventReader
from invoker.protocols.usage import openai_usage

TEXT = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": null}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
ODD = b'data: {"choices": [], "id": ""}\n\ndata: {"choices": [{"index": 0}]}\n\n'
DONE = b"data: [DONE]\n\n"
START = b'event: message_start\ndata: {"type": "message_start"}\n\n'
DELTA = b'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}\n\n'
MESSAGE_STOP = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
ERROR = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'
COMMENT = b": waits\n\n"


def said(kind: str) -> bytes:
    return f'event: {kind}\ndata: {{"type": "{kind}", "response": {{"error": null}}}}\n\n'.encode()


STREAMS = [
    # at once, held back, complete, ended, failed
    (TEXT + STOP + USAGE, DONE, True, True, False),
    (COMMENT + TEXT + STOP + COMMENT, DONE + COMMENT, True, True, False),
    (ODD + TEXT, DONE, True, True, False),
    (TEXT + STOP, b"", True, False, False),
    (TEXT + STOP + STOP + USAGE, b"", True, False, False),
    (TEXT, b"", False, False, False),
    (TEXT, b'data: {"error": {"message": "no"}}\n\n', False, True, True),
    (TEXT, b'{"error": {"message": "no"}}\n\n', False, True, True),
    (b'data: {"error": null, "choices": []}\n\n', DONE, True, True, False),
    (TEXT, b"data: [DONE]", True, True, False),
    (START, b'data: {"type": "message_stop"}\n\n', True, True, False),
    (TEXT, b'data: {"type": null, "error": {"message": "no"}}\n\n', False, True, True),
    (b'data: {"type": []}\n\n', DONE, True, True, False),
    (START + DELTA, MESSAGE_STOP, True, True, False),
    (START + DELTA, b"", True, False, False),
    (START, ERROR, False, True, True),
    (said("response.created"), said("response.completed"), True, True, False),
    (said("response.created"), said("response.incomplete"), True, True, False),
    (said("response.created"), said("response.failed"), False, True, True),
    (b'data:{"choices":\ndata: []}\n\n', b"data:[DONE]\n\n", True, True, False),
    (b"data: no JSON\n\ndata: [1]\n\ndata: {}\n\nid: 1\n\n", b"", False, False, False),
]


@pytest.mark.parametrize("cut", [1, 2, 7, 100_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(("first", "held", "complete", "ended", "failed"), STREAMS)
def test_a_stream(
    first: bytes, held: bytes, complete: bool, ended: bool, failed: bool, line_end: bytes, cut: int
) -> None:
    """However it is cut and its lines end, all goes on as it came, and nothing of how it ended before it is read."""
    first, held = first.replace(b"\n", line_end), held.replace(b"\n", line_end)
    whole, reader, sent = first + held, EventReader(openai_usage), b""
    for place in range(0, len(whole), cut):
        sent += reader.feed(whole[place : place + cut], 1)
        if reader.ended:
            break
    else:
        reader.end(1)
    assert (reader.complete, reader.ended) == (complete, ended)
    assert (sent + reader.held)[: len(first)] == first
    assert whole.startswith(sent + reader.held)
    assert len(sent) <= len(first)
    assert bool(reader.held.strip(b"\r\n")) == bool(held)
    if failed:
        with pytest.raises(InvalidAnswerError, match="its stream says"):
            reader.check()
    else:
        reader.check()


def test_only_whole_events_go_on() -> None:
    """So that one of our own can follow whatever has been sent."""
    reader = EventReader(openai_usage)
    assert reader.feed(TEXT + STOP[:20], 1) == TEXT
    assert reader.feed(STOP[20:-1], 1) == b""
    assert reader.feed(STOP[-1:], 1) == STOP
    assert reader.size == len(TEXT + STOP)


@pytest.mark.parametrize(("name", "complete"), [(b"response.completed", True), (b"response.output_item.done", False)])
def test_an_event_beyond_the_bound(name: bytes, complete: bool) -> None:
    """It goes on in parts, and its name counts: of the last one, the end is held back."""
    reader = EventReader(openai_usage)
    begin = b"event: %b\ndata: " % name
    sent = reader.feed(begin, 1)
    for _ in range(5):
        sent += reader.feed(b"x" * (MAX_EVENT_BYTES // 4), 1)
    assert len(sent) > MAX_EVENT_BYTES
    sent += reader.feed(b"\n\n", 1)
    assert bool(reader.held) == complete
    assert sent + reader.held == begin + b"x" * (MAX_EVENT_BYTES // 4 * 5) + b"\n\n"
    assert reader.complete == complete
