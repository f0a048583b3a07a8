"""The id of a request: its caller's or made, passed on, answered and recorded."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from invoker.http.request_id import make_request_id, parse_request_id
from tests.invoker.conftest import Gateway
from tests.invoker.front.callers import body_of, calling, echo, invoke

ANSWERED = re.compile(rb"\r\nx-request-id: ([^\r\n]*)\r\n", re.IGNORECASE)
MADE = re.compile("[0-9a-f]{24}")
NOT_PLAIN = "Content-Encoding: identity"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (b"", None),
        (b"a", "a"),
        (b"!~", "!~"),
        (b"x" * 128, "x" * 128),
        (b"x" * 129, None),
        (b"a b", None),
        (b"a\x7f", None),
        ("é".encode(), None),
        (b"a\n", None),
    ],
)
def test_which_ids_are_taken(given: bytes | None, expected: str | None) -> None:
    """1 to 128 visible ASCII characters, and nothing else."""
    assert parse_request_id(given) == expected


def test_ids_that_are_made_are_others_each_time() -> None:
    """And are taken by whoever gets them."""
    made = {make_request_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(MADE.fullmatch(one) and parse_request_id(one.encode()) == one for one in made)


WORKERS = """
import os
from invoker.http.request_id import make_request_id
make_request_id()
for _ in range(2):
    if os.fork() == 0:
        os.write(1, make_request_id().encode() + b"\\n")
        os._exit(0)
    os.wait()
"""


def test_workers_make_others() -> None:
    """Though one process becomes all of them."""
    root = Path(__file__).parents[3]
    made = subprocess.run([sys.executable, "-c", WORKERS], cwd=root, check=True, capture_output=True, text=True).stdout
    assert len(set(made.split())) == 2


@pytest.mark.parametrize("more", [[], [NOT_PLAIN]], ids=["plain", "not plain"])
async def test_an_id_is_passed_on_answered_and_recorded(gateway: Gateway, more: list[str]) -> None:
    """By both ways that a request is read. Without one, or with one that can't be taken, each call has one of its own,
    though its head is the same."""
    gateway.script = echo
    given = [["X-Request-ID: checkout/4711"], [], [], ["x-request-id: a b"], ["x-request-id:"]]
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(*(invoke(body_of(1), *lines, *more) for lines in given))
        await caller.answers()
    answered = [one.decode() for one in ANSWERED.findall(caller.received)]
    assert answered[0] == "checkout/4711"
    assert all(MADE.fullmatch(one) for one in answered[1:])
    assert len(set(answered)) == len(given)
    assert [record.request_id for record in gateway.journal.records] == answered
    assert gateway.upstream.headers == [f"x-request-id: {one}\r\n".encode() for one in answered]


@pytest.mark.parametrize("more", [[], [NOT_PLAIN]], ids=["plain", "not plain"])
@pytest.mark.parametrize("body", [b"no JSON", b"{}", b'{"worklet_input": 1}'])
async def test_a_refusal_has_it_too(gateway: Gateway, body: bytes, more: list[str]) -> None:
    """That of its caller, or one that is made."""
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(invoke(body, "x-request-id: r-1", *more), invoke(body, *more))
        await caller.answers()
    given, made = (one.decode() for one in ANSWERED.findall(caller.received))
    assert (given, bool(MADE.fullmatch(made))) == ("r-1", True)
    assert gateway.journal.records == []
