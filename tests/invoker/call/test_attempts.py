"""Where the attempts of a call go, and what each says of its endpoint."""

from collections.abc import Mapping
from random import Random
from types import MappingProxyType

import pytest

from invoker.call.attempts import retry_after_s
from invoker.routing.ejection import FAILURES_IN_A_ROW, FIRST_US
from invoker.routing.endpoints import LONGEST_COOL_US, SHORTEST_COOL_US, Endpoint, Group
from invoker.routing.limits import Limit
from invoker.routing.models import Model
from invoker.upstream.port import ConnectError, UpstreamError
from shared.record import ErrorType
from tests.invoker.call.test_invocation import Domain
from tests.invoker.fakes import GOOD, START_US, Answer, FakeClock, models

HOSTS = ("http://a/", "http://b/", "http://c/")


class Hosts:
    """Model servers: what each does with every call."""

    def __init__(
        self,
        does: Mapping[str, Answer | Exception],
        limits: Mapping[str, Limit] = MappingProxyType({}),
        **settings: object,
    ) -> None:
        self.does = dict(does)
        endpoints = [Endpoint(url, url[7], limit=limits.get(url[7])) for url in self.does]
        self.group = Group(endpoints, Random(1))
        self.model = Model(self.group, 60.0, **{"retries": len(endpoints) - 1, "retry_busy": True, **settings})  # type: ignore[arg-type]
        self.domain = Domain(self._answer, models(m=self.model))

    async def _answer(self, _body: bytes) -> Answer:
        url, _ = self.domain.upstream.posts[-1]
        if isinstance(done := self.does[url], Exception):
            raise done
        return done

    async def invoke(self) -> int:
        return (await self.domain.invoke())[0]

    @property
    def posts(self) -> list[str]:
        return [url[7] for url, _ in self.domain.upstream.posts]

    def is_in(self, name: str) -> bool:
        (member,) = (each for each in self.group.members if each.endpoint.name == name)
        return member.health.is_in

    def attempts(self) -> dict[str, int]:
        return dict(
            sum(
                (each.tally.attempts for each in self.group.members), start=type(self.group.members[0].tally.attempts)()
            )
        )


BUSY: Answer = (429, b"{}", {})
REFUSED = ConnectError("refused")


async def test_another_endpoint_is_tried_at_once() -> None:
    """Where nothing can have been received. One record says which one answered, and how many were tried."""
    hosts = Hosts({"http://a/": REFUSED, "http://b/": GOOD})
    while "a" not in hosts.posts:
        assert await hosts.invoke() == 200
    assert hosts.posts[-2:] == ["a", "b"]
    record = hosts.domain.journal.records[-1]
    assert (record.success, record.upstream, record.status_code, record.attempts) == (True, "b", 200, 2)
    assert len(hosts.domain.journal.records) == hosts.attempts()["success"]
    assert hosts.domain.at_rest()
    assert [each.outstanding for each in hosts.group.members] == [0, 0]


async def test_each_address_of_a_name_is_tried() -> None:
    """As a connection to the name would; whatever the model's retries, and without any of its budget. One that has no
    room is no reason to try another."""
    hosts = Hosts({"http://a/": REFUSED}, retries=0, retry_busy=True)
    hosts.group.spread(lambda _endpoint: ("1", "2", "3"))
    for call in range(1, FAILURES_IN_A_ROW + 1):
        assert await hosts.invoke() == 502
        assert sorted(hosts.domain.upstream.addresses[-3:]) == ["1", "2", "3"]
        assert len(hosts.posts) == 3 * call
    assert hosts.domain.journal.records[0].attempts == 3
    hosts.group.spread(lambda _endpoint: ("4", "5"))
    before = len(hosts.posts)
    hosts.does["http://a/"] = BUSY
    assert (await hosts.invoke(), len(hosts.posts)) == (429, before + 1)
    assert hosts.group.budget.spent == 0
    assert {record.upstream for record in hosts.domain.journal.records} == {"a"}


async def test_a_name_that_becomes_one_or_several_during_a_call_takes_no_count_away() -> None:
    """Each call ends where it began."""
    hosts = Hosts({"http://a/": GOOD})
    later: list[tuple[str, ...]] = [("1", "2"), (), ("1", "2"), ("3", "4")]
    seen = [*hosts.group.members]

    async def answer(_body: bytes) -> Answer:
        hosts.group.spread(lambda _endpoint: later[len(hosts.posts) - 1])
        seen.extend(hosts.group.members)
        return GOOD

    hosts.domain.upstream._script = answer
    for _ in later:
        assert await hosts.invoke() == 200
    assert {member.outstanding for member in seen} == {0}
    assert sum({id(member): member.tally.attempts["success"] for member in seen}.values()) == len(later)


async def test_what_may_have_been_received_is_not_tried_again() -> None:
    for error in (
        UpstreamError(ErrorType.CONNECT, "closed without an answer"),
        UpstreamError(ErrorType.INVALID_RESPONSE, "broke off"),
        UpstreamError(ErrorType.GATEWAY_ERROR, "no ports left"),
    ):
        hosts = Hosts({"http://a/": error, "http://b/": error})
        await hosts.invoke()
        assert len(hosts.posts) == 1
    hosts = Hosts(dict.fromkeys(HOSTS, (500, b"", {})))
    assert (await hosts.invoke(), len(hosts.posts)) == (502, 1)


async def test_each_endpoint_is_tried_once_before_any_twice() -> None:
    hosts = Hosts(dict.fromkeys(HOSTS, REFUSED), retries=2)
    assert await hosts.invoke() == 502
    assert sorted(hosts.posts) == ["a", "b", "c"]
    assert hosts.attempts() == {"connect": 3}
    assert [record.error_type for record in hosts.domain.journal.records] == [ErrorType.CONNECT]


async def test_one_without_room_is_left_alone_by_that_model() -> None:
    """Another one is tried; and for as long as it says, or for a second, it isn't asked by this model again."""
    for headers, cool_us in (
        ({}, SHORTEST_COOL_US),
        ({b"retry-after": b"7"}, 7_000_000),
        ({b"retry-after": b"1000"}, LONGEST_COOL_US),
        ({b"retry-after": b"soon"}, SHORTEST_COOL_US),
    ):
        hosts = Hosts({"http://a/": (429, b"{}", headers), "http://b/": GOOD})
        while "a" not in hosts.posts:
            assert await hosts.invoke() == 200
        before = len(hosts.posts)
        for _ in range(20):
            await hosts.invoke()
        assert set(hosts.posts[before:]) == {"b"}
        hosts.domain.clock.elapsed_us += cool_us
        for _ in range(20):
            await hosts.invoke()
        assert "a" in hosts.posts[before:]
        assert hosts.is_in("a")


async def test_the_last_answer_of_those_without_room_is_the_callers() -> None:
    """With its status and Retry-After."""
    hosts = Hosts({"http://a/": BUSY, "http://b/": (503, b"{}", {b"retry-after": b"7"})})
    status = await hosts.invoke()
    assert status == {"a": 429, "b": 503}[hosts.posts[-1]]
    assert sorted(hosts.posts) == ["a", "b"]
    (record,) = hosts.domain.journal.records
    assert (record.error_type, record.status_code, record.attempts) == (ErrorType.UPSTREAM_STATUS, status, 2)
    assert hosts.attempts() == {"busy": 2}


async def test_a_model_may_forbid_it() -> None:
    hosts = Hosts({"http://a/": BUSY, "http://b/": BUSY}, retry_busy=False)
    assert (await hosts.invoke(), len(hosts.posts)) == (429, 1)


async def test_an_endpoint_that_fails_is_out_and_comes_back() -> None:
    """Until then no call goes there but its trial."""
    hosts = Hosts({"http://a/": (500, b"", {}), "http://b/": GOOD})
    while hosts.posts.count("a") < FAILURES_IN_A_ROW:
        await hosts.invoke()
    assert (hosts.is_in("a"), hosts.is_in("b")) == (False, True)
    for _ in range(50):
        assert await hosts.invoke() == 200
    assert hosts.posts.count("a") == FAILURES_IN_A_ROW
    hosts.does["http://a/"] = GOOD
    hosts.domain.clock.elapsed_us += 2 * FIRST_US
    assert await hosts.invoke() == 200
    assert (hosts.posts[-1], hosts.is_in("a")) == ("a", True)


@pytest.mark.parametrize("status", [400, 404, 422, 429, 499])
async def test_what_is_the_callers_fault_is_not_the_endpoints(status: int) -> None:
    hosts = Hosts({"http://a/": (status, b"", {}), "http://b/": (status, b"", {})}, retries=0)
    for _ in range(10 * FAILURES_IN_A_ROW):
        await hosts.invoke()
    assert (hosts.is_in("a"), hosts.is_in("b")) == (True, True)


async def test_an_outage_is_not_made_worse() -> None:
    """Of 100 calls that all fail, each of which may be tried three times, a fifth is tried again."""
    hosts = Hosts(dict.fromkeys(HOSTS, REFUSED), retries=2)
    for _ in range(100):
        await hosts.invoke()
    assert 100 < len(hosts.posts) <= 120


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"", None), (b"7", 7.0), (b"0", 0.0), (b"9" * 30, 999_999_999.0), (b"-1", None),
     (b"Mon, 15 Jan 2024 10:30:05 GMT", 5.0),
     (b"Mon, 15 Jan 2024 10:29:00 GMT", 0.0), (b"Mon, 99 Jan 2024", None), (b"\xff", None), (b"1e9", None)],
)  # fmt: skip
def test_when_to_come_again(value: bytes, seconds: float | None) -> None:
    assert START_US == 1_705_314_600_000_000
    assert retry_after_s(value, FakeClock()) == seconds


async def test_a_call_for_which_no_endpoint_has_room_is_refused() -> None:
    """No attempt is counted, and no endpoint is to blame. Each end of a call leaves its place."""
    limits = {"a": Limit(1), "b": Limit(1)}
    hosts = Hosts({"http://a/": GOOD, "http://b/": (500, b"", {})}, limits)
    while len({*hosts.posts}) < 2:
        await hosts.invoke()
    assert all(limits[name].take() for name in "ab")
    assert await hosts.invoke() == 429
    record = hosts.domain.journal.records[-1]
    assert (record.error_type, record.attempts, record.upstream) == (ErrorType.OVERLOADED, 0, None)
    assert sum(hosts.attempts().values()) == len(hosts.posts)
    limits["b"].leave()
    assert await hosts.invoke() == 502
    limits["a"].leave()
    assert hosts.domain.at_rest()


async def test_a_call_is_tried_again_only_where_there_is_room() -> None:
    """What the first endpoint said is the answer, if none has any beside it."""
    for full, posts, status in ((("b",), ["a"], 502), ((), ["a", "b"], 200)):
        limits = {"a": Limit(1), "b": Limit(1)}
        hosts = Hosts({"http://a/": REFUSED, "http://b/": GOOD}, limits)
        hosts.group.members[0].weight = 1000
        for name in full:
            assert limits[name].take()
        while hosts.posts[:1] != ["a"]:
            hosts.domain.upstream.posts.clear()
            assert await hosts.invoke() == status
        assert hosts.posts == posts
        for name in full:
            limits[name].leave()
        assert hosts.domain.at_rest()


async def test_attempts_of_records_add_up_to_those_of_upstreams() -> None:
    """Those that were followed by another one, too, and what was asked anew without the question for its usage."""
    hosts = Hosts({"http://a/": REFUSED, "http://b/": BUSY, "http://c/": GOOD}, retries=2)
    for _ in range(30):
        await hosts.invoke()
        hosts.domain.clock.elapsed_us += 1_000_000
    assert sum(record.attempts or 0 for record in hosts.domain.journal.records) == sum(hosts.attempts().values())
    assert hosts.attempts().keys() == {"connect", "busy", "success"}
    retries = hosts.domain.invoker.retries
    assert [*sorted(retries.made)] == ["busy", "connect"]
    assert retries.made.total() == sum(hosts.attempts().values()) - 30


async def test_what_is_not_tried_again_for_want_of_budget_is_counted() -> None:
    """By why it would have been; not what had no time or no other upstream."""
    hosts = Hosts({"http://a/": BUSY, "http://b/": BUSY})
    for _ in range(20):
        await hosts.invoke()
    retries = hosts.domain.invoker.retries
    assert ([*retries.made], [*retries.denied]) == (["busy"], ["busy"])
    assert retries.made["busy"] + retries.denied["busy"] == 20
    alone = Hosts({"http://a/": REFUSED}, retries=0)
    await alone.invoke()
    assert not alone.domain.invoker.retries.denied


@pytest.mark.parametrize("hosts", [("http://a/",), ("http://a/", "http://b/")])
async def test_how_long_the_head_of_an_answer_took(hosts: tuple[str, ...]) -> None:
    """Of each attempt that got one, by itself."""
    servers = Hosts(dict.fromkeys(hosts, GOOD), retries=0)
    answer = servers._answer

    async def slow(body: bytes) -> Answer:
        servers.domain.clock.elapsed_us += 30_000
        return await answer(body)

    servers.domain.upstream._script = slow
    await servers.invoke()
    servers.does = dict.fromkeys(hosts, REFUSED)
    await servers.invoke()
    heads = [each.tally.heads.report() for each in servers.group.members]
    assert (sum(one["0.05"] for one in heads), sum(one["sum_us"] for one in heads)) == (1, 30_000)


async def test_each_time_that_an_endpoint_is_left_out_counts() -> None:
    """A trial that fails leaves it out for longer."""
    hosts = Hosts({"http://a/": (500, b"", {}), "http://b/": GOOD})
    (first,) = (each for each in hosts.group.members if each.endpoint.name == "a")
    while hosts.is_in("a"):
        await hosts.invoke()
    assert first.tally.ejections == 1
    hosts.domain.clock.elapsed_us += 2 * FIRST_US
    await hosts.invoke()
    assert (first.tally.ejections, hosts.is_in("a")) == (2, False)
