"""What `Protocol` promises, of every dialect; a new one needs no more than its sample here."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invoker.http.heads import RequestHead
from invoker.http.pieces import Pieces
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.base import JSON, BadRequestError, InvalidAnswerError, Outcome, Protocol, Result
from invoker.protocols.kserve import KServe
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.openai import OpenAI
from invoker.protocols.worklet import Worklet
from tests.invoker.front.hostile import whole


class Sample(NamedTuple):
    """A dialect, a request and an answer in it, and what is recorded of them."""

    make: Callable[[LargeBodies], Protocol]
    body: bytes
    answer: bytes
    model_id: str
    sizes: tuple[int, int]
    media_type: str = JSON
    path: str = ""


SAMPLES = [
    Sample(
        make=Worklet,
        body=b'{"worklet_input": {"model_id": "m", "input": [1, 2]}}',
        answer=b'{"worklet_output": "\\u00e9a"}',
        model_id="m",
        sizes=(2, 2),
    ),
    Sample(
        make=OpenAI,
        body=b'{"model": "m", "messages": [1.0, 1e400], "stream": true}',
        answer=b'{"choices": [ ]}\n',
        model_id="m",
        sizes=(56, 17),
    ),
    Sample(
        make=Anthropic,
        body=b'{"max_tokens": 1, "model":"m"}',
        answer=b'{"content": []}',
        model_id="m",
        sizes=(30, 15),
    ),
    Sample(
        make=KServe,
        body=b'{"inputs": [{"name": "a", "shape": [2, 3], "datatype": "INT8", "data": [1, 2, 3, 4, 5, 6]}]}',
        answer=b'{"outputs": [{"shape": [2]}, {"shape": [1, 3]}]}',
        model_id="m",
        sizes=(6, 5),
        path="/v2/models/m/infer",
    ),
]
DIALECTS = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.make.__name__)


@pytest.fixture
async def large_bodies() -> AsyncIterator[LargeBodies]:
    made = LargeBodies()
    yield made
    await made.close()


def head_of(protocol: Protocol, sample: Sample, body: bytes, media_type: str | None) -> RequestHead:
    return RequestHead(sample.path or protocol.routes[0], len(body), media_type, False, None)


def outcome_of(outcome: Outcome) -> tuple[bytes, int]:
    output = outcome.output
    return b"".join(output) if isinstance(output, Pieces) else bytes(output), outcome.output_size


@contextmanager
def refusing() -> Iterator[list[tuple[int, str, str]]]:
    """What is refused within, as its caller and the counter are told."""
    refused: list[tuple[int, str, str]] = []
    try:
        yield refused
    except BadRequestError as error:
        refused.append((error.status, error.reason, str(error)))


@DIALECTS
async def test_a_call_and_its_outcome(large_bodies: LargeBodies, sample: Sample) -> None:
    """The same whether they are large or not, and nothing is sent before the end unless it is a stream."""
    protocol = sample.make(large_bodies)
    head = head_of(protocol, sample, sample.body, sample.media_type)
    call = protocol.decode(head, sample.body)
    assert (call.model_id, call.body, call.input_size) == (sample.model_id, sample.body, sample.sizes[0])
    large = await protocol.decode_large(head, sample.body)
    assert msgspec.structs.replace(large, name=call.name) == call
    for one in (call, large):
        renamed = protocol.renamed(one, "another")
        told = head._replace(path=renamed.target or head.path)
        assert protocol.decode(told, whole(renamed.body)).model_id == "another"
    reader, large_reader = protocol.reader(call), protocol.reader(call)
    assert reader.feed(sample.answer) == large_reader.feed(sample.answer) == b""
    outcome = reader.finish()
    assert outcome.output_size == sample.sizes[1]
    assert outcome_of(await large_reader.finish_large()) == outcome_of(outcome)
    answer = whole(protocol.encode(Result(200, outcome, latency_us=1500)))
    assert outcome_of(outcome)[0] in answer


@DIALECTS
@pytest.mark.parametrize("status", [400, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504])
async def test_an_error_has_its_reason(large_bodies: LargeBodies, sample: Sample, status: int) -> None:
    """In a body that is JSON, whatever is in it."""
    reason = 'it said "no"\n\u00e9\x00'
    answer = whole(sample.make(large_bodies).encode(Result(status, None, reason)))
    assert any(reason in text for text in texts(json.loads(answer)))


def texts(value: object) -> Iterator[str]:
    """All strings within."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


@DIALECTS
async def test_what_a_head_shows_is_refused_before_the_body_is_here(large_bodies: LargeBodies, sample: Sample) -> None:
    """And in the same words once it is."""
    protocol = sample.make(large_bodies)
    head = head_of(protocol, sample, sample.body, "application/x-www-form-urlencoded")
    with refusing() as first:
        protocol.check(head)
    with refusing() as second:
        protocol.decode(head, sample.body)
    with refusing() as third:
        await protocol.decode_large(head, sample.body)
    assert first == second == third != []
    protocol.check(head_of(protocol, sample, sample.body, sample.media_type))


@DIALECTS
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.integers(0, 60))
async def test_whatever_is_sent(large_bodies: LargeBodies, sample: Sample, noise: bytes, place: int) -> None:
    """A request is understood or refused, and an answer likewise; nothing else is raised."""
    protocol = sample.make(large_bodies)
    call = protocol.decode(head_of(protocol, sample, sample.body, None), sample.body)
    for damaged in (noise, sample.body[:place] + noise + sample.body[place:]):
        with refusing():
            protocol.decode(head_of(protocol, sample, damaged, None), damaged)
    for damaged in (noise, sample.answer[:place] + noise + sample.answer[place:]):
        reader = protocol.reader(call)
        reader.feed(damaged)
        try:
            reader.finish()
        except InvalidAnswerError:
            continue


async def test_paths_are_of_one_dialect(large_bodies: LargeBodies) -> None:
    """Each is absolute, and there once."""
    paths = [path for sample in SAMPLES for path in sample.make(large_bodies).routes]
    assert len(set(paths)) == len(paths) >= len(SAMPLES)
    assert all(path.startswith("/") for path in paths)
