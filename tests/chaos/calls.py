"""Callers with a good memory: an open-loop load, and for each call what its caller saw of it."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import aiohttp
import msgspec

from tests.chaos.models import ChaosModel

CALL_TIMEOUT_S = 20.0
MAX_OPEN = 4000
"""Calls open at one time; past it callers stay away, so that the harness itself has a bound."""

Outcome = Literal["answered", "refused", "unknown"]


class Reply(msgspec.Struct):
    """The gateway's answer."""

    worklet_output: str | None
    success: bool
    latency_ms: float
    error_log: str


@dataclass(slots=True)
class Call:
    """One call. `refused`: no connection, so nothing was sent. `unknown`: sent, and no whole answer came.
    Model and input size together are of this call alone."""

    model_id: str
    input_size: int
    round: int
    started_s: float
    ended_s: float = 0.0
    outcome: Outcome = "unknown"
    status: int = 0
    reply: Reply | None = None
    output_size: int = 0

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
        self._url = url
        self._models = models
        self._weights = [model.weight for model in models]
        self._rng = rng
        self._sizes: dict[str, int] = {}
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
        size = self._sizes[model.name] = self._sizes.get(model.name, 0) + 1
        call = Call(model.name, size, self.round, time.monotonic())
        self.calls.append(call)
        task = asyncio.create_task(self._call(call, model.patience_s or CALL_TIMEOUT_S))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _call(self, call: Call, patience_s: float) -> None:
        body = b'{"worklet_input":{"model_id":"%b","input":"%b"}}' % (call.model_id.encode(), b"x" * call.input_size)
        session = self._sessions[len(self.calls) % len(self._sessions)]
        try:
            async with asyncio.timeout(patience_s), session.post(self._url, data=body) as response:
                reply = msgspec.json.decode(await response.read(), type=Reply)
                call.status, call.outcome = response.status, "answered"
                # The output itself is let go: only its size is recorded anywhere.
                call.output_size = len(reply.worklet_output or "")
                reply.worklet_output = None
                call.reply = reply
                self.answered += 1
        except aiohttp.ClientConnectorError:
            call.outcome = "refused"
        except (aiohttp.ClientError, TimeoutError, OSError):
            call.outcome = "unknown"
        call.ended_s = time.monotonic()


def open_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"Content-Type": "application/json"})
