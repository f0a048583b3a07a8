"""What all JSON answers have in common."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from http import HTTPStatus

import msgspec
from aiohttp import web
from rfc9457 import Problem

from metrics_sidecar.queries import MAX_MATCHED_MODELS, QueryTooLongError, StoreError, TooManyModelsError
from shared.errors import invalid_parameter, status_problem

RETRY_AFTER_S = 1
QUERY_TOO_LONG = "urn:problem:query-too-long"


def json_answer(body: msgspec.Struct, status: int = 200) -> web.Response:
    """The struct as JSON; never kept by a cache, because the next record changes it."""
    return _json_response(msgspec.json.encode(body), status)


async def large_json_answer(make: Callable[[], msgspec.Struct]) -> web.Response:
    """The same for a struct of many rows: made and encoded on a thread, beside the event loop."""
    return _json_response(await asyncio.to_thread(lambda: msgspec.json.encode(make())), 200)


def _json_response(body: bytes, status: int) -> web.Response:
    return web.Response(
        body=body, status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def milliseconds(microseconds: int) -> float:
    """The nearest float, or an int where it is whole: JSON then shows no fraction."""
    whole, rest = divmod(microseconds, 1000)
    return microseconds / 1000 if rest else whole


@contextlib.contextmanager
def store_problems(remedy: str = "Ask for less.") -> Iterator[None]:
    """A store that can't be read just now, or is busy, is a 503, to be asked again; a read that was ended for its
    length is one, too, and says what would make it shorter."""
    try:
        yield
    except TooManyModelsError as error:
        allowed = f"what no more than {MAX_MATCHED_MODELS:,} models match"
        raise invalid_parameter("model_id", f"{error}*", allowed) from error
    except QueryTooLongError as error:
        raise Problem(
            "Query too long", QUERY_TOO_LONG, f"The query was ended: {error}. {remedy}", HTTPStatus.SERVICE_UNAVAILABLE
        ) from error
    except StoreError as error:
        raise status_problem(
            503, f"The history can't be read just now: {error}", {"Retry-After": str(RETRY_AFTER_S)}
        ) from error
