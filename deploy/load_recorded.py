"""What the sidecar has of a run, asked through the gateway: its statistics, and the rows of calls that can be told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec

from deploy.load_generator import Generator, Plan
from deploy.load_outcomes import Totals, decode_stats, differences
from deploy.load_rows import Page, Row, decode_page, row_differences
from shared.settings import StartupError

SETTLE_S = 10.0
SETTLE_INTERVAL_S = 0.25
ANSWER_TIMEOUT_S = 5.0
PAGE_ROWS = 1000
MAX_MODELS_ASKED = 100

Decoded = TypeVar("Decoded")


class StatsError(Exception):
    """The sidecar could not be asked through the gateway."""


@dataclass(frozen=True)
class Recorded:
    """What was there before a run; its own rows have higher ids."""

    stats: dict[str, Totals]
    last_id: int


async def settled(session: aiohttp.ClientSession, plan: Plan) -> Recorded:
    """What is there before the run, once it has stopped to change."""
    try:
        stats = await _stats(session, plan.url)
        async for _ in _polls():
            previous, stats = stats, await _stats(session, plan.url)
            if stats == previous:
                break
        rows = [] if plan.protocol == "worklet" else (await _page(session, plan, 1)).history
    except StatsError as error:
        raise StartupError(f"{error} (--no-check does without)") from None
    return Recorded(stats, max((row.id for row in rows), default=0))


async def settled_differences(generator: Generator, session: aiohttp.ClientSession, before: Recorded) -> list[str]:
    """What differs at the end of `SETTLE_S`, or nothing as soon as two readings in a row agree."""
    found: list[str] = ["the sidecar's statistics have not been read"]
    agreed = 0
    async for _ in _polls():
        try:
            stats = await _stats(session, generator.plan.url)
            found = differences(generator.tally, before.stats, stats)
        except StatsError as error:
            found = [str(error)]
        agreed = 0 if found else agreed + 1
        if agreed == 2:
            break
    return [*found, *(await _row_differences(generator, session, before.last_id) if generator.calls else [])]


async def _polls() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_S
    while loop.time() < deadline:
        await asyncio.sleep(SETTLE_INTERVAL_S)
        yield


async def _row_differences(generator: Generator, session: aiohttp.ClientSession, last_id: int) -> list[str]:
    """Call by call, by the rows that have come since that one; they are here, for they are counted."""
    rows: list[Row] = []
    cursor: str | None = ""
    try:
        while cursor is not None:
            page = await _page(session, generator.plan, PAGE_ROWS, cursor)
            rows += [row for row in page.history if row.request_id in generator.calls]
            cursor = page.next_cursor if any(row.id > last_id for row in page.history) else None
    except StatsError as error:
        return [str(error)]
    return row_differences(generator.calls, rows, streamed=generator.plan.stream)


async def _page(session: aiohttp.ClientSession, plan: Plan, limit: int, cursor: str = "") -> Page:
    """Of the history of the plan's models, newest first."""
    asked = [("limit", str(limit)), *([("cursor", cursor)] if cursor else [])]
    models = list(plan.models) if len(plan.models) <= MAX_MODELS_ASKED else []
    escaped = (f"{model[:-1]}\\*" if model.endswith("*") else model for model in models)
    query = urlencode([*asked, *(("model_id", model) for model in escaped)])
    return await _asked(session, f"{plan.url}/metrics/history?{query}", decode_page)


async def _stats(session: aiohttp.ClientSession, url: str) -> dict[str, Totals]:
    return await _asked(session, f"{url}/metrics/stats", decode_stats)


async def _asked(session: aiohttp.ClientSession, where: str, decode: Callable[[bytes], Decoded]) -> Decoded:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S), session.get(where) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise StatsError(f"{where} answers with status {answer.status}")
            return decode(body)
    except msgspec.DecodeError as error:
        raise StatsError(f"{where} answers something else: {error}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StatsError(f"{where} can't be read: {str(error) or 'no answer'}") from None
