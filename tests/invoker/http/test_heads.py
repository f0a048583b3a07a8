"""What is plain: heads that leave no doubt, read as the real parser reads them."""

import contextlib
from types import MappingProxyType

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.http.answer_parser import AnswerHead, parse_answer_head
from invoker.http.heads import END, KNOWN_HEADS, RequestHead, parse_request_head
from invoker.http.trace import Trace

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
REQUEST_LINE = b"POST /invoke HTTP/1.1"
ANSWER_LINE = b"HTTP/1.1 200 OK"
LINES = [
    *(
        b"Host: a",
        b"host:a",
        b"Content-Length: 5",
        b"content-length:\t05 ",
        b"Content-Length: 12",
        b"Content-Type: a/b",
    ),
    *(
        b"Connection: close",
        b"Connection: Keep-Alive",
        b"Connection: close, x",
        b"Connection: upgrade",
        b"Upgrade: h2c",
    ),
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Content-Encoding: gzip",
        b"Expect: 100-continue",
    ),
    *(b"X: \xff", b"X:", b": x", b"X : x", b" x", b"x", b"", b"X: \0", b"X: \n", b"X: \r", b"X: \x7f", b"X: \x0b"),
    *(
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Content-Length: 0x5",
        b"Content-Length:",
        b"Content-Length: 5_0",
    ),
    *(
        b"Content-Length: -0",
        b"Content-Length: 99999999999999999999",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: close",
    ),
    *(b"Trailer: x", b"TE: trailers", b"\xe9: x", b"X\tY: x", b"Content_Length: 7", b"Content-Length : 7"),
]
first_lines = st.sampled_from(
    [
        *(
            REQUEST_LINE,
            REQUEST_LINE,
            ANSWER_LINE,
            ANSWER_LINE,
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 ",
            b"HTTP/1.1 503 \xff\t!",
        ),
        *(b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"),
        *(b"HTTP/1.1 2000 OK", b"HTTP/1.1 200OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 205 Reset", b"HTTP/1.1 199 x"),
        *(
            b"HTTP/1.1 600 x",
            b"POST /invoke HTTP/1.0",
            b"POST /invoke  HTTP/1.1",
            b"POST /invoke? HTTP/1.1",
            b"GET / HTTP/1.1",
        ),
    ]
)


def head(first: bytes, *lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (first, *lines, b""))


def plain(length: int, content_type: str | None, close: bool, trace: Trace | None) -> RequestHead:
    return RequestHead("/invoke", length, content_type, close, trace)


def without_fields(found: RequestHead | None) -> RequestHead | None:
    """What is read of it, beside all that it says."""
    return None if found is None else found._replace(target="", fields=MappingProxyType({}))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"Host: a", b"Content-Length: 5"], plain(5, None, False, None)),
        ([b"host:", b"CONTENT-LENGTH:\t 007 \t"], plain(7, None, False, None)),
        (
            [b"Host: a", b"Content-Length: 0", b"Content-Type:  a/b; c=d "],
            plain(0, "a/b; c=d", False, None),
        ),
        (
            [b"Host: a", b"Content-Length: 0", b"Content-Type: \xc3\xa9\xff"],
            plain(0, "é\udcff", False, None),
        ),
        ([b"Host: a", b"Content-Length: 0", b"Connection: Close"], plain(0, None, True, None)),
        ([b"Host: a", b"Content-Length: 0", b"Connection: Keep-Alive"], plain(0, None, False, None)),
        (
            [b"Host: a", b"Content-Length: 0", b"Traceparent: " + TRACEPARENT.encode(), b"Tracestate: a=b"],
            RequestHead(
                "/invoke",
                0,
                None,
                False,
                Trace(TRACE_ID, f"traceparent: {TRACEPARENT}\r\ntracestate: a=b\r\n".encode()),
            ),
        ),
        ([b"Host: a"], None),
        ([b"Content-Length: 5"], None),
        ([b"Host: a", b"Content-Length: 5", b"Host: a"], None),
        ([b"Host: a", b"Content-Length: 5", b"content-length: 5"], None),
        ([b"Host: a", b"Content-Length: 5", b"X: a", b"x: b"], None),
        ([b"Host: a", b"Content-Length: 5", b"Transfer-encoding: chunked"], None),
        ([b"Host: a", b"Content-Length: 5", b"Content-Encoding: identity"], None),
        ([b"Host: a", b"Content-Length: 5", b"Expect: 100-continue"], None),
        ([b"Host: a", b"Content-Length: 5", b"Upgrade: h2c"], None),
        ([b"Host: a", b"Content-Length: 5", b"Connection: keep-alive, close"], None),
        ([b"Host: a", b"Content-Length: 5", b"Connection:"], None),
        ([b"Host: a", b"Content-Length : 5"], None),
        ([b"Host: a", b"Content-Length: 5", b" folded: x"], None),
        ([b"Host: a", b"Content-Length: 5", b"X: a\0"], None),
        ([b"Host: a", b"Content-Length: 5", b"X: a\nTransfer-Encoding: chunked"], None),
        ([b"Host: a", b"Content-Length: 5", b"X: a\rTransfer-Encoding: chunked"], None),
        ([b"Host: a", b"Content-Length: \xb2"], None),
        ([b"Host: a", b"Content-Length: 5 5"], None),
        ([b"Host: a", b"Content-Length: 1234567890123456"], None),
    ],
)
def test_the_head_of_a_request(lines: list[bytes], expected: RequestHead | None) -> None:
    """What matters of one that is plain; None for one that leaves a doubt."""
    assert without_fields(parse_request_head(head(REQUEST_LINE, *lines))) == expected


@pytest.mark.parametrize(
    "first",
    [
        b"POST /invoke HTTP/1.0",
        b"POST invoke HTTP/1.1",
        b"POST http://a/invoke HTTP/1.1",
        b"POST /in voke HTTP/1.1",
        b"POST /inv\xc3\xb6ke HTTP/1.1",
        b"PUT /invoke HTTP/1.1",
        b"POST  /invoke HTTP/1.1",
        b"",
        b"x",
    ],
)
def test_only_one_kind_of_request_is_plain(first: bytes) -> None:
    """Every other method, form of target and version is for aiohttp."""
    assert parse_request_head(head(first, b"Host: a", b"Content-Length: 5")) is None


@pytest.mark.parametrize("path", ["/", "/invoke/", "/invoke?a=b", "/inv%6Fke", "//a/../b#c"])
def test_the_path_of_a_request(path: str) -> None:
    """It is as it was sent."""
    taken = parse_request_head(head(b"POST %b HTTP/1.1" % path.encode(), b"Host: a", b"Content-Length: 5"))
    assert without_fields(taken) == RequestHead(path, 5, None, False, None)
    assert taken is not None
    assert (taken.target, taken.fields) == (path, {b"host": b"a", b"content-length": b"5"})


@pytest.mark.parametrize(
    ("first", "lines", "expected"),
    [
        (ANSWER_LINE, [b"Content-Length: 5"], AnswerHead(5, 200, False, {b"content-length": b"5"})),
        (
            b"HTTP/1.1 503",
            [b"content-length:5", b"connection: close"],
            AnswerHead(5, 503, True, {b"content-length": b"5", b"connection": b"close"}),
        ),
        (
            b"HTTP/1.1 404 \xff",
            [b"Content-Length: 0", b"Connection: keep-alive"],
            AnswerHead(0, 404, False, {b"content-length": b"0", b"connection": b"keep-alive"}),
        ),
        (ANSWER_LINE, [], None),
        (ANSWER_LINE, [b"Content-Length: 5", b"Content-Length: 5"], None),
        (ANSWER_LINE, [b"Content-Length: 5", b"Transfer-Encoding: chunked"], None),
        (
            b"HTTP/1.0 200 OK",
            [b"Content-Length: 5", b"X: a", b"x: b"],
            AnswerHead(5, 200, True, {b"content-length": b"5", b"x": b"a, b"}),
        ),
        (ANSWER_LINE, [b"Content-Length: 5", b"X : a"], None),
        (b"HTTP/1.1 100 Continue", [b"Content-Length: 5"], None),
        (b"HTTP/1.1 204 No Content", [b"Content-Length: 5"], None),
        (b"HTTP/1.1 304 Not Modified", [b"Content-Length: 5"], None),
        (b"HTTP/1.1 200OK", [b"Content-Length: 5"], None),
    ],
)
def test_the_head_of_an_answer(first: bytes, lines: list[bytes], expected: AnswerHead | None) -> None:
    """What matters of one that says how long its body is; of some no body follows whatever they say."""
    assert parse_answer_head(head(first, *lines)) == expected


class Reading:
    """How llhttp reads a message with so many body bytes behind its head."""

    def __init__(self, kind: type[httptools.HttpRequestParser | httptools.HttpResponseParser], data: bytes) -> None:
        self.body = b""
        self.complete = 0
        self.headers: dict[bytes, bytes] = {}
        self.keep_alive = False
        self.parser = kind(self)
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.complete += 1


@given(
    first_lines, st.lists(st.sampled_from(LINES), max_size=4), st.lists(st.binary(max_size=3), max_size=2), st.data()
)
def test_what_is_plain_has_one_reading(
    first: bytes, some: list[bytes], noise: list[bytes], data: st.DataObject
) -> None:
    """Whatever is taken as plain, llhttp takes for the same message of the same length."""
    lines = data.draw(st.permutations([b"Host: a", b"Content-Length: 5", *some]))
    whole = head(first, *lines)
    for word in noise:
        place = data.draw(st.integers(0, len(whole) - len(END)))
        whole = whole[:place] + word + whole[place:]
    whole = whole[: whole.find(END) + len(END)]  # as it is cut by whoever reads it
    request, answer = parse_request_head(whole), parse_answer_head(whole)
    assert request is None or answer is None
    if request is not None:
        reading = Reading(httptools.HttpRequestParser, whole + b"x" * request.content_length)
        assert isinstance(reading.parser, httptools.HttpRequestParser)
        assert reading.parser.get_method() == b"POST"
        assert reading.keep_alive != request.close
        content_type = reading.headers.get(b"content-type")
        assert request.content_type == (content_type and content_type.strip().decode("utf-8", "surrogateescape"))
    elif answer is not None:
        reading = Reading(httptools.HttpResponseParser, whole + b"x" * answer.content_length)
        assert isinstance(reading.parser, httptools.HttpResponseParser)
        assert (reading.parser.get_status_code(), reading.keep_alive) == (answer.status, not answer.close)
    else:
        return
    taken = request or answer
    assert taken is not None
    assert (reading.complete, reading.body) == (1, b"x" * taken.content_length)


def test_a_head_that_came_before_is_not_parsed_again() -> None:
    """It is told apart from any other by each of its bytes, and only so many are known."""
    for parse, first in ((parse_request_head, REQUEST_LINE), (parse_answer_head, ANSWER_LINE)):
        heads = [head(first, b"Host: a", b"Content-Length: %d" % number) for number in (5, 6)]
        before = parse.cache_info()
        assert [each and each.content_length for each in map(parse, heads + heads)] == [5, 6, 5, 6]
        after = parse.cache_info()
        assert after.hits - before.hits >= 2
        assert after.maxsize == KNOWN_HEADS


@given(st.binary(max_size=60))
def test_nothing_breaks_it(noise: bytes) -> None:
    """Any bytes at all have an answer, which for those that llhttp refuses is no."""
    for first, parse, kind in (
        (REQUEST_LINE, parse_request_head, httptools.HttpRequestParser),
        (ANSWER_LINE, parse_answer_head, httptools.HttpResponseParser),
    ):
        whole = head(first, b"Host: a", b"Content-Length: 0", noise)
        whole = whole[: whole.find(END) + len(END)]  # as it is cut by whoever reads it
        with contextlib.suppress(httptools.HttpParserError):
            Reading(kind, whole)
            continue
        assert parse(whole) is None
