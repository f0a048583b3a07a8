"""Keys and headers that the models file gives an upstream: what is sent, and that nobody is told."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from invoker.call.invocation import Invoker
from invoker.http.pieces import Pieces
from invoker.http.trace import Trace
from invoker.models_file.reading import load_models
from invoker.protocols.base import Call
from invoker.protocols.openai import OpenAI
from invoker.routing.credentials import Credentials, credentials
from invoker.routing.endpoints import Endpoint, single
from invoker.routing.models import Model, Models
from invoker.upstream.pool import PooledUpstream
from invoker.upstream.port import ERROR_BODY_CHARS, status_error
from shared.clock import SystemClock
from shared.settings import StartupError
from tests.invoker.fakes import Answer, FakeClock, FakeJournal, FakeUpstream, Gate
from tests.invoker.front.hostile import Connection, http, serving
from tests.invoker.models_file.test_reading import UP, settings, written
from tests.invoker.protocols.test_passing import NoLargeBodies

SECRET = 'sk-"a/b+c==&\\x'
LINES = b"authorization: Bearer theirs\r\nx-api-key: theirs\r\nX-Kept: 1\r\napi-key: theirs\r\n"


def loaded(directory: Path, table: str) -> Endpoint:
    models = load_models(settings(written(directory, f"[a]\n{UP}{table}"), upstream_url="", openai_url=""))
    found = models.find("a") or models.find("a", "openai") or models.find("a", "anthropic")
    assert found is not None
    return found.group.members[0].endpoint


def sent(model: Endpoint, lines: bytes = LINES) -> bytes:
    assert model.credentials is not None
    return model.credentials.put_into(lines)


@pytest.mark.parametrize(
    ("protocol", "line"),
    [
        ("worklet", b"Authorization: Bearer sk-1234\r\n"),
        ("openai", b"Authorization: Bearer sk-1234\r\n"),
        ("anthropic", b"x-api-key: sk-1234\r\n"),
    ],
)
@pytest.mark.parametrize("source", ["variable", "file", "file beside it"])
def test_an_upstreams_own_key_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str, line: bytes, source: str
) -> None:
    """As its protocol has it, in place of whatever key its callers have."""
    monkeypatch.setenv("A_KEY", "sk-1234")
    (tmp_path / "key").write_bytes(b"sk-1234\r\n")
    field = {
        "variable": "api_key_env = 'A_KEY'",
        "file": f"api_key_file = '{tmp_path}/key'",
        "file beside it": "api_key_file = 'key'",
    }[source]
    assert sent(loaded(tmp_path, f"protocol = '{protocol}'\n{field}")) == b"X-Kept: 1\r\n" + line


def test_headers_are_sent_beside_the_callers(tmp_path: Path) -> None:
    """They replace those of the same name; a caller's key stays, if none of them is one."""
    model = loaded(tmp_path, "headers = { x-kept = 'ours', Anthropic-Beta = 'a, b' }")
    assert sent(model) == LINES.replace(b"X-Kept: 1\r\n", b"") + b"x-kept: ours\r\nAnthropic-Beta: a, b\r\n"
    model = loaded(tmp_path, "headers = { API-Key = 'ours' }")
    assert sent(model) == b"X-Kept: 1\r\nAPI-Key: ours\r\n"


def test_without_any_nothing_changes(tmp_path: Path) -> None:
    """The caller's own key goes on."""
    assert loaded(tmp_path, "").credentials is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("api_key_env = 'NOT_SET'", "api_key_env: the environment variable 'NOT_SET' is not set"),
        (
            "api_key_env = 'EMPTY'",
            "api_key_env: what is there must be visible ASCII characters without spaces; it is empty",
        ),
        ("api_key_env = 'SPACED'", "api_key_env: what is there must be visible ASCII characters without spaces"),
        ("api_key_env = 's3cret-0'", "api_key_env: the environment variable named there (not shown"),
        ("api_key_env = '''s3cret\\u0000'''", "api_key_env: the environment variable named there (not shown"),
        ("api_key_env = ['s3cret']", "api_key_env: its value (***) is not a text"),
        ("api_key_file = 'missing'", "api_key_file: 'missing': No such file or directory"),
        ("api_key_file = '.'", "api_key_file: '.': Is a directory"),
        ("api_key_file = 'two-lines'", "api_key_file: what is there must be visible"),
        ("api_key_file = 'large'", "api_key_file: 'large': it is larger than 16384 bytes, the limit"),
        (
            "api_key_env = 'SET'\napi_key_file = 'key'",
            "api_key_file: api_key_env stands there, too; only one of them may be given",
        ),
        (
            "api_key_env = 'SET'\nheaders = { authorization = 's3cret' }",
            "the key is sent as Authorization, which stands",
        ),
        ("headers = { a = 's3cret\\n' }".replace("'", '"'), "headers.a: its value (not shown) must be 1 to 4096"),
        ("headers = { a = '' }", "headers.a: its value (not shown) must be 1 to 4096 printable ASCII characters"),
        ("headers = { a = 's3cret', A = 's3cret' }", "headers.A: it stands there twice"),
        ("headers = { 'a b' = 's3cret' }", 'headers."a b": that is no name of a header'),
        ("headers = { Host = 's3cret' }", "headers.Host: it is set by the gateway itself"),
        ("headers = { Content-Type = 's3cret' }", "headers.Content-Type: it is set by the gateway itself"),
        ("headers = { X-Tag-Team = 's3cret' }", "headers.X-Tag-Team: it is set by the gateway itself"),
        ("headers = { a = 1 }", "headers.a: its value (***) is not a text"),
        ("headers = 's3cret'", "headers: its value (***) is not a table"),
        ("api_key = 's3cret'", "api_key: there is no such field; is api_key_env or api_key_file meant?"),
        (
            "upstreams = [{ url = 'http://h:1/', api_key = 's3cret' }]",
            "upstreams[0].api_key: there is no such field; is api_key_env or api_key_file meant?",
        ),
        ("upstreams = [{ url = 1, headers = { a = 's3cret' } }]", "upstreams[0].url: 1 is not a text"),
        ("headers = { a = 's3cret' }\nx = 1", "x: there is no such field; there are "),
    ],
)
def test_a_wrong_one_is_an_error_that_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, said: str
) -> None:
    """At the start, with file, table and field."""
    for name, value in (("EMPTY", ""), ("SPACED", "s3cret 1"), ("SET", "s3cret-1")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NOT_SET", raising=False)
    for file, content in (("two-lines", b"s3cret\nb\n"), ("large", b"s3cret" * 4000), ("key", b"s3cret")):
        (tmp_path / file).write_bytes(content)
    with pytest.raises(StartupError) as error:
        loaded(tmp_path, table)
    assert re.match(rf"INVOKER_MODELS_FILE: {re.escape(str(tmp_path))}/models.toml:\d: \[a\]", str(error.value))
    assert said in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("upstream", ["http://u:s3cret@a b/", "http://u:s3cret@host:1/"])
def test_a_user_in_the_url(tmp_path: Path, upstream: str) -> None:
    """Is said as Authorization, so that nothing else can be; and in no error."""
    path = written(tmp_path, f"[a]\nupstream = '{upstream}'\nheaders = {{ authorization = 'Bearer s3cret' }}")
    with pytest.raises(StartupError) as error:
        load_models(settings(path))
    assert "s3cret" not in str(error.value)


def test_the_password_of_the_url_is_secret_too(tmp_path: Path) -> None:
    """In each of its forms, and what a query says that is called a key; of the default upstream, too."""
    url = "http://user:pa%2Fss@host:1/?api-key=s3cret&api-version=2024"
    path = written(tmp_path, f"[a]\nupstream = '{url}'")
    models = load_models(settings(path, upstream_url=url))
    for model in (models.find("a"), models.find("b")):
        assert model is not None
        own = model.group.members[0].endpoint.credentials
        assert own is not None
        assert own.put_into(LINES) == LINES
        assert own.left_out_of("pa/ss pa%2Fss dXNlcjpwYS9zcw== s3cret 2024") == "*** *** *** *** 2024"


@pytest.mark.parametrize(
    "echoed",
    [
        SECRET,
        f"Bearer {SECRET}",
        json.dumps(SECRET),
        json.dumps(SECRET).replace("/", "\\/"),
        r"sk-\u0022a\u002fb\u002Bc\u003d=\u0026\u005cx",
        "sk-%22a%2Fb%2bc%3D%3D%26%5Cx",
        "sk-&#34;a&#x2F;b+c==&#038;\\x",
    ],
)
def test_it_is_left_out_however_it_is_written(echoed: str) -> None:
    """As JSON, a URL or a page has it."""
    own = Credentials({"Authorization": f"Bearer {SECRET}"})
    text = own.left_out_of(f"said {echoed} and {echoed}")
    assert "sk-" not in text
    assert text.count("***") == 2
    body = own.left_out_of_body(Pieces([b"\xff said ", echoed[:5].encode(), echoed[5:].encode()]))
    assert isinstance(body, bytes)
    assert body.startswith(b"\xff said ")
    assert b"sk-" not in body


@pytest.mark.parametrize("length", range(4, 40, 5))
def test_none_of_it_is_left_where_an_error_is_cut(length: int) -> None:
    """An upstream's error is shown in part."""
    key = "sk-0123456789abcdefghijklmnopqrstuvwxyz!"
    own = Credentials({"x-api-key": key})
    body = b"x" * (ERROR_BODY_CHARS - 1 - length) + key.encode() + b"y" * 99
    shown = own.left_out_of(str(status_error(500, body, {})))
    assert shown.endswith("x***…")
    assert own.left_out_of("x" * 500 + key[:20]) == "x" * 500 + "***"
    assert own.left_out_of("nothing but sk-0") == "nothing but sk-0"


def test_nothing_tells_it() -> None:
    """Whatever of the gateway's is shown."""
    own = credentials("openai", "http://host:1/", key="s3cret")
    group = single("http://host:1/", own)
    for shown in (own, group, group.members, Model(group, 1.0)):
        assert "s3cret" not in f"{shown!r} {shown}"


@pytest.mark.parametrize("status", [400, 200])
async def test_of_what_an_upstream_echoes(status: int) -> None:
    """Neither record nor caller has a key of the upstream's from an error; what is an answer goes through as it is."""

    async def echo(_body: bytes) -> Answer:
        return status, b'{"error": "no such key: s3cret"}', {}

    own = credentials("openai", "http://host:1/v1", key="s3cret")
    models = Models({}, None, dialects={"openai": Models({"m": Model(single("http://host:1/v1", own), 9.0)}, None)})
    upstream, journal = FakeUpstream(echo), FakeJournal()
    call = Call("m", b"{}", 2, "/chat/completions", b"authorization: Bearer theirs\r\nx: y\r\n")
    invoker = Invoker(models, upstream, journal, FakeClock(), 9)
    result = await invoker.invoke(OpenAI(NoLargeBodies()), call, Trace(None, b"traceparent: t\r\n"), "r-1")
    assert upstream.headers == [b"x: y\r\ntraceparent: t\r\nx-request-id: r-1\r\nAuthorization: Bearer s3cret\r\n"]
    assert result.outcome is not None
    output = result.outcome.output
    assert isinstance(output, bytes)
    assert (b"s3cret" in output) is (status == 200)
    assert [("***" in record.error_log, "s3cret" in record.error_log) for record in journal.records] == [
        (status == 400, False)
    ]


async def test_a_key_that_is_replaced_meanwhile_is_still_left_out() -> None:
    """The call in flight was sent with the old one, and its error may say that."""
    gate = Gate((400, b'{"error": "no such key: s3cret"}', {}))
    old, new = (
        Models({}, None, dialects={"openai": Models({"m": Model(single("http://host:1/v1", own), 9.0)}, None)})
        for own in (credentials("openai", "http://host:1/v1", key=key) for key in ("s3cret", "another"))
    )
    journal = FakeJournal()
    invoker = Invoker(old, FakeUpstream(gate), journal, FakeClock(), 9)
    call = Call("m", b"{}", 2, "/chat/completions", b"")
    calling = asyncio.create_task(invoker.invoke(OpenAI(NoLargeBodies()), call, None, "r-1"))
    while not invoker.in_flight.total:
        await asyncio.sleep(0)
    invoker.swap(new)
    gate.opened.set()
    await calling
    assert [("***" in record.error_log, "s3cret" in record.error_log) for record in journal.records] == [(True, False)]


async def test_it_is_sent_over_the_wire() -> None:
    """Once, as a line of its own."""
    received: list[bytes] = []

    async def note(connection: Connection) -> None:
        received.append(await connection.head())
        await connection.send(http(b"{}"))

    own = Credentials({"Authorization": "Bearer s3cret"})
    upstream = PooledUpstream(SystemClock(), 1000)
    async with serving(note) as server:
        exchange = await upstream.open(server.url, b"{}", own.put_into(LINES))
        await exchange.whole()
        await upstream.close()
    assert len(re.findall(rb"(?im)^authorization: (.*)\r$", received[0])) == 1
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in received[0]


@pytest.mark.parametrize(
    ("line", "echoed", "shown"),
    [
        (b"authorization: Bearer sk-of-a-caller\r\n", "no key Bearer sk-of-a-caller", "no key ***"),
        (b"X-Api-Key:sk-of-a-caller \r\n", "sk-of-a-caller, sk-of-a-callers", "***, ***s"),
        (b"x: y\r\napi-key: a/caller+key=\r\n", "a\\/caller%2Bkey=", "***"),
        (b"authorization: Bearer none\r\n", "none is wrong", "none is wrong"),
        (b"x-other: sk-of-a-caller\r\n", "sk-of-a-caller", "sk-of-a-caller"),
    ],
)
async def test_no_record_has_a_callers_key(line: bytes, echoed: str, shown: str) -> None:
    """Though the upstream says it, and the caller, whose it is, gets what it says."""

    async def echo(_body: bytes) -> Answer:
        return 401, echoed.encode(), {}

    models = Models({}, None, dialects={"openai": Models({"m": Model(single("http://host:1/v1"), 9.0)}, None)})
    journal = FakeJournal()
    invoker = Invoker(models, FakeUpstream(echo), journal, FakeClock(), 9)
    result = await invoker.invoke(OpenAI(NoLargeBodies()), Call("m", b"{}", 2, "/x", line), None, "r-1")
    assert result.outcome is not None
    assert result.outcome.output == echoed.encode()
    assert [record.error_log for record in journal.records] == [f"upstream answered 401: {shown}"]
