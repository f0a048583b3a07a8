"""Whatever an upstream answers: the right output, or a sentence that is true, to the caller and in the history."""

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

import brotli
import pytest

from tests.invoker.front.hostile import http
from tests.processes import System, eventually, system

OUTPUT = ["é", 6]
GOOD = json.dumps({"worklet_output": OUTPUT}, ensure_ascii=False).encode()
LIMIT = 100_000
RAW_DEFLATE = zlib.compressobj(wbits=-15)
DEFLATED = RAW_DEFLATE.compress(GOOD) + RAW_DEFLATE.flush()
NOT_USABLE = "upstream's answer is not usable: "
KNOWN = "gzip, deflate, zstd, br are"


class Case(NamedTuple):
    """What the upstream sends before it closes, and what becomes of it: the output, or the start of `error_log`."""

    sent: bytes
    said: str = ""
    status: int = 200
    error_type: str | None = None


def failing(sent: bytes, said: str, status: int = 502, error_type: str = "invalid_response") -> Case:
    return Case(sent, said, status, error_type)


def unusable(sent: bytes, said: str) -> Case:
    return failing(sent, NOT_USABLE + said)


def broken_off(sent: bytes, said: str) -> Case:
    return failing(sent, said, error_type="connect")


def refused(sent: bytes, said: str, status: int = 502) -> Case:
    return failing(sent, said, status, "upstream_status")


def coded(coding: str, body: bytes, status: str = "200 OK") -> bytes:
    return http(body, f"Content-Encoding: {coding}", status=status)


def headed(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join((*lines, "", "")).encode() + body


OK = "HTTP/1.1 200 OK"
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
LENGTH = f"Content-Length: {len(GOOD)}"

CASES = {
    # Codings.
    "identity": Case(coded("identity", GOOD)),
    "gzip": Case(coded("gzip", gzip.compress(GOOD))),
    "x-gzip": Case(coded("X-GZip", gzip.compress(GOOD))),
    "gzip in two members": Case(coded("gzip", gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:]))),
    "deflate": Case(coded("deflate", zlib.compress(GOOD))),
    "raw deflate": Case(coded("deflate", DEFLATED)),
    "br": Case(coded("br", brotli.compress(GOOD))),
    "several": Case(coded("deflate, gzip", gzip.compress(zlib.compress(GOOD)))),
    "gzip in chunks": Case(
        headed(
            OK, CHUNKED, "Content-Encoding: gzip", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(z := gzip.compress(GOOD)), z)
        )
    ),
    "unknown coding": unusable(coded("snappy", GOOD), f"Content-Encoding 'snappy' is not known here; {KNOWN}"),
    "one unknown of several": unusable(coded("gzip, x", GOOD), f"Content-Encoding 'x' is not known here; {KNOWN}"),
    "not gzip": unusable(coded("gzip", GOOD), "it is not gzip to its end"),
    "gzip broken off": unusable(coded("gzip", gzip.compress(GOOD)[:-1]), "its gzip breaks off"),
    "gzip and more": unusable(coded("gzip", gzip.compress(GOOD) + b"more"), "it is not gzip to its end"),
    "bomb": unusable(coded("gzip", gzip.compress(b" " * 50_000_000)), f"it is larger than {LIMIT} bytes"),
    "coded and empty": unusable(coded("gzip", b""), "it is empty"),
    "gzip unsaid": unusable(http(gzip.compress(GOOD)), "JSON is malformed: invalid character (byte 0)"),
    "500 in a coding": refused(coded("gzip", gzip.compress(b"oh"), "500 x"), "upstream answered 500: oh"),
    "500 in an unknown coding": refused(
        coded("x", b"oh", "500 x"), "upstream answered 500; its body is not usable: Content-Encoding 'x' is not known"
    ),
    "transfer coding": unusable(
        headed(OK, "Transfer-Encoding: gzip, chunked", body=CHUNKS),
        "its Transfer-Encoding 'gzip, chunked' is not known",
    ),
    # Lengths.
    "no length": Case(headed(OK, body=GOOD)),
    "HTTP/1.0": Case(headed("HTTP/1.0 200 OK", body=GOOD)),
    "HTTP/1.0 with a length": Case(headed("HTTP/1.0 200 OK", LENGTH, body=GOOD)),
    "more than its length": Case(headed(OK, LENGTH, body=GOOD + b"more")),
    "length too small": unusable(headed(OK, "Content-Length: 20", body=GOOD), "it ends too early, after 20 bytes"),
    "length too large": unusable(
        headed(OK, "Content-Length: 999", body=GOOD), f"it broke off after {len(GOOD)} of 999 bytes"
    ),
    "length 0": unusable(headed(OK, "Content-Length: 0", body=GOOD), "it is empty"),
    "length twice, equal": unusable(headed(OK, LENGTH, LENGTH, body=GOOD), "Duplicate Content-Length"),
    "length twice, different": unusable(headed(OK, LENGTH, "Content-Length: 1", body=GOOD), "Duplicate Content-Length"),
    "length negative": unusable(headed(OK, "Content-Length: -1", body=GOOD), "Invalid character in Content-Length"),
    "length beyond the limit": unusable(
        headed(OK, "Content-Length: 999999", body=b" " * (LIMIT + 1)), f"it is larger than {LIMIT} bytes"
    ),
    "length and chunks": unusable(headed(OK, LENGTH, CHUNKED, body=CHUNKS), "Transfer-Encoding can't be present "),
    "chunks": Case(headed(OK, CHUNKED, body=CHUNKS)),
    "chunks, extended": Case(headed(OK, CHUNKED, body=CHUNKS.replace(b"\r\n", b";a=b\r\n", 1))),
    "chunks and a trailer": Case(headed(OK, CHUNKED, body=CHUNKS[:-2] + b"X: y\r\n\r\n")),
    "chunks without end": unusable(
        headed(OK, CHUNKED, body=CHUNKS[:-5]), f"it broke off after {len(GOOD)} bytes, before its last chunk"
    ),
    "chunk of no size": unusable(headed(OK, CHUNKED, body=b"x\r\n"), "Invalid character in chunk size"),
    "chunk too large": unusable(headed(OK, CHUNKED, body=b"f" * 17 + b"\r\n"), "Chunk size overflow"),
    # No answer.
    "nothing": broken_off(b"", "upstream closed the connection without an answer"),
    "half a header": broken_off(b"HTTP/1.1 200 OK\r\nX", NOT_USABLE + "it broke off in its header"),
    "100 and no more": broken_off(headed("HTTP/1.1 100 Continue"), NOT_USABLE + "it broke off in its header"),
    "100 first": Case(headed("HTTP/1.1 100 Continue") + http(GOOD)),
    "103 first": Case(headed("HTTP/1.1 103 Early Hints", "Content-Encoding: x") + http(GOOD)),
    "101": unusable(headed("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "Connection: upgrade"), "it switches "),
    "no HTTP": unusable(b"220 smtp.example.com ESMTP\r\n\r\n", "Expected HTTP/"),
    "header too large": unusable(headed(OK, "X: " + "x" * 70_000), "its header is larger than 65536 bytes"),
    # Statuses.
    "204": unusable(headed("HTTP/1.1 204 No Content"), "it is empty"),
    "205": unusable(headed("HTTP/1.1 205 Reset Content", "Content-Length: 0"), "it is empty"),
    "201": Case(http(GOOD, status="201 Created")),
    "302": refused(
        http(b"", "Location: http://me:secret@there/a?key=1", status="302 Found"),
        "upstream answered 302 with Location 'http://***@there/a?***'",
    ),
    "304": refused(headed("HTTP/1.1 304 Not Modified"), "upstream answered 304"),
    "429": refused(http(b"slow", status="429 x"), "upstream answered 429: slow", 429),
    "503 broken off": refused(
        headed("HTTP/1.1 503 x", "Content-Length: 9"),
        "upstream answered 503; its body is not usable: it broke off after 0 of 9 bytes",
        503,
    ),
    # Text and JSON.
    "any type": Case(headed(OK, "Content-Type: image/png; charset=utf-16", LENGTH, body=GOOD)),
    "byte order mark": Case(http(b"\xef\xbb\xbf" + GOOD)),
    "blank": unusable(http(b" \r\n"), "it is blank"),
    "UTF-16": unusable(http(GOOD.decode().encode("utf-16")), "it is UTF-16 or UTF-32, and JSON is UTF-8"),
    "Latin-1": unusable(http(GOOD.decode().encode("latin-1")), "it is no UTF-8: invalid continuation byte (byte 21)"),
    "NaN": unusable(http(b'{"worklet_output": [1, NaN]}'), "NaN is no JSON (byte 23)"),
    "-Infinity": unusable(http(b'{"worklet_output": -Infinity}'), "-Infinity is no JSON (byte 19)"),
    "nan elsewhere": unusable(http(b'{"x": nan, "worklet_output": 1}'), "nan is no JSON (byte 6)"),
    "half JSON": unusable(http(GOOD[:-3]), f"it ends too early, after {len(GOOD) - 3} bytes"),
    "half a pair": unusable(http(b'{"worklet_output": "\\ud800"}'), "a string in it has half of a surrogate pair"),
    "HTML": unusable(http(b"<html>"), "JSON is malformed: invalid character (byte 0)"),
    "array": unusable(http(b"[]"), "Expected `object`, got `array`"),
    "no output": unusable(http(b"{}"), "Object missing required field `worklet_output`"),
    "too deep": unusable(http(b'{"worklet_output":' + b"[" * 40_000 + b"]" * 40_000 + b"}"), "it is nested too deeply"),
}


class RawUpstream:
    """Answers each request with the bytes of the case that its model is named after, and closes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as reader:
                length = 0
                while (line := reader.readline().lower().strip()) != b"":
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                if not length:
                    return
                model_id = json.loads(reader.read(length))["worklet_input"]["model_id"]
                connection.sendall(CASES[model_id].sent)
                connection.shutdown(socket.SHUT_WR)
                reader.read()  # until the gateway has closed, so that nothing is lost by a reset

    def close(self) -> None:
        with socket.create_connection(self._listener.getsockname()) as last:
            last.sendall(b"\r\n")
        self._thread.join()
        self._listener.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("answers")) as started:
        upstream = RawUpstream()
        try:
            started.start_sidecar()
            started.start_gateway(INVOKER_UPSTREAM_URL=upstream.url, INVOKER_MAX_ANSWER_BYTES=str(LIMIT))
            yield started
        finally:
            upstream.close()


@pytest.mark.parametrize("name", CASES)
def test_an_answer(running: System, name: str) -> None:
    """Its caller and the history are told the same, in a sentence that says each thing once."""
    _, said, status, error_type = CASES[name]
    told = running.invoke(name)
    assert (told[0], told[1]["worklet_output"], told[1]["success"]) == (
        status,
        OUTPUT if error_type is None else None,
        error_type is None,
    )
    error_log = told[1]["error_log"]
    assert error_log.startswith(said) if said else error_log == ""
    assert error_log.count("upstream answered") + error_log.count("upstream's answer") <= 1
    (row,) = eventually(lambda: running.history(f"model_id={quote(name)}")["history"], bool, 20)
    assert (row["error_type"], row["error_log"], row["output_size"]) == (
        error_type,
        error_log,
        2 * (error_type is None),
    )
