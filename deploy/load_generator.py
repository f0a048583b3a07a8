"""Open-loop load: requests leave when they are due, however slowly the earlier ones are answered.

Times of departure lie on one absolute timeline that is fixed by the seed. Latency runs from the due time,
so that a stall counts for everyone who would have waited in it (no coordinated omission).
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

import aiohttp

from deploy.load_answers import Seen
from deploy.load_outcomes import Tally
from deploy.load_protocols import speaker

EARLY_S = 0.0005
"""The event loop's timers have steps of 1 ms, so a request may leave half a step early."""

Arrivals = Literal["poisson", "uniform"]


@dataclass(frozen=True)
class Plan:
    """What to send: `rate` per second for `duration_s`, models by weight, inputs of `input_size` numbers or words."""

    url: str
    rate: float
    duration_s: float
    models: Mapping[str, int]
    arrivals: Arrivals = "poisson"
    input_size: int = 5
    seed: int = 1
    max_in_flight: int = 2000
    timeout_s: float = 60.0
    protocol: str = "worklet"
    stream: bool = False


def timeline(plan: Plan) -> Iterator[tuple[float, str]]:
    """When each request is due, in seconds from the start, and for which model."""
    random = Random(plan.seed)
    models, weights = list(plan.models), list(plan.models.values())
    due_s = 0.0
    for number in itertools.count(1):
        due_s = number / plan.rate if plan.arrivals == "uniform" else due_s + random.expovariate(plan.rate)
        if due_s >= plan.duration_s:
            return
        yield due_s, random.choices(models, weights)[0]


class Generator:
    """One run of a plan. `tally` is up to date at any time; `stop` ends the sending early. `calls`: by request id, of
    protocols whose calls have one each."""

    def __init__(self, plan: Plan, session: aiohttp.ClientSession) -> None:
        self.plan = plan
        self.tally = Tally.of(plan.models)
        self.calls: dict[str, Seen] = {}
        self.sending_s = 0.0
        self.running_s = 0.0
        self._session = session
        self._speaker = speaker(plan.protocol, stream=plan.stream)
        self._urls = {model: plan.url.rstrip("/") + self._speaker.path(model) for model in plan.models}
        self._bodies = {model: self._speaker.body(model, plan.input_size) for model in plan.models}
        self._run = os.urandom(6).hex()
        self._stopping = asyncio.Event()
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def stop(self) -> None:
        """Send no more; asked a second time, give up what is in flight as well."""
        if self._stopping.is_set():
            for task in self._in_flight:
                task.cancel()
        self._stopping.set()

    async def run(self) -> None:
        """Send everything that the plan has, and wait until each request has its outcome."""
        started = time.perf_counter()
        async for due, model in self._departures(started):
            if len(self._in_flight) >= self.plan.max_in_flight:
                self.tally.not_sent += 1
                continue
            task = asyncio.create_task(self._send(model, due))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
        self.sending_s = time.perf_counter() - started
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        self.running_s = time.perf_counter() - started

    async def _departures(self, started: float) -> AsyncIterator[tuple[float, str]]:
        for due_s, model in timeline(self.plan):
            due = started + due_s
            wait_s = due - time.perf_counter()
            # Also one that is late lets the event loop run, or nothing that was begun would get on.
            await self._pause(max(wait_s - EARLY_S, 0.0))
            if self._stopping.is_set():
                return
            yield due, model
        await self._pause(started + self.plan.duration_s - time.perf_counter())

    async def _pause(self, seconds: float) -> None:
        if seconds < 0.25:  # the usual case, without a timer that must be cancelled
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _send(self, model: str, due: float) -> None:
        tally = self.tally
        sent = time.perf_counter()
        tally.models[model].sent += 1
        tally.lags_s.append(max(sent - due, 0.0))
        seen, headers = Seen(), self._tracked()
        if headers is not None:
            self.calls[headers["x-request-id"]] = seen
        try:
            async with self._session.post(self._urls[model], data=self._bodies[model], headers=headers) as answer:
                await self._speaker.read(answer, seen)
        except aiohttp.ClientError as error:
            seen.status = type(error).__name__
        except TimeoutError:
            seen.status = "timeout"
        except asyncio.CancelledError:
            seen.status = "given up"
        else:
            done = time.perf_counter()
            tally.service_s.append(done - sent)
            tally.latencies_s.append(done - min(due, sent))
            if seen.first_output_at is not None:
                tally.first_outputs_s.append(seen.first_output_at - min(due, sent))
        tally.ended(model, seen)

    def _tracked(self) -> dict[str, str] | None:
        """Headers that tell this call from all others, where its record is looked for."""
        return {"x-request-id": f"load-{self._run}-{len(self.calls) + 1}"} if self._speaker.tracked else None


def open_session(plan: Plan) -> aiohttp.ClientSession:
    """A session with as many connections as may be in flight, keep-alive, and nothing that costs more."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=plan.max_in_flight),
        timeout=aiohttp.ClientTimeout(total=plan.timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Content-Type": "application/json"},
        skip_auto_headers=["Accept-Encoding", "User-Agent"],
        auto_decompress=False,
    )
