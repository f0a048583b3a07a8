"""Callers with a good memory: an open-loop load, and for each call what its caller saw of it."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import aiohttp
import msgspec

from deploy.load_answers import Reading, Seen
from tests.chaos.models import ChaosModel

CALL_TIMEOUT_S = 20.0
MAX_OPEN = 4000
"""Calls open at one time; past it callers stay away, so that the harness itself has a bound."""

ERROR_EVENT = b"event: error"

Outcome = Literal["answered", "refused", "unknown"]
Ending = Literal["none", "whole", "failed", "unfinished"]
ENDINGS = get_args(Ending)


class Reply(msgspec.Struct):
    """The gateway's answer."""

    worklet_output: str | None
    success: bool
    latency_ms: float
    error_log: str


class Said(msgspec.Struct):
    """What an error of a dialect says."""

    message: str


class Failure(msgspec.Struct):
    """The body of an error, or the data of its event, in either dialect."""

    error: Said


@dataclass(slots=True)
class Call:
    """One call. `refused`: no connection, so nothing was sent. `unknown`: sent, and no whole answer came.
    Model and input size together are of this call alone. Of a dialect's 2xx, `ending` is how it says that it ended,
    and an error event is one, however the connection ended behind it; `output_size` is what came before that, and
    `message` an error's. `streamed`: some of a stream came."""

    model_id: str
    input_size: int
    round: int
    started_s: float
    ended_s: float = 0.0
    outcome: Outcome = "unknown"
    status: int = 0
    reply: Reply | None = None
    output_size: int = 0
    streamed: bool = False
    ending: Ending = "none"
    message: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return self.model_id, self.input_size

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.started_s


class Callers:
    """Calls at a steady rate, however long answers take. `calls` is everything ever asked."""

    def __init__(self, url: str, models: Sequence[ChaosModel], rng: random.Random) -> None:
        self.calls: list[Call] = []
        self.answered = 0
        self.round = 0
        self._url = url  # of the gateway
        self._models = models
        self._weights = [model.weight for model in models]
        self._rng = rng
        self._numbers: dict[str, int] = {}
        self._open: set[asyncio.Task[None]] = set()
        # A pool stays with the workers that it found; every fourth call comes on a connection of its own.
        pool = open_session(aiohttp.TCPConnector(limit=0, keepalive_timeout=3.0))
        self._sessions = (open_session(aiohttp.TCPConnector(limit=0, force_close=True)), pool, pool, pool)

    async def run(self, rate: float, only: ChaosModel | None = None) -> None:
        """Call until cancelled; calls under way then go on, see `finished`."""
        due_s = time.monotonic()
        while True:
            due_s += 1.0 / rate
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if len(self._open) < MAX_OPEN:
                self._start(only or self._rng.choices(self._models, self._weights)[0])

    async def finished(self) -> None:
        """Until each call has its end."""
        while self._open:
            await asyncio.wait(self._open, timeout=CALL_TIMEOUT_S + 5.0)

    async def aclose(self) -> None:
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        for session in self._sessions:
            await session.close()

    def _start(self, model: ChaosModel) -> None:
        number = self._numbers[model.name] = self._numbers.get(model.name, 0) + 1
        call = Call(model.name, model.input_size(number), self.round, time.monotonic())
        self.calls.append(call)
        task = asyncio.create_task(self._call(call, model, model.body(number)))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _call(self, call: Call, model: ChaosModel, body: bytes) -> None:
        session = self._sessions[len(self.calls) % len(self._sessions)]
        url = self._url + model.path
        try:
            async with asyncio.timeout(model.patience_s or CALL_TIMEOUT_S), session.post(url, data=body) as response:
                call.status = response.status
                if model.protocol == "worklet":
                    note_reply(call, await response.read())
                else:
                    await read_dialect(call, response)
                self.answered += 1
        except aiohttp.ClientConnectorError:
            call.outcome = "refused"
        except (aiohttp.ClientError, TimeoutError, OSError):
            call.outcome = "unknown"
        call.ended_s = time.monotonic()


def note_reply(call: Call, body: bytes) -> None:
    """A whole answer of worklet's. The output itself is let go: only its size is recorded anywhere."""
    reply = msgspec.json.decode(body, type=Reply)
    call.output_size = len(reply.worklet_output or "")
    reply.worklet_output = None
    call.reply, call.outcome = reply, "answered"


async def read_dialect(call: Call, response: aiohttp.ClientResponse) -> None:
    """An answer in a dialect, or as much of it as comes; `aiohttp.ClientError` if it breaks off without a word."""
    body = bytearray()
    call.streamed = response.content_type == "text/event-stream"
    try:
        async for piece in response.content.iter_any():
            body += piece
    except aiohttp.ClientError:
        if ERROR_EVENT not in body:
            raise
    finally:  # also of one that is waited for no longer
        call.output_size = without_error_event(body)
    note_answer(call, bytes(body))


def without_error_event(body: bytes | bytearray) -> int:
    """How much of a stream came, but for the gateway's own last event, or what has come of that."""
    begin = body.rfind(ERROR_EVENT)
    if begin >= 0:
        return begin
    return len(body) - next(n for n in range(len(ERROR_EVENT), -1, -1) if body.endswith(ERROR_EVENT[:n]))


def note_answer(call: Call, body: bytes) -> None:
    """What all of an answer says."""
    call.outcome, call.output_size = "answered", len(body)
    if not 200 <= call.status < 300:
        call.message = msgspec.json.decode(body, type=Failure).error.message
        return
    reading = Reading(seen := Seen())
    if call.streamed:
        reading.feed(body, 0.0)
    else:
        reading.whole(body)
    reading.end()
    call.ending = "unfinished" if seen.unfinished else "whole" if seen.verdict == "successful" else "failed"
    if call.ending == "failed":
        whole, _, event = body.rpartition(ERROR_EVENT)
        call.output_size = len(whole)
        call.message = msgspec.json.decode(event.partition(b"data: ")[2], type=Failure).error.message


def open_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"Content-Type": "application/json"})
