"""A caller's trace (W3C Trace Context): noted in the record, and passed on as it came."""

import re
from typing import NamedTuple

MAX_TRACESTATE_BYTES = 512

_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?"
)
SAMPLED = 1
_TRACESTATE = re.compile(rb"[\t\x20-\x7e]+")


class Trace(NamedTuple):
    """32 hex digits, and the header lines for the upstream, each with its end."""

    trace_id: str | None
    headers: bytes


NO_TRACE = Trace(None, b"")


def parse_trace(traceparent: bytes | None, tracestate: bytes | None = None) -> Trace | None:
    """The trace that these headers name; None without a valid one: the standard says to ignore it then."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == b"00":
        if more is not None:
            return None
        headers = b"traceparent: %b\r\n" % match[0]
    else:  # of a later one, only this much is known, and so no more is said (4.3)
        headers = b"traceparent: 00-%b-%b-%02x\r\n" % (trace_id, parent_id, int(flags, 16) & SAMPLED)
    if tracestate and len(tracestate) <= MAX_TRACESTATE_BYTES and _TRACESTATE.fullmatch(tracestate):
        headers += b"tracestate: %b\r\n" % tracestate
    return Trace(trace_id.decode(), headers)
