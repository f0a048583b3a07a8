"""What goes through of a head, and where a request goes on to."""

import pytest

from invoker.http.passing import answer_lines, joined_url, request_lines


def test_what_an_upstream_gets() -> None:
    """All but what is between caller and gateway, or said anew, or ours."""
    fields = {
        b"host": b"gateway",
        b"authorization": b"Bearer s",
        b"connection": b"close, X-Hop",
        b"x-hop": b"1",
        b"x-tag-team": b"search",
        b"x-metric-size": b"1",
        b"x-request-id": b"r",
        b"traceparent": b"t",
        b"cookie": b"c",
        b"content-length": b"5",
        b"content-encoding": b"gzip",
        b"accept-encoding": b"gzip",
        b"content-type": b"application/json; charset=utf-8",
        b"openai-organization": b"o",
    }
    expected = b"authorization: Bearer s\r\ncontent-type: application/json; charset=utf-8\r\nopenai-organization: o\r\n"
    assert request_lines(fields) == expected + b"accept-encoding: identity\r\n"


def test_what_a_caller_gets() -> None:
    """Likewise; Content-Type is told apart."""
    fields = {
        b"content-type": b"application/json",
        b"content-length": b"5",
        b"transfer-encoding": b"chunked",
        b"set-cookie": b"c",
        b"date": b"now",
        b"x-request-id": b"theirs",
        b"access-control-allow-origin": b"*",
        b"retry-after": b"7",
        b"x-ratelimit-remaining-requests": b"3",
        b"request-id": b"req_1",
    }
    assert answer_lines(fields) == b"retry-after: 7\r\nx-ratelimit-remaining-requests: 3\r\nrequest-id: req_1\r\n"


@pytest.mark.parametrize(
    ("base", "target", "expected"),
    [
        ("http://h/v1", "/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/", "/x", "http://h/v1/x"),
        ("http://h", "/x?a=1", "http://h/x?a=1"),
        ("http://h/v1?v=1", "/x", "http://h/v1/x?v=1"),
        ("http://h/v1?v=1&k=2", "/x?v=3", "http://h/v1/x?k=2&v=3"),
        ("http+unix://%2Fs.sock/v1", "/x", "http+unix://%2Fs.sock/v1/x"),
        ("http://h/p?q=1", "", "http://h/p?q=1"),
    ],
)
def test_where_a_request_goes(base: str, target: str, expected: str) -> None:
    """The path is joined before any query, and the caller's query wins."""
    assert joined_url(base, target) == expected
