"""What the gateway says of its endpoints, from moment to moment."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

Place = tuple[str, str]
"""Model and endpoint."""
SAME_S = 0.1


@dataclass(frozen=True)
class Sample:
    """`out`: those that all workers leave out, until when; `free`: those that all have in, with room. Asked for at
    `since_s`, answered at `until_s`: it was so at some time between."""

    since_s: float
    until_s: float
    workers: int
    out: dict[Place, float]
    free: frozenset[Place]

    def still_out(self, place: Place, until_s: float) -> bool:
        """Whether it is the same time out: workers tell it by two clocks, and so not always to the microsecond."""
        return abs(self.out.get(place, 0.0) - until_s) < SAME_S

    def others_in(self, place: Place) -> bool:
        return any(model == place[0] and name != place[1] for model, name in self.free)


def sample_of(answer: Any, since_s: float, until_s: float) -> Sample:
    """Of an answer of `/upstreams`."""
    known = [each for each in answer["upstreams"] if each["model"] is not None]
    return Sample(
        since_s,
        until_s,
        answer["workers"],
        {
            (each["model"], each["name"]): datetime.fromisoformat(each["until"]).timestamp()
            for each in known
            if each["state"] == "out"
        },
        frozenset(
            (each["model"], each["name"]) for each in known if each["state"] == "in" and not each["cooling_models"]
        ),
    )


@contextlib.asynccontextmanager
async def watching(gateway_url: str) -> AsyncIterator[list[Sample]]:
    """The samples, to which some are added as long as it lasts."""
    samples: list[Sample] = []

    async def watch() -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    since_s = time.monotonic()
                    async with session.get(f"{gateway_url}/upstreams", raise_for_status=True) as response:
                        answer = msgspec.json.decode(await response.read())
                    samples.append(sample_of(answer, since_s, time.monotonic()))
                await asyncio.sleep(0.3)

    task = asyncio.create_task(watch())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
