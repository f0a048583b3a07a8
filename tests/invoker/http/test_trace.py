"""Callers' traces: what is valid is noted and passed on as it came, the rest is ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.http.trace import MAX_TRACESTATE_BYTES, Trace, parse_trace
from tests.invoker.conftest import Gateway
from tests.invoker.front.callers import body_of, calling, echo, invoke

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01".encode()
PASSED_ON = b"traceparent: %b\r\n" % PARENT
REQUEST_ID = "X-Request-ID: r-1"
PASSED_ID = b"x-request-id: r-1\r\n"


@pytest.mark.parametrize(
    "parent",
    [
        None,
        b"",
        b"x",
        PARENT[:-1],
        PARENT + b"0",
        PARENT + b"-x",
        PARENT + b"\r\nX: y",
        PARENT + b"\n",
        PARENT.upper(),
        PARENT.replace(b"-", b"_"),
        b"ff" + PARENT[2:],
        PARENT + b"-",
        b"cc" + PARENT[2:] + b"0",
        b"cc" + PARENT[2:] + b".x",
        b"cc" + PARENT[2:] + b"-x y",
        b"cc" + PARENT[2:] + b"-x\r\nX: y",
        b"cc" + PARENT[2:-1],
        b"zz" + PARENT[2:],
        b"00-%b-b7ad6b7169203331-01" % (b"0" * 32),
        b"00-%b-%b-01" % (TRACE_ID.encode(), b"0" * 16),
        b"%b,%b" % (PARENT, PARENT),
    ],
)
def test_a_parent_that_is_not_valid(parent: bytes | None) -> None:
    """It is as if there were none, whatever the state says."""
    assert parse_trace(parent, b"a=b") is None


@pytest.mark.parametrize("more", [b"", b"-", b"-what-may.come"])
@pytest.mark.parametrize(("flags", "known"), [(b"01", b"01"), (b"00", b"00"), (b"ff", b"01"), (b"fe", b"00")])
def test_a_parent_of_a_later_version(more: bytes, flags: bytes, known: bytes) -> None:
    """What is known of it is taken, and passed on in the version that is known here (W3C Trace Context, 4.3)."""
    parent = b"cc" + PARENT[2:-2] + flags + more
    assert parse_trace(parent) == Trace(TRACE_ID, b"traceparent: %b\r\n" % (PARENT[:-2] + known))


@pytest.mark.parametrize(
    ("state", "passed_on"),
    [
        (None, b""),
        (b"", b""),
        (b"a=b", b"tracestate: a=b\r\n"),
        (b"a=b, c=d;\te", b"tracestate: a=b, c=d;\te\r\n"),
        (b"x" * MAX_TRACESTATE_BYTES, b"tracestate: %b\r\n" % (b"x" * MAX_TRACESTATE_BYTES)),
        (b"x" * (MAX_TRACESTATE_BYTES + 1), b""),
        (b"a=\xff", b""),
        (b"a=b\r\nX: y", b""),
        (b"a=b\n", b""),
    ],
)
def test_a_state(state: bytes | None, passed_on: bytes) -> None:
    """What can be passed on as one line is; the parent is passed on without it, too."""
    assert parse_trace(PARENT, state) == Trace(TRACE_ID, PASSED_ON + passed_on)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_line_is_smuggled(parent: bytes, state: bytes) -> None:
    """Whatever came, what goes upstream is one line for each of the two."""
    for each in (parent, PARENT, PARENT + parent):
        trace = parse_trace(each, state)
        if trace is not None:
            lines = trace.headers.split(b"\r\n")
            assert [line.partition(b": ")[0] for line in lines] in (
                [b"traceparent", b""],
                [b"traceparent", b"tracestate", b""],
            )
            assert not any(set(line) & set(b"\r\n\0") for line in lines)


@pytest.mark.parametrize("not_plain", [[], ["Content-Encoding: identity"]])
async def test_a_trace_is_noted_and_passed_on(gateway: Gateway, not_plain: list[str]) -> None:
    """By both ways that a request is read; the next request on the connection has none."""
    gateway.script = echo
    lines = [f"Traceparent: {PARENT.decode()}", "tracestate: a=b", REQUEST_ID, *not_plain]
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(invoke(body_of(1), *lines), invoke(body_of(1), REQUEST_ID, *not_plain))
        await caller.answers()
    assert gateway.upstream.headers == [PASSED_ON + b"tracestate: a=b\r\n" + PASSED_ID, PASSED_ID]
    assert [record.trace_id for record in gateway.journal.records] == [TRACE_ID, None]


async def test_two_parents_are_none_and_two_states_are_one(gateway: Gateway) -> None:
    """As the standard has it; such a request is read by aiohttp."""
    gateway.script = echo
    parent = f"traceparent: {PARENT.decode()}"
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(
            invoke(body_of(1), REQUEST_ID, parent, parent),
            invoke(body_of(1), REQUEST_ID, parent, "tracestate: a=b", "tracestate: c=d"),
        )
        await caller.answers()
    assert gateway.upstream.headers == [PASSED_ID, PASSED_ON + b"tracestate: a=b,c=d\r\n" + PASSED_ID]
