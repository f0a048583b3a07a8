"""What a caller sees of an answer in a dialect, whole or as a stream, however it is cut into pieces."""

import pytest

from deploy.load_answers import Reading, Seen

CHUNK = b'{"id":"1","choices":[{"index":0,"delta":%b,"finish_reason":%b}]}'
ROLE = b"data: " + CHUNK % (b'{"role":"assistant","content":""}', b"null") + b"\n\n"
WORD = b"data: " + CHUNK % (b'{"content":"a"}', b"null") + b"\n\n"
STOP = b"data: " + CHUNK % (b"{}", b'"stop"') + b"\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'event: error\ndata: {"error":{"message":"no","type":"server_error"}}\n\n'

START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3,'
    b'"cache_read_input_tokens":4,"output_tokens":1}}}\n\n'
)
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta"}}\n\n'
DELTA = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":2}}\n\n'
)
END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def read(stream: bytes, size: int = 1 << 20) -> Seen:
    """In pieces of that size, at the moments 1, 2, …"""
    seen = Seen()
    reading = Reading(seen)
    for number, at in enumerate(range(0, len(stream), size), start=1):
        reading.feed(stream[at : at + size], float(number))
    reading.end()
    return seen


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_streams_are_read_in_any_pieces(size: int, end: bytes) -> None:
    """Events, usage and end are the same; of Anthropic's input, what a cache had is part."""
    openai = read((ROLE + WORD + WORD + STOP + USAGE + DONE).replace(b"\n", end), size)
    assert (openai.verdict, openai.events, openai.input_tokens, openai.output_tokens) == ("successful", 6, 3, 2)
    anthropic = read((START + PING + TEXT + DELTA + END).replace(b"\n", end), size)
    assert (anthropic.verdict, anthropic.events) == ("successful", 5)
    assert (anthropic.input_tokens, anthropic.output_tokens) == (7, 2)


@pytest.mark.parametrize("events", [[ROLE, WORD, WORD, DONE], [START, TEXT, TEXT, END]])
def test_output_begins_with_text(events: list[bytes]) -> None:
    """Neither a role nor a message's start is any."""
    seen = Seen()
    reading = Reading(seen)
    for number, event in enumerate(events):
        reading.feed(event, float(number))
    assert seen.first_output_at == 1.0


@pytest.mark.parametrize(
    ("stream", "verdict", "unfinished"),
    [
        (WORD + DONE, "successful", False),
        (WORD + STOP, "successful", False),
        (START + TEXT + END, "successful", False),
        (WORD, "failed", True),
        (START + TEXT + DELTA, "failed", True),
        (b"", "failed", True),
        (WORD + ERROR, "failed", False),
        (START + b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', "failed", False),
    ],
)
def test_how_a_stream_ended(stream: bytes, verdict: str, unfinished: bool) -> None:
    """As the dialect says it ends, with an error, or in the middle."""
    seen = read(stream)
    assert (seen.verdict, seen.unfinished) == (verdict, unfinished)


@pytest.mark.parametrize(
    ("body", "verdict", "tokens"),
    [
        (
            b'{"choices":[{"message":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}',
            "successful",
            (3, 2),
        ),
        (b'{"type":"message","stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}',
         "successful", (3, 2)),
        (b'{"choices":[{"message":{},"finish_reason":"stop"}]}', "successful", (None, None)),
        (b'{"choices":[]}', "failed", (None, None)),
        (b'{"choices":', "failed", (None, None)),
    ],
)  # fmt: skip
def test_whole_answers(body: bytes, verdict: str, tokens: tuple[int | None, int | None]) -> None:
    """They say why they end, too."""
    seen = Seen()
    reading = Reading(seen)
    reading.whole(body)
    reading.end()
    assert (seen.verdict, (seen.input_tokens, seen.output_tokens)) == (verdict, tokens)
