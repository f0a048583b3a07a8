"""The API behaves as its OpenAPI document says, whatever is asked of it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from metrics_sidecar.api.routes import DESCRIPTION, OPERATIONS, TITLE, VERSION
from shared.addresses import bind, urls_of
from shared.clock import parse_timestamp
from shared.openapi import build_document
from shared.serving import running, serving
from tests.metrics_sidecar.api.conftest import FakeReader, group_of, make_app, totals_of

schema = schemathesis.openapi.from_dict(build_document(TITLE, VERSION, DESCRIPTION, OPERATIONS, "history"))


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A server in a thread of its own: the checks call it with a blocking client."""
    loop = asyncio.new_event_loop()
    reader = FakeReader()
    reader.groups = [group_of("gpt-3.5", 150_000, 50_000)]
    reader.totals = {"gpt-3.5": totals_of(150_000, 50_000)}
    url: Future[str] = Future()
    stop = asyncio.Event()

    async def serve() -> None:
        with bind("127.0.0.1", 0, "PORT")[0] as bound:
            async with running(make_app(reader, []), 1.0) as runner, serving(runner, [bound]):
                url.set_result(urls_of([bound]))
                await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        yield url.result(10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@schema.parametrize()
def test_the_api_conforms_to_its_document(case: Any, base_url: str) -> None:
    """Every documented request is answered as documented, and every other one refused."""
    query = case.query or {}
    excluded = [positive_data_acceptance] if may_be_refused(case.path, query) else []
    if query.get("tag", "") in ({}, []):  # of which nothing is sent
        excluded.append(negative_data_rejection)
    case.call_and_validate(base_url=base_url, excluded_checks=excluded)


def may_be_refused(path: str, query: dict[str, Any]) -> bool:
    """What a schema can't say: a cursor is made by an answer, `since` is before `until`, and so on."""
    if query.keys() & {"cursor", "window", "step", "bom"} or query.get("status") == "success":
        return True
    if path == "/metrics/timeseries" and "since" in query:  # perhaps more points than there may be
        return True
    if any(name.replace("min_", "max_", 1) in query for name in query if name.startswith("min_")):
        return True
    try:
        return parse_timestamp(query["since"]) > parse_timestamp(query["until"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
