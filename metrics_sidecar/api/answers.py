"""What all JSON answers have in common."""

import asyncio
import contextlib
import gzip
from collections.abc import Callable, Iterator
from http import HTTPStatus

import msgspec
from aiohttp import web
from rfc9457 import Problem

from metrics_sidecar.api.negotiation import accepts_gzip
from metrics_sidecar.history.queries import MAX_MATCHED_MODELS, QueryTooLongError, StoreError, TooManyModelsError
from shared.errors import status_problem
from shared.problems import InvalidParameterError

RETRY_AFTER_S = 1
COMPRESSED_FROM_BYTES = 8 * 1024
FEW_VALUES = 4_000
"""About a millisecond's. A page of 100 rows, a quarter of that, comes a tenth sooner than by way of another thread."""
GZIP_LEVEL = 1  # ten times faster than 9, a fifth larger
NEVER_KEPT = {"Cache-Control": "no-store"}
"""By a cache, because the next record changes it."""
QUERY_TOO_LONG = "urn:problem:query-too-long"


def json_answer(body: msgspec.Struct, status: int = 200) -> web.Response:
    """The struct as JSON."""
    return _json_response(msgspec.json.encode(body), status, NEVER_KEPT)


async def json_answer_of(request: web.Request, values: int, make: Callable[[], msgspec.Struct]) -> web.Response:
    """The same for a struct of so many values, which may be large: made, encoded, and compressed where that is accepted
    and worth it; unless they are few, on a thread beside the event loop."""
    may_compress = takes_gzip(request)

    def encode() -> web.Response:
        body = msgspec.json.encode(make())
        headers = {**NEVER_KEPT, "Vary": "Accept-Encoding"}
        if may_compress and len(body) >= COMPRESSED_FROM_BYTES:
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return _json_response(body, 200, headers)

    return encode() if values <= FEW_VALUES else await asyncio.to_thread(encode)


def takes_gzip(request: web.Request) -> bool:
    """Whether its answer may be compressed."""
    return accepts_gzip(",".join(request.headers.getall("Accept-Encoding", ())))


def _json_response(body: bytes, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


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
        raise InvalidParameterError("model_id", f"{error}*", allowed) from error
    except QueryTooLongError as error:
        raise Problem(
            "Query too long", QUERY_TOO_LONG, f"The query was ended: {error}. {remedy}", HTTPStatus.SERVICE_UNAVAILABLE
        ) from error
    except StoreError as error:
        raise status_problem(
            503, f"The history can't be read just now: {error}", {"Retry-After": str(RETRY_AFTER_S)}
        ) from error
