"""Streams are asked for their usage where their callers don't; and not again where an upstream refuses to be."""

from invoker.http.pieces import Body, begin_of
from invoker.protocols.base import Call

REFUSED = frozenset((400, 422))
MAX_REFUSALS = 10_000
MAX_LOOKED_AT_BYTES = 16 * 1024
_FIELDS = (b"stream_options", b"include_usage")


class Asking:
    """Remembers which models' upstreams, some of which are strict, know no such field."""

    def __init__(self) -> None:
        self._refused: set[tuple[str, str]] = set()

    def may(self, call: Call, url: str) -> bool:
        """Whether this upstream hasn't refused to be asked for it."""
        return (url, call.model_id) not in self._refused

    def note_refused(self, call: Call, url: str) -> None:
        """It was refused, and without it the same request wasn't."""
        if len(self._refused) >= MAX_REFUSALS:
            self._refused.clear()
        self._refused.add((url, call.model_id))


def may_be_refusal(body: Body) -> bool:
    """Whether an answer that is `REFUSED` may say that the field isn't known; then nothing was worked on."""
    return any(field in begin_of(body, MAX_LOOKED_AT_BYTES) for field in _FIELDS)
