"""Other models take the place of one that failed; it is one call, with one record, all the same."""

import asyncio
import json
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from invoker.call.ending import EndedError, Ending
from invoker.call.fallback import is_for_another, served_by_line
from invoker.call.invocation import Invoker
from invoker.protocols.base import Call, InvalidAnswerError, ReaderDiedError, Result
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.worklet import Worklet
from invoker.routing.alias import Alias
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.limits import Limit
from invoker.routing.models import Model
from invoker.routing.prices import parse_prices
from invoker.upstream.port import ConnectError, UpstreamError
from shared.record import ErrorType, Record
from tests.invoker.fakes import GOOD, START_US, Answer, FakeClock, FakeJournal, FakeUpstream, models
from tests.invoker.front.hostile import whole

BODY = b'{"worklet_input":{"model_id":"%b","input":[1,2,3]}}'
BUSY: Answer = (503, b"busy", {b"retry-after": b"7"})
REFUSED = ConnectError("refused")
Done = Answer | Exception | asyncio.Event


def model(name: str, **settings: Any) -> Model:
    return Model(single(f"http://{name}.test/"), settings.pop("timeout_s", 60.0), **settings)


class Stage:
    """Model `a`, with `b` and `c` in its place, whose servers do what is written; an event is waited for, and fails."""

    def __init__(self, does: dict[str, Done], **known: Model) -> None:
        self.does = does
        self.clock = FakeClock()
        self.journal = FakeJournal()
        self.upstream = FakeUpstream(self._answer)
        self.protocol = Worklet(LargeBodies())
        named = {"a": model("a", fallback=("b", "c")), "b": model("b"), "c": model("c")} | known
        self.invoker = Invoker(models(**named), self.upstream, self.journal, self.clock, 100)

    async def _answer(self, _body: bytes) -> Answer:
        self.clock.elapsed_us += 1000
        done = self.does[self.posts[-1]]
        if isinstance(done, asyncio.Event):
            await done.wait()
            raise REFUSED
        if isinstance(done, Exception):
            raise done
        return done

    @property
    def posts(self) -> list[str]:
        return [url.removeprefix("http://")[0] for url, _ in self.upstream.posts]

    async def invoke(self, model_id: str = "a", *, falls_back: bool = True) -> Result:
        call = Call(model_id, BODY % model_id.encode(), 3, falls_back=falls_back)
        return await self.invoker.invoke(self.protocol, call, None, "r-1")

    @property
    def record(self) -> Record:
        (record,) = self.journal.records
        return record

    @property
    def told(self) -> tuple[object, ...]:
        """What the one record says of models and attempts."""
        record = self.record
        return record.model_id, record.fallback_from, record.error_type, record.upstream, record.attempts

    def limit_of(self, model_id: str) -> Limit:
        found = self.invoker.models.find(model_id)
        assert found is not None
        assert found.limit is not None
        return found.limit

    def at_rest(self) -> bool:
        known = self.invoker.models
        outstanding = sum(each.outstanding for _, _, one in known.tables() for each in one.group.members)
        counted = sum(one.limit.in_flight for _, _, one in known.tables() if one.limit is not None)
        in_flight = self.invoker.in_flight
        return not (in_flight.total or in_flight.all() or self.journal.open or outstanding or counted)


def said(result: Result) -> Any:
    return json.loads(whole(Worklet(LargeBodies()).encode(result)))


FAILURES: list[Done] = [
    REFUSED,
    UpstreamError(ErrorType.CONNECT, "closed without an answer"),
    UpstreamError(ErrorType.INVALID_RESPONSE, "broke off"),
    BUSY,
    (429, b"", {}),
    (408, b"", {}),
    (500, b"", {}),
    (599, b"", {}),
    (200, b"no JSON", {}),
]


@pytest.mark.parametrize("failure", FAILURES)
async def test_the_next_model_answers(failure: Done) -> None:
    """One record, of the model that served it; what it was asked for, and what was tried, is told, too."""
    stage = Stage({"a": failure, "b": GOOD})
    result = await stage.invoke()
    assert (result.status, said(result)["worklet_output"]) == (200, [6, 7])
    assert result.headers == b"x-request-id: r-1\r\nx-served-by: b\r\n"
    assert stage.told == ("b", "a", None, "b.test", 2)
    assert (stage.record.status_code, stage.record.latency_us, stage.record.timestamp_us) == (200, 2000, START_US)
    assert stage.upstream.posts == [("http://a.test/", BODY % b"a"), ("http://b.test/", BODY % b"b")]
    assert stage.at_rest()


@pytest.mark.parametrize(
    "failure",
    [
        *[(status, b"", {}) for status in (302, 400, 401, 403, 404, 413, 422, 499)],
        UpstreamError(ErrorType.GATEWAY_ERROR, "no more files"),
        RuntimeError("a bug"),
    ],
)
async def test_what_another_would_fail_with_too_is_told_at_once(failure: Done) -> None:
    stage = Stage({"a": failure, "b": GOOD})
    result = await stage.invoke()
    assert (result.status in (500, 502), stage.posts) == (True, ["a"])
    assert b"x-served-by" not in result.headers
    assert stage.told[:2] == ("a", None)


async def test_they_are_tried_in_order() -> None:
    """Until one of them answers; each is told its own name for what is asked."""
    stage = Stage({"a": BUSY, "b": REFUSED, "c": GOOD})
    assert (await stage.invoke()).status == 200
    assert (stage.posts, stage.told) == (["a", "b", "c"], ("c", "a", None, "c.test", 3))
    assert stage.at_rest()


async def test_if_all_fail_it_is_the_asked_ones_error() -> None:
    """Its status, its `Retry-After`, its upstream; only attempts and time are of all."""
    stage = Stage({"a": BUSY, "b": REFUSED, "c": (500, b"", {})})
    result = await stage.invoke()
    assert (result.status, result.headers) == (503, b"Retry-After: 7\r\nx-request-id: r-1\r\n")
    assert said(result) == {
        "worklet_output": None, "success": False, "latency_ms": 3.0, "error_log": "upstream answered 503: busy"
    }  # fmt: skip
    assert stage.told == ("a", None, ErrorType.UPSTREAM_STATUS, "a.test", 3)
    assert (stage.record.status_code, stage.record.latency_us) == (503, 3000)
    assert stage.at_rest()


async def test_one_that_finds_fault_with_the_request_is_the_last() -> None:
    stage = Stage({"a": BUSY, "b": (400, b"", {}), "c": GOOD})
    assert (await stage.invoke()).status == 503
    assert (stage.posts, stage.told) == (["a", "b"], ("a", None, ErrorType.UPSTREAM_STATUS, "a.test", 2))


async def test_its_caller_may_switch_it_off() -> None:
    stage = Stage({"a": BUSY, "b": GOOD})
    assert (await stage.invoke(falls_back=False)).status == 503
    assert stage.posts == ["a"]


async def test_others_others_are_not_followed() -> None:
    """And a model of a pattern's table isn't its own other one."""
    stage = Stage({"a": BUSY, "b": BUSY, "c": GOOD}, a=model("a", fallback=("a", "b")), b=model("b", fallback=("c",)))
    assert (await stage.invoke()).status == 503
    assert stage.posts == ["a", "b"]


async def test_each_has_rules_of_its_own() -> None:
    """Retries, limits, names, prices; those of the asked one are over."""
    named = Endpoint("http://c.test/", "c.test", alias=Alias("its name"))
    prices = parse_prices({"request": 1})
    stage = Stage(
        {"a": REFUSED, "b": GOOD, "c": GOOD},
        a=model("a", fallback=("b", "c"), retries=1, prices=parse_prices({"request": 2})),
        b=model("b", limit=Limit(1)),
        c=Model(Group([named]), 60.0, prices=prices),
    )
    limit = stage.limit_of("b")
    assert limit.take()
    assert (await stage.invoke()).status == 200
    assert (stage.posts, stage.told) == (["a", "a", "c"], ("c", "a", None, "c.test", 3))
    assert stage.upstream.posts[-1][1] == BODY % b"its name"
    assert stage.record.cost_nano_usd == 1_000_000_000
    limit.leave()
    assert stage.at_rest()


async def test_two_tiers_of_upstreams() -> None:
    """One that has no room is followed by the next tier's, which calls the model otherwise; then by another model."""
    tiers = Group([Endpoint(f"http://{name}.test/", name, priority=at, alias=Alias(f"{name}'s"))
                   for at, name in enumerate(("x", "y"))])  # fmt: skip
    stage = Stage(
        {"x": (429, b"", {}), "y": BUSY, "b": GOOD},
        a=Model(tiers, 60.0, retries=1, retry_busy=True, fallback=("b",)),
    )
    assert (await stage.invoke()).status == 200
    assert stage.upstream.posts == [
        ("http://x.test/", BODY % b"x's"), ("http://y.test/", BODY % b"y's"), ("http://b.test/", BODY % b"b")
    ]  # fmt: skip
    assert stage.told == ("b", "a", None, "b.test", 3)
    assert stage.at_rest()


async def test_a_model_at_its_limit_is_not_waited_for() -> None:
    """The next one is asked; nothing was tried before."""
    stage = Stage({"b": GOOD}, a=model("a", fallback=("b",), limit=Limit(1)))
    limit = stage.limit_of("a")
    assert limit.take()
    assert (await stage.invoke()).status == 200
    assert stage.told == ("b", "a", None, "b.test", 1)
    limit.leave()
    assert stage.at_rest()


async def test_all_share_the_asked_ones_time() -> None:
    """What is over then is over for all of them; it ends as the first one failed."""
    stage = Stage({"a": REFUSED, "b": asyncio.Event()}, a=model("a", fallback=("b", "c"), timeout_s=0.05))
    async with asyncio.timeout(10):
        result = await stage.invoke()
    assert (result.status, said(result)["error_log"]) == (502, "refused")
    assert (stage.posts, stage.told) == (["a", "b"], ("a", None, ErrorType.CONNECT, "a.test", 2))
    assert stage.at_rest()


async def test_it_is_in_flight_at_one_model_at_a_time() -> None:
    gone = asyncio.Event()
    stage = Stage({"a": gone, "b": asyncio.Event()})
    task = asyncio.create_task(stage.invoke())
    counts = stage.invoker.in_flight
    while not counts.count("a"):
        await asyncio.sleep(0)
    gone.set()
    while not counts.count("b"):
        await asyncio.sleep(0)
    assert counts.all() == {"b": 1}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.told == ("a", None, ErrorType.CLIENT_DISCONNECTED, "b.test", 2)
    assert stage.at_rest()


async def test_nobody_is_asked_for_a_caller_that_has_gone() -> None:
    """Also if it goes in the moment in which the first model fails."""
    stage = Stage({"a": asyncio.Event(), "b": GOOD}, a=model("a", fallback=("b",), idle_s=60.0))

    async def leaves() -> Result:
        task = asyncio.current_task()
        assert task is not None
        stage.invoker.flights.loop.call_soon(stage.invoker.flights.endings.end, task, Ending.IDLE)
        stage.invoker.flights.loop.call_soon(task.cancel)
        return await stage.invoke()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(leaves())
    assert stage.posts == ["a"]
    assert stage.told == ("a", None, ErrorType.CLIENT_DISCONNECTED, "a.test", 1)
    assert stage.at_rest()


async def test_a_shutdown_lets_it_go_on_and_then_ends_it() -> None:
    """Other models may answer within the grace time: the call was admitted before."""
    first = asyncio.Event()
    stage = Stage({"a": first, "b": GOOD})
    task = asyncio.create_task(stage.invoke())
    while not stage.posts:
        await asyncio.sleep(0)
    draining = asyncio.create_task(stage.invoker.drain(60.0))
    await asyncio.sleep(0)
    first.set()
    assert (await task).status == 200
    await draining

    stage = Stage({"a": REFUSED, "b": asyncio.Event()})
    task = asyncio.create_task(stage.invoke())
    while len(stage.posts) < 2:
        await asyncio.sleep(0)
    await stage.invoker.drain(0.0)
    assert (await task).status == 503
    assert stage.told == ("a", None, ErrorType.DRAINING, "b.test", 2)
    assert stage.at_rest()


async def test_a_defect_of_ours_loses_no_record() -> None:
    """What can't be told another name is the first model's failure."""

    class Unnamed(Worklet):
        def renamed(self, call: Call, model_id: str) -> Call:
            raise RuntimeError("a bug")

    stage = Stage({"a": BUSY, "b": GOOD, "c": GOOD})
    stage.protocol = Unnamed(LargeBodies())
    with capture_logs() as logged:
        assert (await stage.invoke()).status == 503
    assert [str(each["exc_info"]) for each in logged] == ["a bug"]
    assert stage.told[:3] == ("a", None, ErrorType.UPSTREAM_STATUS)
    assert stage.at_rest()


async def test_no_time_is_left_for_another() -> None:
    """Nothing is sent that could not be waited for."""

    async def slow(_body: bytes) -> Answer:
        time.sleep(0.02)  # noqa: ASYNC251  # the loop itself is late
        raise REFUSED

    stage = Stage({"b": GOOD}, a=model("a", fallback=("b",), timeout_s=0.01))
    stage.upstream = stage.invoker._upstream = FakeUpstream(slow)
    result = await stage.invoke()
    assert (result.status, stage.posts) == (502, ["a"])
    assert stage.told == ("a", None, ErrorType.CONNECT, "a.test", 1)


async def test_a_change_of_the_file_changes_no_call_that_has_begun() -> None:
    """Whose other models are those that there were; the next call has those that there are."""
    first = asyncio.Event()
    stage = Stage({"a": first, "b": GOOD, "c": GOOD})
    task = asyncio.create_task(stage.invoke())
    while not stage.posts:
        await asyncio.sleep(0)
    stage.invoker.swap(models(a=model("a", fallback=("c",)), c=model("c")))
    first.set()
    assert (await task).status == 200
    assert stage.told == ("b", "a", None, "b.test", 2)
    assert (await stage.invoke()).status == 200
    assert [record.model_id for record in stage.journal.records] == ["b", "c"]
    assert stage.at_rest()


def test_the_header_says_any_id() -> None:
    assert served_by_line("gpt-4o") == b"x-served-by: gpt-4o\r\n"
    assert served_by_line("a b/é%") == b"x-served-by: a%20b/%C3%A9%25\r\n"


@pytest.mark.parametrize(
    ("error", "status", "worth"),
    [
        (EndedError(Ending.FIRST_TOKEN), 200, True),
        (EndedError(Ending.IDLE), 200, True),
        (EndedError(Ending.IDLE, untaken=True), 200, False),
        (EndedError(Ending.DEADLINE), None, False),
        (EndedError(Ending.DRAIN), None, False),
        (InvalidAnswerError("no"), 200, True),
        (ReaderDiedError("lost"), 200, False),
        (UpstreamError(ErrorType.DRAINING, ""), None, False),
        (UpstreamError(ErrorType.OVERLOADED, ""), None, True),
        (UpstreamError(ErrorType.UPSTREAM_STATUS, ""), None, False),
    ],
)
def test_after_what_another_is_asked(error: Exception, status: int | None, worth: bool) -> None:
    """After what is the model's fault, or its upstream's, and as long as there is time."""
    assert is_for_another(error, status) is worth
