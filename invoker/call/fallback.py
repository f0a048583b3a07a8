"""Other models in place of one that has failed: which, and after what.

A pure function of the snapshot that the call began with, and of how it went. The others' own other models are not
followed, so that no call goes round in a circle, or asks more of them than its model's table names.
"""

import typing
from urllib.parse import quote

from invoker.call.ending import EndedError, Ending
from invoker.http.passing import SERVED_BY
from invoker.protocols.base import Call, InvalidAnswerError
from invoker.routing.models import Model, Models
from invoker.upstream.port import UpstreamError
from shared.record import ErrorType

_VISIBLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_FAILURES = frozenset((ErrorType.CONNECT, ErrorType.TIMEOUT, ErrorType.INVALID_RESPONSE, ErrorType.OVERLOADED))
_STATUSES = frozenset((408, 429))
"""Beside those from 500 on. Of other 4xx, the request is the reason, and every model would say the same of it."""


class Other(typing.NamedTuple):
    """A model that may take the asked one's place."""

    model_id: str
    model: Model


class Turns(typing.NamedTuple):
    """`others`: in the order in which they are tried; `due`: by when all must have ended, by the loop's clock."""

    others: list[Other]
    due: float


def others_of(models: Models, model: Model, call: Call, protocol: str) -> list[Other]:
    """Those that its table names, but for the asked one itself, which may be of a pattern's table."""
    found = ((model_id, models.find(model_id, protocol)) for model_id in model.fallback if model_id != call.model_id)
    return [Other(model_id, other) for model_id, other in found if other is not None]


def is_for_another(error: Exception, status: int | None) -> bool:
    """Whether another model may do better than the one that failed so, whose upstream answered with this status."""
    match error:
        case UpstreamError(error_type=ErrorType.UPSTREAM_STATUS):
            return status is not None and (status >= 500 or status in _STATUSES)
        case UpstreamError():
            return error.error_type in _FAILURES
        case EndedError():
            return error.ending in (Ending.FIRST_TOKEN, Ending.IDLE) and not error.untaken
        case _:
            return isinstance(error, InvalidAnswerError)


def served_by_line(model_id: str) -> bytes:
    """A whole header line; what isn't visible ASCII is percent-encoded."""
    return b"%b: %b\r\n" % (SERVED_BY, quote(model_id, safe=_VISIBLE).encode())
