"""Who leaves, who stands still, who is slow, who cuts: how streams end through all processes, at both sides, and that
what a caller saw and what is recorded agree."""

import contextlib
import http.client
import signal
import socket
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import eventually
from tests.system.stream_callers import PATHS, Running, body_of, calling, outcome, read_all, read_until, started
from tests.tap import Request

DIALECTS = pytest.mark.parametrize("dialect", PATHS)
LEAVING = pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
NEVER = {"latency": "fixed:60s"}
LONG = " ".join(["x" * 1000] * 2000)
"""Said eight times, it is more than the buffers of all connections on its way hold."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("ends")) as one:
        yield one


def leave(caller: socket.socket, resets: bool) -> None:
    if resets:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()


@DIALECTS
@LEAVING
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_caller_that_leaves_before_an_answer(running: Running, dialect: str, resets: bool, stream: bool) -> None:
    """The model server is let go of, and it was the caller."""
    model_id = f"before-{dialect}-{resets}-{stream}"
    running.behave(model_id, **NEVER)
    with calling(running, dialect, body_of(dialect, model_id, stream)) as caller:
        leave(caller, resets)
    running.left(model_id)
    row = running.row(model_id)
    assert (row["error_type"], row["output_size"]) == ("client_disconnected", 0)


@DIALECTS
@LEAVING
def test_a_caller_that_leaves_before_the_first_token(running: Running, dialect: str, resets: bool) -> None:
    """Likewise, though the model server has begun to answer."""
    model_id = f"first-{dialect}-{resets}"
    running.behave(model_id, stream={"first_token_s": 60.0})
    with calling(running, dialect, body_of(dialect, model_id)) as caller:
        eventually(lambda: running.tap.heard(model_id)[0].answers, bool)
        leave(caller, resets)
    running.left(model_id)
    assert running.row(model_id)["error_type"] == "client_disconnected"


@DIALECTS
@LEAVING
def test_a_caller_that_leaves_in_the_middle(running: Running, dialect: str, resets: bool) -> None:
    """Likewise, while the model server says nothing; what had come is recorded."""
    model_id = f"middle-{dialect}-{resets}"
    running.behave(model_id, stream={"stall_after_tokens": 2})
    with calling(running, dialect, body_of(dialect, model_id)) as caller:
        read_until(caller, b"two")
        leave(caller, resets)
    running.left(model_id)
    row = running.row(model_id)
    assert (row["error_type"], row["output_size"] > 0) == ("client_disconnected", True)


@DIALECTS
def test_a_caller_that_has_closed_its_side(running: Running, dialect: str) -> None:
    """And waits for its answer gets all of it."""
    model_id = f"half-{dialect}"
    running.behave(model_id, latency="fixed:300ms")
    with calling(running, dialect, body_of(dialect, model_id)) as caller:
        caller.shutdown(socket.SHUT_WR)
        answer = read_all(caller)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n0\r\n\r\n")
    assert running.row(model_id)["success"] is True


@DIALECTS
@pytest.mark.parametrize("begun", [False, True])
def test_a_stream_that_stands_still(running: Running, dialect: str, begun: bool) -> None:
    """For longer than its model may: a timeout of the model server's, of which the caller is told."""
    model_id = f"idle-{dialect}-{begun}"
    running.behave(
        model_id, stream={"stall_after_tokens": 2, "pieces": "one"} if not begun else {"stall_after_tokens": 2}
    )
    with calling(running, dialect, body_of(dialect, model_id)) as caller:
        answer = read_until(caller, b"stood still for 0.2 s")
        answer += read_all(caller) if begun else b""
    assert answer.startswith(b"HTTP/1.1 200 " if begun else b"HTTP/1.1 504 ")
    assert not answer.endswith(b"\r\n0\r\n\r\n")
    running.left(model_id)
    row = running.row(model_id)
    assert (row["error_type"], row["output_size"] > 0) == ("timeout", begun)


@DIALECTS
def test_wherever_it_is_cut_caller_and_record_agree(running: Running, dialect: str) -> None:
    """Who has got a whole stream has a success, though its last chunk is missing; all others see an error, and no
    clean end."""
    model_id = f"cuts-{dialect}"
    running.behave(model_id)
    whole = outcome(running, dialect, model_id)[1]
    end = len(answered_by(running.mock, running.tap.requests(model_id)[0]))
    seen = [(True, whole)]
    for place in sorted({*range(1, end, end // 20), *range(end - 20, end + 50)}):  # answers differ by their numbers
        running.behave(model_id, stream={"cut_at_byte": place})
        seen.append(outcome(running, dialect, model_id))
    rows = running.rows(model_id, len(seen))
    assert [row["error_type"] is None for row in rows] == [ended for ended, _ in seen]
    for ended, body in seen:
        assert (b'"error":{' in body) != ended
        assert without_number(body).startswith(without_number(whole)) == ended
    cut_wires = [heard for heard in running.tap.heard(model_id) if not heard.answers.endswith(b"0\r\n\r\n")]
    assert 0 < sum(not ended for ended, _ in seen) < len(cut_wires)


def answered_by(mock: str, asked: Request) -> bytes:
    """All that the model server says to the gateway's request: a gateway that has its stream's last event waits for no
    chunk after it."""
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{mock}{asked.path}", asked.body, headers)) as response:
        answer: bytes = response.read()
    return answer


def without_number(body: bytes) -> bytes:
    """Each answer has one of its own."""
    for name in (b'"id":"', b'"item_id":"'):
        body = b"".join(part if at == 0 else name + part.partition(b'"')[2] for at, part in enumerate(body.split(name)))
    return body.rstrip()


@DIALECTS
def test_streams_on_one_connection(running: Running, dialect: str) -> None:
    """One after the other, as each has a clean end."""
    model_id = f"kept-{dialect}"
    running.behave(model_id)
    connection = http.client.HTTPConnection(*running.address, timeout=30)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("POST", PATHS[dialect], body_of(dialect, model_id), {"Content-Type": "application/json"})
            own = connection.sock
            with connection.getresponse() as response:
                assert b"five" in response.read()
            assert connection.sock is own
    assert [row["success"] for row in running.rows(model_id, 3)] == [True] * 3


@pytest.mark.parametrize("cut", [False, True])
def test_a_caller_that_knows_no_chunks(running: Running, cut: bool) -> None:
    """Its stream ends with its connection; of one that is cut it is told by the event alone."""
    model_id = f"old-{cut}"
    running.behave(model_id, stream={"cut_at_byte": 700} if cut else {})
    with calling(running, "openai", body_of("openai", model_id), "1.0") as caller:
        answer = read_all(caller)
    assert (b"data: [DONE]" in answer, b"event: error" in answer) == (not cut, cut)
    assert b"chunked" not in answer.lower()
    assert running.row(model_id)["error_type"] == ("invalid_response" if cut else None)


ENDS: dict[str, dict[str, Any]] = {
    "whole": {},
    "error event": {"error_after_tokens": 1},
    "cut": {"cut_at_byte": 500},
    "cut at once": {"cut_at_byte": 1},
    "early end": {"end_after_tokens": 1, "finish": False, "done": False},
    "still": {"stall_after_tokens": 1},
    "still at once": {"stall_after_tokens": 0},
}


def test_each_end_gives_its_place_back(running: Running) -> None:
    """Where one call at a time may be in flight, the next one can begin."""
    for stream in ENDS.values():
        running.behave("single", stream=stream)
        outcome(running, "openai", "single")
    running.behave("single")
    assert outcome(running, "openai", "single")[0]
    rows = running.rows("single", len(ENDS) + 1)
    assert {row["error_type"] for row in rows} == {None, "invalid_response", "timeout"}


@LEAVING
def test_who_leaves_gives_its_place_back(running: Running, resets: bool) -> None:
    """Likewise."""
    running.behave("single-patient", stream={"stall_after_tokens": 1})
    with calling(running, "openai", body_of("openai", "single-patient")) as caller:
        read_until(caller, b"one")
        assert outcome(running, "openai", "single-patient")[1].startswith(b'{"error":{"message":"1 calls')
        leave(caller, resets)
    running.behave("single-patient")
    eventually(lambda: outcome(running, "openai", "single-patient")[0], bool)


def test_a_slow_caller_has_its_model_server_wait(running: Running) -> None:
    """And nobody else: what is on its way is bounded, others go on, and in the end it has all of it."""
    running.behave("slow")
    with calling(running, "openai", body_of("openai", "slow", text=LONG, n=8)) as caller:
        got = read_until(caller, b"data: ")
        (heard,) = running.tap.heard("slow")
        still = standing(heard.answers)
        assert outcome(running, "openai", "beside-slow")[0]
        assert len(heard.answers) == still
        got += read_until(caller, b"data: [DONE]")
    assert got.count(b'"content":"') == 8 * (LONG.count(" ") + 2)
    row = running.row("slow")
    assert (row["success"], row["output_size"] > still) == (True, True)


def standing(grows: bytearray) -> int:
    """Its size once that has been the same for a while."""
    sizes: list[int] = []

    def size() -> list[int]:
        sizes.append(len(grows))
        return sizes[-25:]

    last: list[int] = eventually(size, lambda of_late: len(of_late) == 25 and len(set(of_late)) == 1, 60.0)
    return last[0]


@LEAVING
def test_a_slow_caller_that_leaves(running: Running, resets: bool) -> None:
    """Lets its model server go, too."""
    model_id = f"slow-left-{resets}"
    running.behave(model_id)
    with calling(running, "openai", body_of("openai", model_id, text=LONG, n=8)) as caller:
        read_until(caller, b"data: ")
        standing(running.tap.heard(model_id)[0].answers)
        leave(caller, resets)
    running.left(model_id)
    assert running.row(model_id)["error_type"] == "client_disconnected"


@DIALECTS
def test_a_gateway_that_is_stopped(tmp_path: Path, dialect: str) -> None:
    """Lets its streams come to their ends, and then goes."""
    with started(tmp_path) as running:
        running.behave("last", stream={"tokens_per_second": 5})
        with calling(running, dialect, body_of(dialect, "last")) as caller:
            read_until(caller, b"one")
            running.gateway.signal(signal.SIGTERM)
            running.gateway.event("worker.draining")
            answer = read_all(caller)
        assert answer.endswith(b"\r\n0\r\n\r\n")
        assert running.gateway.wait() == 0
        assert running.row("last")["success"] is True
