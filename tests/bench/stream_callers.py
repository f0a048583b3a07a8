"""Many streams at once, and how old each token is when its caller has it.

`python -m tests.bench.stream_callers URL STREAMS RATE SECONDS`: begins them one after the other, says so when all are
there, measures for so long, says so again, waits until each is at its end, and prints what it found. Each line is JSON.
"""

import asyncio
import re
import resource
import sys
import time
from array import array
from urllib.parse import urlsplit

import msgspec
import uvloop

from tests.bench.yardsticks.ticking import MARK, MARK_DIGITS

BEGIN_INTERVAL_S = 0.00237
"""Between two streams: in no simple proportion to the time between two tokens, so that these are spread."""
MARGIN_S = 0.5
TIMEOUT_S = 60.0
PATH = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"

_MARKED = re.compile(MARK + rb"(\d{%d})" % MARK_DIGITS)


class Found(msgspec.Struct, frozen=True):
    """Of all streams: tokens that came while it was measured, and their ages; streams that came whole."""

    chunks: int
    p50_ms: float
    p99_ms: float
    whole: int


class Caller(asyncio.Protocol):
    """One stream. `ages_ns`: of the tokens that came while `measuring`, which all callers share."""

    measuring = False
    ages_ns = array("q")

    def __init__(self, request: bytes) -> None:
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._request = request
        self._rest = b""
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(self._request)  # type: ignore[attr-defined]  # uvloop's is no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        data = self._rest + data
        whole = data.rfind(b"\n\n") + 1
        self._rest = data[whole:]
        if Caller.measuring:
            Caller.ages_ns.extend(now_ns - int(moment) for moment in _MARKED.findall(data, 0, whole))
        self._done = self._done or DONE in data
        if data.endswith(END):
            self._finish(whole=self._done)

    def connection_lost(self, _error: Exception | None) -> None:
        self._finish(whole=False)

    def _finish(self, *, whole: bool) -> None:
        if not self.over.done():
            self.over.set_result(whole)
            self._transport.close()


def request_of(url: str, tokens: int) -> bytes:
    body = (
        b'{"model":"bench","stream":true,"max_tokens":%d,"messages":[{"role":"user","content":"Say what time it is."}]}'
    ) % tokens
    head = f"POST {PATH} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def call(url: str, streams: int, rate: float, seconds: float) -> Found:
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    lasting_s = streams * BEGIN_INTERVAL_S + seconds + 2 * MARGIN_S
    request = request_of(url, round(lasting_s * rate))
    callers: list[Caller] = []
    due_s = loop.time()
    for _ in range(streams):
        _, caller = await loop.create_connection(lambda: Caller(request), parts.hostname or "", parts.port or 80)
        callers.append(caller)
        due_s += BEGIN_INTERVAL_S
        await asyncio.sleep(max(due_s - loop.time(), 0.0))
    await asyncio.sleep(MARGIN_S)
    _say("all are there")
    Caller.measuring = True
    await asyncio.sleep(seconds)
    Caller.measuring = False
    _say("measured")
    async with asyncio.timeout(TIMEOUT_S):
        whole = sum(await asyncio.gather(*(caller.over for caller in callers)))
    ages_ms = sorted(age / 1e6 for age in Caller.ages_ns)
    return Found(len(ages_ms), ages_ms[len(ages_ms) // 2], ages_ms[len(ages_ms) * 99 // 100], whole)


def _say(what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.flush()


def main(url: str, streams: int, rate: float, seconds: float) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _say(uvloop.run(call(url, streams, rate, seconds)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
