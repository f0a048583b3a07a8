"""Names that have several addresses: when they are several endpoints, and what is known of those that come and go."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable

import pytest

from invoker.routing.addresses import MAX_ADDRESSES, Name, name_of, several
from invoker.routing.ejection import FAILURES_IN_A_ROW
from invoker.routing.endpoints import MAX_GONE, Endpoint, Group
from invoker.routing.limits import Limit
from invoker.routing.models import Model, Models
from invoker.routing.names import AT_ONCE, Names, resolve
from invoker.routing.states import merged, states_of
from tests.invoker.conftest import until
from tests.invoker.fakes import FakeClock

V4, V6 = socket.AF_INET, socket.AF_INET6
A = Endpoint("http://a.test:8000/x", "a.test:8000", 3, 1)
B = Endpoint("http://10.0.0.1/x", "b")


def group(*endpoints: Endpoint) -> Group:
    return Group(endpoints)


def addresses_of(one: Group) -> list[str]:
    return [member.endpoint.address for member in one.members]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], ()),
        ([(V4, "10.0.0.1")], ()),
        ([(V6, "::1"), (V4, "127.0.0.1")], ()),
        ([(V4, "10.0.0.1"), (V4, "10.0.0.1")], ()),
        ([(V4, "10.0.0.2"), (V4, "10.0.0.1")], ("10.0.0.1", "10.0.0.2")),
        ([(V6, "fd00::1"), (V4, "10.0.0.2"), (V4, "10.0.0.1")], ("10.0.0.1", "10.0.0.2")),
        ([(V6, "fd00::2"), (V4, "10.0.0.2"), (V6, "fd00::1"), (V4, "10.0.0.1")], ("fd00::1", "fd00::2")),
        ([(V4, "10.0.0.2"), (V6, "fd00::2"), (V6, "fd00::1"), (V4, "10.0.0.1")], ("10.0.0.1", "10.0.0.2")),
    ],
)
def test_several_of_a_family_are_several_endpoints(found: list[tuple[int, str]], expected: tuple[str, ...]) -> None:
    """In whatever order; one of each family is one."""
    assert several(found) == expected


def test_addresses_have_a_bound() -> None:
    found = [(V4, f"10.0.{number // 256}.{number % 256}") for number in range(1000)]
    assert len(several(found)) == MAX_ADDRESSES
    assert several(reversed(found)) == several(found)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://a.test/x", Name("a.test", 80)),
        ("https://u:p@A.test/x", Name("a.test", 443)),
        ("http://localhost:8001/", Name("localhost", 8001)),
        ("http://b\u00fccher.test", Name("xn--bcher-kva.test", 80)),
        ("http://10.0.0.1/", None),
        ("http://[::1]:80/", None),
        ("http+unix://%2Frun%2Fm.sock/x", None),
    ],
)
def test_only_names_are_looked_up(url: str, name: Name | None) -> None:
    assert name_of(url) == name


def test_each_address_is_an_endpoint_of_its_own() -> None:
    """With its name's weight, priority and limit; and by its name in records."""
    limited = group(Endpoint(A.url, A.name, 3, 1, limit=Limit(5)), B)
    assert limited.spread(lambda endpoint: ("1", "2") if endpoint.name != "b" else ())
    assert addresses_of(limited) == ["", "1", "2"]
    first, second = limited.members[1:]
    assert (second.weight, second.priority, second.endpoint.name) == (3, 1, "a.test:8000")
    assert first.endpoint.limit is second.endpoint.limit
    assert not limited.spread(lambda endpoint: ("1", "2") if endpoint.name != "b" else ())
    states = states_of(Models({"m": Model(limited, 1.0)}, None), FakeClock())
    assert [(state.name, state.address) for state in states] == [("b", ""), ("a.test:8000", "1"), ("a.test:8000", "2")]
    assert len(merged([states, states]).upstreams) == 3


def test_an_only_endpoint_is_one_again_when_its_name_has_one_address() -> None:
    one = group(A)
    assert one.only is one.members[0]
    assert not one.has_addresses
    assert one.spread(lambda _endpoint: ("1", "2"))
    assert [one.only, one.has_addresses] == [None, True]
    assert one.spread(lambda _endpoint: ())
    assert one.only is one.members[0]
    assert not one.has_addresses


def test_what_comes_back_has_its_calls_still() -> None:
    """Whether its address or its table was away; and it is out still, if it was."""
    one = group(A)
    one.spread(lambda _endpoint: ("1", "2", "3"))
    first, second, third = one.members
    first.outstanding = 2
    for _ in range(FAILURES_IN_A_ROW):
        second.outstanding += 1
        one.give_back(second, "connect", "refused", 0, 1)
    one.spread(lambda _endpoint: ("4",))
    one.spread(lambda _endpoint: ("5", "6"))
    one.give_back(first, "success", "", 0, 1)
    one.spread(lambda _endpoint: ("1", "2", "3"))
    assert (one.members[0] is first, one.members[1] is second, one.members[2] is third) == (True, True, False)
    assert (first.outstanding, second.health.is_in) == (1, False)
    again, other = group(A), group(A)
    again.carry_over(one)
    assert all(old is new for old, new in zip(one.members, again.members, strict=True))
    assert again.has_addresses
    other.spread(lambda _endpoint: ("9", "10"))
    other.carry_over(again)
    assert addresses_of(other) == ["1", "2", "3"]


def test_what_is_gone_has_a_bound() -> None:
    one = group(A)
    for number in range(2 * MAX_GONE):
        one.spread(lambda _endpoint: (str(number), "x"))  # noqa: B023  # called at once
        one.members[0].outstanding = 1
    assert len(one._gone) == MAX_GONE


class FakeResolver:
    """Answers what it is told to; `asked`: what it was."""

    def __init__(self) -> None:
        self.found: dict[str, list[str] | OSError] = {}
        self.asked: list[str] = []
        self.at_once = self.most = 0

    async def __call__(self, host: str, port: int) -> Iterable[tuple[int, str]]:
        assert port == 8000
        self.asked.append(host)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        found = self.found[host]
        if isinstance(found, OSError):
            raise found
        return [(V4, address) for address in found]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up again at once."""
    monkeypatch.setattr("invoker.routing.names.INTERVAL_S", 0.005)


@contextlib.asynccontextmanager
async def running(resolver: FakeResolver) -> AsyncIterator[tuple[Names, list[Models]]]:
    """`changed`: the models whose endpoints came or went."""
    changed: list[Models] = []
    names = Names(resolver, changed.append)
    task = asyncio.create_task(names.run())
    try:
        yield names, changed
    finally:
        task.cancel()
        assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


def models(**groups: Group) -> Models:
    return Models({name: Model(one, 1.0) for name, one in groups.items()}, None)


async def test_a_name_is_looked_up_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Once for all tables; what a failed lookup would change stays as it is."""
    resolver = FakeResolver()
    resolver.found["a.test"] = ["1", "2"]
    first, second = group(A), group(A, B)
    async with running(resolver) as (names, changed):
        names.follow(models(first=first, second=second))
        await until(lambda: (addresses_of(first), addresses_of(second)) == (["1", "2"], ["", "1", "2"]))
        resolver.found["a.test"] = ["3", "2", "1"]
        await until(lambda: addresses_of(first) == ["1", "2", "3"])
        assert len(changed) == 2
        resolver.found["a.test"] = OSError("no answer")
        count = len(resolver.asked)
        await until(lambda: len(resolver.asked) > count + 5)
        assert addresses_of(first) == ["1", "2", "3"]
        resolver.found["a.test"] = ["1"]
        await until(lambda: addresses_of(first) == [""])
        assert resolver.most == 1
    told = capsys.readouterr().out
    assert [told.count(f"names.{event}") for event in ("addresses", "not_known", "known_again")] == [3, 1, 1]


async def test_other_models_are_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """At once; names that they haven't are looked up no more, and what is known of the others needs no lookup."""
    resolver = FakeResolver()
    resolver.found = {"a.test": ["1", "2"], "c.test": ["3", "4"]}
    c = Endpoint("http://c.test:8000/", "c")
    async with running(resolver) as (names, changed):
        await asyncio.sleep(0.01)
        assert resolver.asked == []
        names.follow(models(m=group(A, B)))
        await until(lambda: changed)
        later = group(A, c)
        names.follow(models(n=later))
        assert addresses_of(later) == ["", "1", "2"]
        await until(lambda: len(later.members) == 4)
        names.follow(models(n=group(c)))
        await until(lambda: resolver.asked[-5:] == ["c.test"] * 5)
        names.follow(models(n=group(B)))
        await asyncio.sleep(0.02)
        count = len(resolver.asked)
        await asyncio.sleep(0.02)
        assert len(resolver.asked) == count
    assert "names.not_known" not in capsys.readouterr().out


async def test_few_lookups_at_once() -> None:
    """New connections need the system's threads for them, too."""
    resolver = FakeResolver()
    names_of_all = [f"{number}.test" for number in range(50)]
    resolver.found = {name: ["1", "2"] for name in names_of_all}
    one = group(*(Endpoint(f"http://{name}:8000/", name) for name in names_of_all))
    async with running(resolver) as (names, _):
        names.follow(models(m=one))
        await until(lambda: len(one.members) == 100)
        assert resolver.most == AT_ONCE


async def test_a_lookup_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go on."""
    monkeypatch.setattr("invoker.routing.names.TIMEOUT_S", 0.01)

    async def hang(host: str, port: int) -> Iterable[tuple[int, str]]:
        if host == "a.test":
            await asyncio.sleep(60)
        return [(V4, "1"), (V4, str(port))]

    one = group(A, Endpoint("http://c.test:8000/", "c"))
    names = Names(hang, lambda _models: None)
    task = asyncio.create_task(names.run())
    names.follow(models(m=one))
    await until(lambda: len(one.members) == 3)
    task.cancel()


async def test_the_system_s_own_answer() -> None:
    """`localhost` is one endpoint, whatever families it has."""
    found = [*await resolve("localhost", 80)]
    assert {address for _, address in found} <= {"127.0.0.1", "::1"}
    assert (found != [], several(found)) == (True, ())
