"""What is wrong with the head of a request, beyond what aiohttp's parser sees: RFC 9110 and 9112."""

import re

from aiohttp import http_exceptions, web

from shared.head_rules import HOST, LINES_TOGETHER, MAX_HEADERS, MAX_REQUEST_LINE_BYTES, Refused

_TARGET = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ (/[!-~]*)")


class BrokenBodyError(web.RequestPayloadError):
    """Raised to who reads a body that can't come to its end; `refused` says why."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


def check_head(request: web.BaseRequest, max_header_bytes: int) -> Refused | None:
    """None if it is right."""
    if sum(len(name) + len(value) + 4 for name, value in request.raw_headers) > LINES_TOGETHER * max_header_bytes:
        return headers_too_large(max_header_bytes)
    version = request._version  # the public one is kept as it is first read, also for the answer
    if version not in ((1, 0), (1, 1)):
        return _invalid(f"HTTP/{version.major}.{version.minor} is not spoken here; HTTP/1.1 and HTTP/1.0 are")
    hosts = request.headers.getall("Host", ())
    if len(hosts) > 1 or (not hosts and version == (1, 1)):
        return _invalid("A request has one Host header")
    if hosts and HOST.fullmatch(hosts[0].encode("utf-8", "surrogateescape")) is None:
        return _invalid(f"Host: {hosts[0][:64]!r} is no host")
    codings = ",".join(request.headers.getall("Transfer-Encoding", ()))
    return None if not codings else _check_transfer_codings(codings, is_1_0=version == (1, 0))


def _check_transfer_codings(codings: str, *, is_1_0: bool) -> Refused | None:
    if is_1_0:
        return _invalid("HTTP/1.0 knows no Transfer-Encoding")
    names = [name.strip(" \t").lower() for name in codings.split(",")]
    if names == ["chunked"]:
        return None
    if names.count("chunked") > 1:
        return _invalid("Transfer-Encoding: chunked may be applied once")
    message = f"Transfer-Encoding: {codings[:64]!r} is not known here; only chunked is"
    return Refused(501, "unsupported_transfer_coding", message)


def unreadable(error: BaseException | None, max_header_bytes: int) -> Refused:
    """What aiohttp's parser raised, in a sentence of ours: its own echo what was sent, over several lines."""
    message = str(getattr(error, "message", "")).removeprefix("Bad status line:\n  ").partition("\n")[0].rstrip(": ")
    if isinstance(error, http_exceptions.LineTooLong):
        if message.startswith(f"Got more than {MAX_REQUEST_LINE_BYTES} "):
            return Refused(414, "header_too_large", f"The request line is larger than {MAX_REQUEST_LINE_BYTES} bytes")
        return headers_too_large(max_header_bytes)
    if message == "Too many headers received":
        return Refused(431, "header_too_large", f"There are more than {MAX_HEADERS} headers")
    if isinstance(error, http_exceptions.InvalidURLError):
        message = "its target is no valid path or URL"
    return _invalid(f"The request can't be read: {message or 'it is no HTTP/1.1'}")


def headers_too_large(max_header_bytes: int) -> Refused:
    together = LINES_TOGETHER * max_header_bytes
    message = f"A header is larger than {max_header_bytes} bytes, or all of them than {together}"
    return Refused(431, "header_too_large", message)


def target_of(head: bytes) -> str:
    """The path that a request line asks for, as far as it can be told, otherwise nothing."""
    match = _TARGET.match(head)
    return match[1].decode().partition("?")[0] if match else ""


def _invalid(message: str) -> Refused:
    return Refused(400, "invalid_request", message)
