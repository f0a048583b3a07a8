"""Probes on real connections: what is sent, what counts, and that none outlives its endpoint."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from invoker.routing.credentials import Credentials
from invoker.routing.ejection import NEW
from invoker.routing.endpoints import Endpoint, Group
from invoker.routing.models import Model, Models
from invoker.routing.probes import AT_ONCE, Probes
from invoker.routing.probing import HealthCheck
from invoker.routing.states import merged, states_of
from invoker.upstream.pool import PooledUpstream
from invoker.upstream.port import UpstreamError
from shared.clock import SystemClock
from shared.record import ErrorType
from tests.invoker.conftest import until
from tests.invoker.fakes import Answer, FakeClock, FakeUpstream
from tests.invoker.front.hostile import Connection, HostileServer, http, serving

SOON = HealthCheck("/health?deep=1", interval_s=0.01, timeout_s=5, failures=2, successes=2)
GONE = Endpoint("http://127.0.0.1:1/x", "gone")


class Asked:
    """A model server that says how it is; `most`: so many probes at one time."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.status = "200 OK"
        self.now = self.most = 0

    async def __call__(self, connection: Connection) -> None:
        while True:
            self.heads.append(await connection.head())
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            await connection.send(http(b"{}", status=self.status))


@contextlib.asynccontextmanager
async def probing(clock: SystemClock | FakeClock) -> AsyncIterator[tuple[Probes, PooledUpstream]]:
    upstream = PooledUpstream(clock, 1000)
    probes = Probes(upstream, clock)
    try:
        yield probes, upstream
    finally:
        await probes.close()
        await upstream.close()
        assert tasks() == []


def tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("probe ")]


def of(server: HostileServer, check: HealthCheck = SOON, credentials: Credentials | None = None) -> Endpoint:
    url = server.url.replace("http://", "http://user:s3cret@")
    return Endpoint(url, "a", credentials=credentials, health=check)


def table(*endpoints: Endpoint) -> Model:
    return Model(Group(endpoints), 1.0)


async def test_an_endpoint_goes_out_and_comes_back_as_its_probes_say() -> None:
    """A GET of a path of its origin, with what the endpoint is told of keys; one at a time, over one connection."""
    asked = Asked()
    async with serving(asked) as server, probing(SystemClock()) as (probes, _):
        model = table(of(server, credentials=Credentials({"X-Key": "k3y"})), GONE)
        member = model.group.members[0]
        probes.follow(Models({"m": model}, None))
        await until(lambda: len(asked.heads) > 3)
        assert member.health.is_in
        asked.status = "503 Service Unavailable"
        await until(lambda: not member.health.is_in)
        assert member.health.reason == "its probes fail, the last: answered 503"
        asked.status = "299 Well"
        await until(lambda: member.health.is_in)
        (head,) = {*asked.heads}
        assert head.startswith(b"GET /health?deep=1 HTTP/1.1\r\nHost: ")
        assert b"\r\nX-Key: k3y\r\n" in head
        assert b"\r\nAuthorization: Basic dXNlcjpzM2NyZXQ=\r\n" in head
        assert (asked.most, server.accepted) == (1, 1)
        assert (member.outstanding, member.tally.attempts) == (0, Counter())


async def test_an_endpoint_on_a_unix_socket_is_asked_there(tmp_path: Path) -> None:
    asked = Asked()
    async with serving(asked, tmp_path / "s") as server, probing(SystemClock()) as (probes, _):
        model = table(Endpoint(server.url, "a", health=SOON), GONE)
        probes.follow(Models({"m": model}, None))
        await until(lambda: asked.heads)
        assert asked.heads[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\n")
        assert model.group.members[0].health.is_in


async def test_each_address_of_a_name_is_asked_for_itself() -> None:
    """Each goes out and comes back by itself."""
    upstream = FakeUpstream(lambda _body: answer())

    async def answer() -> Answer:
        return (500 if upstream.addresses[-1] == "2" else 200), b"", {}

    group = Group([Endpoint("http://a.test/", "a", health=SOON)])
    group.spread(lambda _endpoint: ("1", "2", "3"))
    probes = Probes(upstream, SystemClock())
    probes.follow(Models({"m": Model(group, 1.0)}, None))
    await until(lambda: not all(member.health.is_in for member in group.members))
    await until(lambda: {*upstream.addresses} == {"1", "2", "3"})
    assert [member.health.is_in for member in group.members] == [True, False, True]
    await probes.close()


async def test_equal_ones_are_asked_once() -> None:
    """Of all tables; those that differ in what they are asked, or with which key, each for itself."""
    asked = Asked()
    async with serving(asked) as server, probing(SystemClock()) as (probes, _):
        key = Credentials({"X-Key": "1"})
        same = [table(of(server), GONE) for _ in range(3)]
        others = [table(of(server, credentials=key)), table(of(server, HealthCheck("/", 0.01)))]
        named = {str(at): each for at, each in enumerate([*same, *others])}
        probes.follow(Models({}, None, dialects={"openai": Models(named, None)}))
        assert len(tasks()) == 3
        asked.status = "500 Oh No"
        await until(lambda: not any(each.group.members[0].health.is_in for each in same))


async def test_probes_end_with_their_endpoints() -> None:
    """When another models file hasn't got them; what is known of those that stay, stays."""
    asked, other = Asked(), Asked()
    asked.status = other.status = "500 Oh No"
    async with serving(asked) as server, serving(other) as stays, probing(SystemClock()) as (probes, upstream):
        before = Models({"m": table(of(server), of(stays)), "n": table(of(stays), GONE)}, None)
        probes.follow(before)
        member = next(before.tables())[2].group.members[1]
        await until(lambda: not member.health.is_in)
        after = Models({"n": table(of(stays), GONE), "p": table(of(stays), GONE)}, None)
        after.carry_over(before)
        probes.follow(after)
        assert len(tasks()) <= 2
        of_p = [*after.tables()][1][2].group.members[0]
        assert (of_p.health.is_in, of_p.health.reason) == (False, "its probes fail, the last: answered 500")
        await asyncio.sleep(0)
        assert len(tasks()) == 1
        count, there = len(asked.heads), len(other.heads)
        await until(lambda: len(other.heads) > there + 5)
        assert len(asked.heads) <= count + 1  # one may have been on its way
        unprobed = Models({"p": table(Endpoint(of(stays).url, "a"), GONE)}, None)
        unprobed.carry_over(after)
        probes.follow(unprobed)
        assert (of_p.health.is_in, of_p.probed) == (True, None)
        await upstream.close()
        await asyncio.wait_for(asyncio.gather(server.all_closed.wait(), stays.all_closed.wait()), 10)


async def test_one_that_hangs_has_failed() -> None:
    """Its connection is closed, and no second one is made meanwhile; what has begun to answer has answered."""

    async def hang(connection: Connection) -> None:
        await connection.head()
        await connection.closed_by_peer()

    async def begin(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nwell")
        await connection.closed_by_peer()

    check = HealthCheck("/", 0.01, 0.05, 1, 1)
    async with serving(hang) as hanging, serving(begin) as begun, probing(SystemClock()) as (probes, _):
        model = table(of(hanging, check), of(begun, check))
        first, second = model.group.members
        probes.follow(Models({"m": model}, None))
        await until(lambda: first.probed is not None and first.probed.failure and hanging.accepted > 2)
        assert first.health.reason == "its probes fail, the last: no answer within 0.05 s"
        assert hanging.open <= 1
        await until(lambda: second.probed is not None and second.probed.at_us)
        assert second.health.is_in


async def test_what_is_our_own_fault_is_not_the_endpoint_s(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is known then; nor after a defect, which is told once."""
    errors: list[Exception] = [UpstreamError(ErrorType.GATEWAY_ERROR, "no files")] * 3
    errors += [ZeroDivisionError()] * 3

    async def fail(_body: bytes) -> Answer:
        raise errors.pop() if errors else UpstreamError(ErrorType.CONNECT, "refused k3y-of-it")

    upstream = FakeUpstream(fail)
    probes = Probes(upstream, SystemClock())
    endpoint = Endpoint("http://h/", "a", credentials=Credentials({"X": "k3y-of-it"}), health=SOON)
    model = table(endpoint, GONE)
    member = model.group.members[0]
    probes.follow(Models({"m": model}, None))
    await until(lambda: not errors and member.health.is_in)
    await until(lambda: not member.health.is_in)
    assert member.health.reason == "its probes fail, the last: refused ***"
    await probes.close()
    assert capsys.readouterr().out.count("probes.defect") == 1


async def test_so_many_at_once() -> None:
    """Others wait for their turn, which is no failure of theirs."""
    waiting = 0
    go = asyncio.Event()

    async def answer(_body: bytes) -> Answer:
        nonlocal waiting
        waiting += 1
        await go.wait()
        return 200, b"", {}

    probes = Probes(FakeUpstream(answer), SystemClock())
    check = HealthCheck("/", 0.01, 60)
    group = Group([Endpoint(f"http://h:{port + 1}/", str(port), health=check) for port in range(AT_ONCE + 10)])
    probes.follow(Models({"m": Model(group, 1.0)}, None))
    await until(lambda: waiting == AT_ONCE)
    await asyncio.sleep(0.05)
    assert waiting == AT_ONCE
    go.set()
    await until(lambda: all(member.probed is not None and member.probed.at_us for member in group.members))
    assert all(member.probed is not None and not member.probed.failure for member in group.members)
    await probes.close()


async def test_an_only_one_is_never_out_and_its_probes_are_shown() -> None:
    """Of all workers, the last probe is."""
    asked, clock = Asked(), FakeClock()
    asked.status = "500 Oh No"
    async with serving(asked) as server, probing(clock) as (probes, _):
        models = Models({"m": table(of(server))}, None)
        clock.elapsed_us = 1_000_000
        probes.follow(models)
        assert states_of(models, clock)[0].probe is None
        await until(lambda: len(asked.heads) > 5)
        (member,) = next(models.tables())[2].group.members
        assert (member.health, models.find("m") is not None) == (NEW, True)
        earlier = states_of(models, clock)
        clock.elapsed_us = 61_000_000
        asked.status = "200 OK"
        await until(lambda: member.probed is not None and member.probed.at_us == 61_000_000)
        (state,) = merged([states_of(models, clock), earlier]).upstreams
        assert state.state == "in"
        assert state.probe is not None
        assert (state.probe.path, state.probe.at[:19]) == ("/health?deep=1", "2024-01-15T10:31:01")
