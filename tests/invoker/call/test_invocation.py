"""One call, one record, whatever its end."""

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from invoker.call.attempts import pause_s
from invoker.call.invocation import Invoker, UnknownModelError
from invoker.http.pieces import Body
from invoker.protocols.base import Call
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.worklet import Worklet
from invoker.routing.endpoints import single
from invoker.routing.limits import Limit
from invoker.routing.models import Model, Models
from invoker.routing.places import Places
from invoker.upstream.port import ConnectError, UpstreamError
from shared.record import MAX_ERROR_LOG_BYTES, ErrorType, Record
from tests.invoker.fakes import GOOD, START_US, URL, Answer, FakeClock, FakeJournal, FakeUpstream, Gate, models
from tests.invoker.front.hostile import whole

BODY = b'{"worklet_input":{"model_id":"m","input":[1,2,3]}}'


class Domain:
    """An invoker on fakes."""

    def __init__(
        self,
        script: Callable[[bytes], Awaitable[Answer]],
        known: Models | None = None,
        max_in_flight: int = 100,
        places: Places | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.protocol = Worklet(LargeBodies())
        self.journal = FakeJournal()
        self.upstream = FakeUpstream(script)
        self.invoker = Invoker(
            known or models(),
            self.upstream,
            self.journal,
            self.clock,
            max_in_flight,
            places=places,
        )

    async def invoke(self, model_id: str = "m", priority: int = 0) -> tuple[int, Any]:
        call = Call(model_id, BODY, 3, priority=priority)
        result = await self.invoker.invoke(self.protocol, call, None, "r-1")
        return result.status, json.loads(whole(self.protocol.encode(result)))

    def start(self, model_id: str = "m", priority: int = 0) -> "asyncio.Task[tuple[int, Any]]":
        return asyncio.create_task(self.invoke(model_id, priority))

    async def started(self, *model_ids: str) -> list["asyncio.Task[tuple[int, Any]]"]:
        """Calls that have reached the upstream."""
        tasks = [self.start(model_id) for model_id in model_ids]
        while self.invoker.in_flight.total < len(tasks):
            await asyncio.sleep(0)
        return tasks

    def at_rest(self) -> bool:
        places = sum(limit.in_flight + limit.waiting for _, limit in self.invoker.models.limits())
        return not (self.invoker.in_flight.total or self.journal.open or places)

    @property
    def error_types(self) -> list[str | None]:
        return [record.error_type for record in self.journal.records]


def failed(error_log: str, latency_ms: float = 0.0) -> dict[str, object]:
    return {"worklet_output": None, "success": False, "latency_ms": latency_ms, "error_log": error_log}


def raising(error: BaseException) -> Callable[[bytes], Awaitable[Answer]]:
    async def script(_body: bytes) -> Answer:
        raise error

    return script


def answering(
    status: int, body: Body, headers: Mapping[bytes, bytes] | None = None
) -> Callable[[bytes], Awaitable[Answer]]:
    async def script(_body: bytes) -> Answer:
        return status, body, headers or {}

    return script


async def test_a_success_has_its_record_and_its_answer() -> None:
    """The record holds when the call was accepted, how long it took, and both sizes."""

    async def script(_body: bytes) -> Answer:
        domain.clock.elapsed_us += 150_250
        return GOOD

    domain = Domain(script)
    assert await domain.invoke() == (
        200,
        {"worklet_output": [6, 7], "success": True, "latency_ms": 150.25, "error_log": ""},
    )
    told = ("worklet", "invoke", False, "upstream.test", 200, 1)
    assert domain.journal.records == [Record("m", START_US, 150_250, None, "", 3, 2, None, "r-1", *told)]
    assert domain.upstream.posts == [(URL, BODY)]
    assert domain.at_rest()


@pytest.mark.parametrize(
    ("script", "upstream_status", "status", "error_type", "error_log"),
    [
        (answering(500, b"boom"), 500, 502, ErrorType.UPSTREAM_STATUS, "upstream answered 500: boom"),
        (answering(404, b""), 404, 502, ErrorType.UPSTREAM_STATUS, "upstream answered 404"),
        (answering(302, b""), 302, 502, ErrorType.UPSTREAM_STATUS, "upstream answered 302"),
        (answering(400, b"\xff" * 9999), 400, 502, ErrorType.UPSTREAM_STATUS,
         "upstream answered 400: " + "\ufffd" * 511 + "…"),
        (answering(200, b"[]"), 200, 502, ErrorType.INVALID_RESPONSE,
         "upstream's answer is not usable: Expected `object`, got `array`"),
        (answering(204, b""), 204, 502, ErrorType.INVALID_RESPONSE,
         "upstream's answer is not usable: it is empty"),
        (raising(ConnectError("refused")), None, 502, ErrorType.CONNECT, "refused"),
        (raising(UpstreamError(ErrorType.INVALID_RESPONSE, "broke off")), None, 502, ErrorType.INVALID_RESPONSE,
         "broke off"),
        (raising(RuntimeError("a bug")), None, 500, ErrorType.GATEWAY_ERROR,
         "the gateway failed: RuntimeError('a bug')"),
        (answering(302, b"", {b"location": b"https://user:secret@other/x?token=1#y"}), 302, 502,
         ErrorType.UPSTREAM_STATUS,
         "upstream answered 302 with Location 'https://***@other/x?***'"),
    ],
)  # fmt: skip
async def test_each_failure_has_one_record(
    script: Callable[[bytes], Awaitable[Answer]],
    upstream_status: int | None,
    status: int,
    error_type: ErrorType,
    error_log: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its type and reason stand in the record, its reason in the answer, and HTTP says whose fault it is."""
    caplog.set_level(logging.CRITICAL)
    domain = Domain(script)
    assert await domain.invoke() == (status, failed(error_log))
    told = ("worklet", "invoke", False, "upstream.test", upstream_status, 1)
    assert domain.journal.records == [Record("m", START_US, 0, error_type, error_log, 3, 0, None, "r-1", *told)]
    assert domain.at_rest()


async def test_a_defect_that_meets_every_call_is_logged_now_and_then() -> None:
    """Once with its traceback, and after a while again, with how many were not."""
    domain = Domain(raising(RuntimeError("a bug")))
    with capture_logs() as logged:
        for elapsed_s in (0, 1, 9, 10, 11):
            domain.clock.elapsed_us = elapsed_s * 1_000_000
            await domain.invoke()
    assert [(each["unlogged_before"], str(each["exc_info"])) for each in logged] == [(0, "a bug"), (2, "a bug")]
    assert domain.error_types == [ErrorType.GATEWAY_ERROR] * 5


async def test_a_long_reason_is_clipped_in_record_and_answer() -> None:
    """`error_log` takes at most 2 KiB of UTF-8."""
    domain = Domain(raising(ConnectError("é" * 5000)))
    _, answer = await domain.invoke()
    (record,) = domain.journal.records
    assert answer["error_log"] == record.error_log
    assert MAX_ERROR_LOG_BYTES - 4 < len(record.error_log.encode()) <= MAX_ERROR_LOG_BYTES


async def test_a_call_past_its_time_is_504() -> None:
    """The model's timeout bounds the call, and its upstream call is ended."""
    domain = Domain(Gate(), models(Model(single(URL), 0.01)))
    assert await domain.invoke() == (504, failed("upstream gave no whole answer within 0.01 s"))
    assert domain.error_types == [ErrorType.TIMEOUT]
    assert domain.at_rest()


async def test_an_unknown_model_is_no_invocation() -> None:
    """Where no upstream is configured there is nothing to record."""
    domain = Domain(answering(*GOOD), Models({"known": Model(single(URL), 1.0)}, None))
    with pytest.raises(UnknownModelError):
        await domain.invoke("other")
    assert (await domain.invoke("known"))[0] == 200
    assert [record.model_id for record in domain.journal.records] == ["known"]


async def test_a_caller_that_leaves_is_recorded() -> None:
    """A cancelled call stays cancelled and leaves one `client_disconnected` record."""
    domain = Domain(Gate())
    (task,) = await domain.started("m")
    domain.clock.elapsed_us += 7
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    error_log = "the caller closed the connection before the answer"
    told = ("worklet", "invoke", False, "upstream.test", None, 1)
    assert domain.journal.records == [
        Record("m", START_US, 7, ErrorType.CLIENT_DISCONNECTED, error_log, 3, 0, None, "r-1", *told)
    ]
    assert domain.at_rest()


async def test_the_limit_of_all_calls() -> None:
    """One call more than the limit is refused with 429 and recorded, and there is room again afterwards."""
    gate = Gate()
    domain = Domain(gate, max_in_flight=2)
    tasks = await domain.started("a", "b")
    assert await domain.invoke("c") == (429, failed("2 calls are in flight, the limit"))
    gate.opened.set()
    assert [status for status, _ in await asyncio.gather(*tasks)] == [200, 200]
    assert (await domain.invoke("c"))[0] == 200
    assert domain.error_types == [ErrorType.OVERLOADED, None, None, None]
    assert domain.at_rest()


async def test_the_limit_of_one_model() -> None:
    """A model's limit refuses its own calls and no other model's."""
    gate = Gate()
    domain = Domain(gate, models(small=Model(single(URL), 60.0, limit=Limit(1))))
    tasks = await domain.started("small", "other", "other")
    assert await domain.invoke("small") == (429, failed("1 calls of this model are in flight, its limit"))
    tasks.append(domain.start("other"))
    assert [limit.in_flight for _, limit in domain.invoker.models.limits()] == [1]
    gate.opened.set()
    assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 4
    assert (await domain.invoke("small"))[0] == 200
    (refused,) = (record for record in domain.journal.records if record.error_type)
    assert (refused.model_id, refused.error_type, refused.attempts) == ("small", ErrorType.OVERLOADED, 0)
    assert domain.at_rest()


@pytest.mark.parametrize(
    ("failures", "status", "attempts"), [(0, 200, 1), (1, 200, 2), (2, 200, 3), (3, 502, 3), (9, 502, 3)]
)
async def test_a_connection_that_could_not_be_made_is_tried_again(failures: int, status: int, attempts: int) -> None:
    """At most `retries` further times, all of them one call with one record."""

    async def script(_body: bytes) -> Answer:
        if len(domain.upstream.posts) <= failures:
            raise ConnectError("refused")
        return GOOD

    domain = Domain(script, models(Model(single(URL), 60.0, retries=2)))
    assert (await domain.invoke())[0] == status
    assert domain.upstream.posts == [(URL, BODY)] * attempts
    assert domain.error_types == [None if status == 200 else ErrorType.CONNECT]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (raising(UpstreamError(ErrorType.CONNECT, "closed without an answer")), 502),
        (raising(UpstreamError(ErrorType.INVALID_RESPONSE, "broke off")), 502),
        (raising(UpstreamError(ErrorType.GATEWAY_ERROR, "no more files")), 500),
        (raising(RuntimeError("a bug")), 500),
        (answering(503, b""), 503),
        (answering(200, b"not JSON"), 502),
    ],
)
async def test_what_the_upstream_may_have_received_is_not_sent_again(
    script: Callable[[bytes], Awaitable[Answer]], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An invocation isn't idempotent: only a connection that was never made is tried again."""
    caplog.set_level(logging.CRITICAL)
    domain = Domain(script, models(Model(single(URL), 60.0, retries=5)))
    assert (await domain.invoke())[0] == status
    assert len(domain.upstream.posts) == 1


async def test_retries_share_the_one_timeout() -> None:
    """However many retries are allowed, the call ends with its timeout."""

    async def script(_body: bytes) -> Answer:
        if len(domain.upstream.posts) == 1:
            raise ConnectError("refused")
        return await Gate()(b"")

    domain = Domain(script, models(Model(single(URL), 0.5, retries=10)))
    assert (await domain.invoke())[0] == 504
    assert domain.error_types == [ErrorType.TIMEOUT]
    assert len(domain.upstream.posts) == 2


async def test_retries_are_ever_longer_apart() -> None:
    """At least 25, 50 and 100 ms, but for what a loop's coarse clock takes off them."""
    times: list[float] = []

    async def script(_body: bytes) -> Answer:
        times.append(asyncio.get_running_loop().time())
        raise ConnectError("refused")

    domain = Domain(script, models(Model(single(URL), 60.0, retries=3)))
    await domain.invoke()
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [pause > 0.02 * 2**number for number, pause in enumerate(pauses)] == [True] * 3


def test_pauses_are_random() -> None:
    """Callers that failed together don't come back together, and no pause is longer than 2 s."""
    for repeated in (1, 2, 10, 10_000):
        die = Random(1)
        pauses = [pause_s(repeated, die) for _ in range(100)]
        longest_s = min(0.05 * 2 ** min(repeated - 1, 10), 2.0)
        assert longest_s / 2 <= min(pauses) < max(pauses) <= longest_s


async def test_no_retry_begins_after_the_timeout() -> None:
    """A call whose upstream can't be reached ends as that, in time, and not as one that got no answer."""
    domain = Domain(raising(ConnectError("refused")), models(Model(single(URL), 0.2, retries=10)))
    async with asyncio.timeout(10):
        assert await domain.invoke() == (502, failed("refused"))
    assert domain.error_types == [ErrorType.CONNECT]
    assert len(domain.upstream.posts) <= 4


async def test_draining_refuses_new_calls_and_lets_others_finish() -> None:
    """A call in flight gets its answer within the grace time; one that comes later is 503."""
    gate = Gate()
    domain = Domain(gate)
    (task,) = await domain.started("m")
    drained = asyncio.create_task(domain.invoker.drain(60.0))
    await asyncio.sleep(0)
    assert await domain.invoke() == (503, failed("the gateway is shutting down"))
    assert not drained.done()
    gate.opened.set()
    assert (await task)[0] == 200
    await drained
    assert domain.error_types == [ErrorType.DRAINING, None]


async def test_calls_past_the_grace_time_are_answered() -> None:
    """What is still in flight then is ended, recorded once and answered with 503."""
    domain = Domain(Gate())
    tasks = await domain.started("a", "b", "c")
    domain.clock.elapsed_us += 5_000
    await domain.invoker.drain(0.0)
    error_log = "the gateway shut down before the upstream answered"
    assert await asyncio.gather(*tasks) == [(503, failed(error_log, 5.0))] * 3
    assert domain.error_types == [ErrorType.DRAINING] * 3
    assert [task.cancelling() for task in tasks] == [0, 0, 0]
    assert domain.at_rest()


async def test_an_idle_worker_drains_at_once() -> None:
    """Nothing is waited for where nothing is in flight, and draining twice does no harm."""
    domain = Domain(Gate())
    await domain.invoker.drain(60.0)
    await domain.invoker.drain(60.0)
    assert domain.invoker.admission.draining


async def test_latency_holds_what_the_gateway_takes_itself() -> None:
    """From the moment at which the call was accepted; what comes after the upstream's answer is overhead alone."""

    class SlowJournal(FakeJournal):
        def begin(self, begun: object) -> int:
            domain.clock.elapsed_us += 700
            return super().begin(begun)

        def append(self, record: Record, call: int = 0) -> None:
            domain.clock.elapsed_us += 300
            super().append(record, call)

    async def script(_body: object) -> Answer:
        domain.clock.elapsed_us += 150_000
        return GOOD

    domain = Domain(script)
    domain.journal = domain.invoker._journal = SlowJournal()
    _, answer = await domain.invoke()
    assert (domain.journal.records[0].latency_us, answer["latency_ms"]) == (150_700, 150.7)
    assert domain.invoker.overhead.report()["sum_us"] == 1000


async def test_latency_of_a_failure_holds_what_the_gateway_takes_itself() -> None:
    """As that of a success does."""

    class SlowJournal(FakeJournal):
        def begin(self, begun: object) -> int:
            domain.clock.elapsed_us += 700
            return super().begin(begun)

    domain = Domain(raising(UpstreamError(ErrorType.TIMEOUT, "late")))
    domain.journal = domain.invoker._journal = SlowJournal()
    await domain.invoke()
    assert [(each.error_type, each.latency_us) for each in domain.journal.records] == [(ErrorType.TIMEOUT, 700)]
