"""The models of patterns and of the settings' upstreams, beside those of the models file."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from invoker.front import upstream_lists
from invoker.http.pieces import Body
from invoker.routing.alias import Alias
from invoker.routing.credentials import credentials
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.models import Model, Models
from invoker.upstream.port import ConnectError, Exchange
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import FakeExchange, Gate

VERSION = {"anthropic_version": "2023-06-01"}
DEFAULT, TEAM = Model(single("http://default.test/v1"), 9.0), Model(single("http://team.test/v1"), 9.0)
NAMED = Model(single("http://named.test/v1"), 9.0)
DEFAULTS, TEAMS = "http://default.test/v1/models", "http://team.test/v1/models"


def listing(*names: str, **more: Any) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name, **more} for name in names]}).encode()


class Servers:
    """Several upstreams, and what each of them answers to whatever it is asked; the others are away."""

    def __init__(self, answers: Mapping[str, bytes | tuple[int, bytes] | Gate]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.headers: list[bytes] = []

    async def open(
        self, url: str, _body: Body, headers: bytes = b"", method: bytes = b"POST", _address: str = ""
    ) -> Exchange:
        assert method == b"GET"
        self.asked.append(url)
        self.headers.append(headers)
        answer = self.answers.get(url)
        if answer is None:
            raise ConnectError("away")
        if isinstance(answer, Gate):
            return FakeExchange(*await answer(b""))
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return FakeExchange(status, body, {})


@asynccontextmanager
async def served(models: Models, servers: Servers, protocol: str = "openai") -> AsyncIterator[Gateway]:
    gateway = Gateway(Models({}, None, dialects={protocol: models}))
    gateway.upstream.open = servers.open  # type: ignore[assignment,method-assign]
    async with started(gateway):
        yield gateway


async def ids(gateway: Gateway, **headers: str) -> list[str]:
    reply = await gateway.request("GET", "/v1/models", b"", **headers)
    assert reply.status == 200, reply.body
    return [model["id"] for model in reply.json["data"]]


async def test_each_is_listed_once_and_by_where_its_calls_go() -> None:
    """Of an upstream's list, the models that a call would bring there: those of the file, of a longer pattern, and of
    others come from elsewhere."""
    servers = Servers(
        {
            TEAMS: listing("team/a", "team/deep/b", "named", "other", owned_by="team"),
            "http://deep.test/v1/models": listing("team/deep/b", "team/deep/c", "team/a"),
            DEFAULTS: listing("x", "team/a", "named", "org/y"),
        }
    )
    deep = Model(single("http://deep.test/v1"), 9.0)
    models = Models({"named": NAMED}, DEFAULT, {"team/": TEAM, "team/deep/": deep})
    async with served(models, servers) as gateway:
        assert await ids(gateway) == ["named", "team/deep/b", "team/deep/c", "team/a", "x", "org/y"]
        listed = (await gateway.request("GET", "/v1/models")).json["data"]
        assert {"id": "team/a", "owned_by": "team"} in listed
        assert len(servers.asked) == 3  # the second time, they were kept


NO_LISTS: list[bytes | tuple[int, bytes]] = [(404, b"{}"), b"{", b"[]", b'{"data": 3}', b'{"data": [{"name": "a"}]}']


@pytest.mark.parametrize("answer", NO_LISTS)
async def test_a_dead_upstream_does_not_spoil_the_list(answer: bytes | tuple[int, bytes]) -> None:
    """Nor does one that lists none, or something else; if nobody lists any, that is said."""
    servers = Servers({DEFAULTS: listing("x"), TEAMS: answer})
    away = Model(single("http://away.test/v1"), 9.0)
    async with served(Models({}, DEFAULT, {"team/": TEAM, "away/": away}), servers) as gateway:
        assert await ids(gateway) == ["x"]
    async with served(Models({"m": NAMED}, None, {"team/": TEAM}), servers) as gateway:
        assert await ids(gateway) == ["m"]
    async with served(Models({}, None, {"team/": TEAM}), servers) as gateway:
        reply = await gateway.request("GET", "/v1/models")
        assert (reply.status, reply.json["error"]["type"]) == (502, "server_error")


async def test_a_list_without_bounds() -> None:
    """Is none; and of what is listed, what can't be an id is left out."""
    large = listing(*(f"team/{number}" for number in range(60_000)))
    servers = Servers({TEAMS: large, DEFAULTS: listing("x", "", "__overflow__", "a\n")})
    async with served(Models({}, DEFAULT, {"team/": TEAM}), servers) as gateway:
        assert await ids(gateway) == ["x"]


async def test_a_slow_upstream_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than for a moment."""
    monkeypatch.setattr(upstream_lists, "ASKED_S", 0.05)
    servers = Servers({TEAMS: Gate(), DEFAULTS: listing("x")})
    async with served(Models({}, DEFAULT, {"team/": TEAM}), servers) as gateway:
        assert await ids(gateway) == ["x"]


async def test_who_asks_at_the_same_time_asks_once() -> None:
    """And one that leaves takes nothing from the others."""
    gate = Gate((200, listing("team/a"), {}))
    servers = Servers({TEAMS: gate})
    async with served(Models({}, None, {"team/": TEAM}), servers) as gateway:
        several = [asyncio.create_task(ids(gateway)) for _ in range(5)]
        while not servers.asked:
            await asyncio.sleep(0)
        several[0].cancel()
        gate.opened.set()
        assert await asyncio.gather(*several[1:]) == [["team/a"]] * 4
    assert len(servers.asked) == 1


async def test_a_list_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is asked for anew then."""
    monkeypatch.setattr(upstream_lists, "KEPT_S", 0.01)
    servers = Servers({TEAMS: listing("team/a")})
    async with served(Models({}, None, {"team/": TEAM}), servers) as gateway:
        assert await ids(gateway) == ["team/a"]
        servers.answers[TEAMS] = listing("team/b")
        async with asyncio.timeout(10):
            while await ids(gateway) != ["team/b"]:
                await asyncio.sleep(0.001)


async def test_keys() -> None:
    """An upstream's own, or else its caller's: what one caller's key is shown, another's isn't."""
    secret = credentials("openai", "http://own.test/v1", key="s3cret")
    own = Model(Group([Endpoint("http://own.test/v1", "own", credentials=secret)]), 9.0)
    servers = Servers({"http://own.test/v1/models": listing("own/a"), TEAMS: listing("team/a")})
    async with served(Models({}, None, {"team/": TEAM, "own/": own}), servers) as gateway:
        for key in ("one", "two", "one"):
            assert await ids(gateway, Authorization=f"Bearer {key}", User_Agent=key) == ["team/a", "own/a"]
    told = [line.lower() for lines in servers.headers for line in lines.split(b"\r\n") if b"uthorization" in line]
    assert sorted({*told}) == [b"authorization: bearer " + key for key in (b"one", b"s3cret", b"two")]
    assert servers.asked.count(TEAMS) == 2


async def test_anthropics() -> None:
    """In its shape."""
    url = "http://claude.test/v1/models?limit=1000"
    claude = Model(single("http://claude.test"), 9.0)
    servers = Servers({url: listing("claude-a", "claude-b", "gpt")})
    async with served(Models({"m": NAMED}, None, {"claude-": claude}), servers, "anthropic") as gateway:
        listed = (await gateway.request("GET", "/v1/models", b"", **VERSION)).json
        assert [model["id"] for model in listed["data"]] == ["m", "claude-a", "claude-b"]
        assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("m", "claude-b", False)
    async with served(Models({}, None, {"claude-": claude}), Servers({url: listing("gpt")}), "anthropic") as gateway:
        listed = (await gateway.request("GET", "/v1/models", b"", **VERSION)).json
        assert listed == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_models_that_are_called_otherwise_here() -> None:
    """Are listed and described by the names that they are called by; of a pattern whose models are all one there, none
    is listed."""
    kept = Endpoint("http://team.test/v1", "t", alias=Alias("org/", kept_from=len("team/")))
    fixed = Endpoint("http://fixed.test/v1", "f", alias=Alias("one"))
    patterns = {"team/": Model(Group([kept]), 9.0), "any/": Model(Group([fixed]), 9.0)}
    servers = Servers(
        {
            TEAMS: listing("org/a", "b", "team/c", owned_by="o"),
            f"{TEAMS}/org%2Fa": b'{"id": "org/a", "n": 1.0}',
            "http://fixed.test/v1/models/one": b'{"id": "one"}',
        }
    )
    async with served(Models({}, None, patterns), servers) as gateway:
        assert await ids(gateway) == ["team/a"]
        for path in ("/v1/models/team/a", "/v1/models/team%2Fa"):
            assert (await gateway.request("GET", path)).body == b'{"id":"team/a","n":1.0}'
        assert (await gateway.request("GET", "/v1/models/any/x")).json == {"id": "any/x"}
    assert "http://fixed.test/v1/models" not in servers.asked


@pytest.mark.parametrize("status", [404, 405])
async def test_a_model_that_is_only_listed(status: int) -> None:
    """By a server that describes none by itself; one that isn't listed is not found, in its words."""
    none = status, b'{"detail": "Not Found"}'
    servers = Servers(
        {TEAMS: listing("team/a", n=1), f"{TEAMS}/team/a": none, f"{TEAMS}/team%2Fa": none, f"{TEAMS}/team/b": none}
    )
    async with served(Models({"m": NAMED}, None, {"team/": TEAM}), servers) as gateway:
        for path in ("/v1/models/team/a", "/v1/models/team%2Fa"):
            reply = await gateway.request("GET", path)
            assert (reply.status, reply.json) == (200, {"id": "team/a", "n": 1})
        reply = await gateway.request("GET", "/v1/models/team/b")
        assert (reply.status, reply.json) == (status, {"detail": "Not Found"})
        reply = await gateway.request("GET", "/v1/models/else")
        assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error")
