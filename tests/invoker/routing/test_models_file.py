"""The models file: what it may say, and how it is refused."""

from pathlib import Path
from typing import Any

import pytest

from invoker.routing.endpoints import single
from invoker.routing.limits import Limit
from invoker.routing.models import MAX_MATCHED, Model
from invoker.routing.models_file import load_models
from invoker.routing.prices import Prices
from invoker.settings import InvokerSettings
from shared.settings import StartupError

DEFAULT_URL = "http://127.0.0.1:8001/invoke"
UP = 'upstream = "http://host:1/x"\n'
URL = "url = 'http://host:1/x'\n"


def settings(path: Path | None, **changed: Any) -> InvokerSettings:
    return InvokerSettings(models_file=path, timeout_s=30.0, **changed)


def written(directory: Path, text: str | bytes) -> Path:
    path = directory / "models.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_model_is_read_with_all_its_keys(tmp_path: Path) -> None:
    """What a table doesn't say comes from the settings."""
    text = """
        ["gpt-3.5"]
        upstream = "https://models.example:8443/v1/invoke?key=1"
        protocol = "worklet"
        timeout = 2
        idle = 0.5
        first_token = 1.5
        usage = "as_is"
        prices = { input = 2.5, output = 10 }
        retries = 3
        limits = { max_in_flight = 8 }

        [bert-base]
        upstream = "http://[::1]:9000"
        [bert-base.limits]

        ["with space/é😀"]
        upstream = "http://xn--bcher-kva.example/"
        timeout = 0.5
        """
    models = load_models(settings(written(tmp_path, text)))
    assert models.names == ["gpt-3.5", "bert-base", "with space/é😀"]
    assert models.find("gpt-3.5") == Model(
        single("https://models.example:8443/v1/invoke?key=1"),
        2.0,
        3,
        Limit(8),
        0.5,
        first_token_s=1.5,
        asks_usage=False,
        prices=Prices(2_500_000_000_000, 2_500_000_000_000, 10_000_000_000_000, 10_000_000_000_000),
    )
    assert models.find("bert-base") == Model(single("http://[::1]:9000"), 30.0, 0, None)
    assert models.find("with space/é😀") == Model(single("http://xn--bcher-kva.example/"), 0.5)


def test_the_longest_pattern_wins_and_an_id_before_all(tmp_path: Path) -> None:
    """`team/*` is every id that begins so, `*` is every id, and `\\*` at the end a `*` itself."""
    tables = {"*": 1, "team/*": 2, "team/a*": 3, "team/abc": 4, "team/\\\\*": 5}
    text = "".join(f'["{name}"]\n{UP}timeout = {timeout}\n' for name, timeout in tables.items())
    models = load_models(settings(written(tmp_path, text)))
    expected = {"x": 1, "team": 1, "team/": 2, "team/b": 2, "team/a": 3, "team/abcd": 3, "team/abc": 4, "team/*": 5}
    for _ in range(2):
        assert {model_id: getattr(models.find(model_id), "timeout_s", 0) for model_id in expected} == expected
    assert models.names == ["team/abc", "team/*"]


def test_what_no_pattern_matches_goes_to_the_default(tmp_path: Path) -> None:
    """However many ids callers name, few are remembered."""
    models = load_models(settings(written(tmp_path, f'["team/*"]\n{UP}')))
    for number in range(MAX_MATCHED + 10):
        assert models.find(f"id-{number}") == Model(single(DEFAULT_URL), 30.0)
    assert models.find("team/x") == Model(single("http://host:1/x"), 30.0)
    assert len(models._matched) <= MAX_MATCHED


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    """Editors put it at the beginning of a file."""
    assert load_models(settings(written(tmp_path, b"\xef\xbb\xbf[a]\n" + UP.encode()))).names == ["a"]


@pytest.mark.parametrize("text", ["", UP.replace("upstream", "[a]\nupstream")])
def test_a_model_that_is_not_named_goes_to_the_default(tmp_path: Path, text: str) -> None:
    """Without a default upstream it is unknown."""
    path = written(tmp_path, text)
    assert load_models(settings(path)).find("other") == Model(single(DEFAULT_URL), 30.0)
    assert load_models(settings(path, upstream_url="")).find("other") is None


def test_no_file_is_no_names() -> None:
    """The models file is optional."""
    assert load_models(settings(None)).names == []
    assert load_models(settings(None)).find("any") == Model(single(DEFAULT_URL), 30.0)
    assert load_models(settings(None, upstream_url="")).find("any") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("= 1", ["Invalid statement (at line 1, column 1)"]),
        ("[a]\n[a]\n", ["Cannot declare ('a',) twice (at line 2, column 3)"]),
        (b"\xff", ["utf-8"]),
        ("a = " + "[" * 5000, ["it is nested too deeply"]),
        ("a." * 900 + "b = 1", ["it is nested too deeply"]),
        ("a = " + "1" * 5000, ["(4300 digits)"]),
        ('a = "http://host/"', ["['a']", "Expected `object`, got `str`", "'http://host/'"]),
        ("[[a]]\n" + UP, ["['a']", "Expected `object`, got `array`"]),
        (f"[a]\n{UP}[[a.upstreams]]\nurl = 'http://b/'", ["['a']", "must be given; not both"]),
        ("[[a.upstreams]]\nurl = 'x'", ["['a']: upstreams, the 1.: url: 'x' is not"]),
        (f"[[a.upstreams]]\n{URL}weight = 0", ["['a']: upstreams[0].weight: Expected `int` >= 1, is"]),
        (f"[[a.upstreams]]\n{URL}name = 'a b'", ["['a']: upstreams[0].name: Expected `str` matching regex"]),
        (f"[[a.upstreams]]\n{URL}[[a.upstreams]]\n{URL}", ["the 2.: name: 'host:1' stands there twice"]),
        (f"[[a.upstreams]]\n{URL}api_key_env = 'NONE'", ["the 1.: api_key_env: the environment variable 'NONE'"]),
        ("[a]\nupstreams = []", ["['a']: upstreams: Expected `array` of length >= 1"]),
        (
            "[a]\ntimeout = 1",
            ["['a']: either upstream, a URL, or upstreams, ", "there is neither"],
        ),
        ("[a]\nupstream = 1", ["['a']", "upstream: Expected `str`, got `int`, is 1"]),
        (f"[a]\n{UP}retry = 1", ["['a']", "unknown field `retry`"]),
        (f"[a]\n{UP}protocol = 'grpc'", ["['a']", "protocol: ", "is 'grpc'"]),
        (f"[a]\n{UP}timeout = -1", ["['a']", "timeout: Expected `float` > 0.0, is -1"]),
        (f"[a]\n{UP}timeout = 0", ["['a']", "timeout: Expected `float` > 0.0, is 0"]),
        (f"[a]\n{UP}timeout = nan", ["['a']", "timeout: ", "is nan"]),
        (f"[a]\n{UP}timeout = inf", ["['a']", "timeout: Expected `float` <= 86400.0, is inf"]),
        (f"[a]\n{UP}first_token = 0", ["['a']", "first_token: Expected `float` > 0.0, is 0"]),
        (f"[a]\n{UP}prices = 2.5", ["['a']", "prices: Expected `object | null`, got `float`, is 2.5"]),
        (f"[a]\n{UP}prices = {{ output = -1 }}", ["['a']: prices.output: -1 is no number of US dollars from 0 "]),
        (f"[a]\n{UP}prices = {{ inputs = 2.5 }}", ["['a']: prices: unknown field 'inputs'; there are input, "]),
        (f"[a]\n{UP}usage = 'never'", ["['a']", "usage: Invalid enum value 'never', is 'never'"]),
        (f"[a]\n{UP}timeout = '1s'", ["['a']", "timeout: ", "got `str`, is '1s'"]),
        (f"[a]\n{UP}retries = 11", ["['a']", "retries: Expected `int` <= 10, is 11"]),
        (f"[a]\n{UP}retries = -1", ["['a']", "retries: Expected `int` >= 0, is -1"]),
        (f"[a]\n{UP}retries = true", ["['a']", "retries: ", "is True"]),
        (f"[a]\n{UP}limits = 5", ["['a']", "limits: Expected `object`, got `int`, is 5"]),
        (f"[a]\n{UP}limits = {{ max_in_flight = 0 }}", ["['a']", "limits.max_in_flight: ", ">= 1, is 0"]),
        (f"[a]\n{UP}limits = {{ rate = 1 }}", ["['a']", "limits: ", "unknown field `rate`", "is {'rate': 1}"]),
        (f"[gpt-3.5]\n{UP}", ["['gpt-3']", 'written in quotes: ["gpt-3.5"]']),
        (f"[__overflow__]\n{UP}", ["['__overflow__']", "is reserved"]),
        (f'[""]\n{UP}', ["['']", "'' is no model id"]),
        (f'["a*b"]\n{UP}', ["['a*b']", "a * may only stand at the end"]),
        (f'["**"]\n{UP}', ["['**']", "a * may only stand at the end"]),
        (f'["*a*"]\n{UP}', ["['*a*']", "a * may only stand at the end"]),
        (f'["a\\n*"]\n{UP}', ["is no model id"]),
        (f'["{"m" * 257}"]\n{UP}', ["is no model id", "length <= 256"]),
        (f'["a\\n"]\n{UP}', ["'a\\n'", "is no model id"]),
        ("[a]\nupstream = ''", ["['a']: either upstream, a URL, or upstreams"]),
        ("[a]\nupstream = '/invoke'", ["upstream: '/invoke' is not"]),
        ("[a]\nupstream = 'localhost:8001'", ["upstream: 'localhost:8001' is not"]),
        ("[a]\nupstream = 'ftp://host/'", ["upstream: 'ftp://host/' is not"]),
        ("[a]\nupstream = 'http://'", ["upstream: 'http://' is not"]),
        ("[a]\nupstream = 'http://['", ["upstream: 'http://[' is not"]),
        ("[a]\nupstream = 'http://host:99999/'", ["upstream: 'http://host:99999/' is not"]),
        ("[a]\nupstream = 'http://host:x/'", ["upstream: 'http://host:x/' is not"]),
        ("[a]\nupstream = 'http://a b/'", ["upstream: 'http://a b/' is not"]),
        ("[a]\nupstream = 'http://a..b/'", ["upstream: 'http://a..b/' is not"]),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str | bytes, said: list[str]) -> None:
    """The error names the setting, the file, the table, the key and the value."""
    path = written(tmp_path, text)
    with pytest.raises(StartupError) as error:
        load_models(settings(path))
    for part in ["INVOKER_MODELS_FILE: ", repr(str(path)), *said]:
        assert part in str(error.value)


@pytest.mark.parametrize(("name", "said"), [("missing.toml", "No such file"), (".", "Is a directory")])
def test_a_file_that_can_not_be_read(tmp_path: Path, name: str, said: str) -> None:
    """The error names the setting, the file and the system's reason."""
    with pytest.raises(StartupError, match=f"INVOKER_MODELS_FILE: .*{said}"):
        load_models(settings(tmp_path / name))


def test_a_table_is_for_its_protocol(tmp_path: Path) -> None:
    """Calls by another go where the settings say, or nowhere; and all names are known."""
    text = f'[a]\n{UP}\n[b]\n{UP}protocol = "openai"\n["c*"]\n{UP}protocol = "anthropic"\n'
    models = load_models(settings(written(tmp_path, text), upstream_url="", openai_url="http://o/v1", anthropic_url=""))
    found = {
        (model_id, protocol): model.group.members[0].endpoint.url
        for model_id in ("a", "b", "c1")
        for protocol in ("worklet", "openai", "anthropic")
        if (model := models.find(model_id, protocol)) is not None
    }
    assert found == {
        ("a", "worklet"): "http://host:1/x",
        ("a", "openai"): "http://o/v1",
        ("b", "openai"): "http://host:1/x",
        ("c1", "openai"): "http://o/v1",
        ("c1", "anthropic"): "http://host:1/x",
    }
    assert models.names == ["a", "b"]


def test_a_model_may_have_several_upstreams(tmp_path: Path) -> None:
    """What one doesn't say of keys and headers, its model does; and each may be tried unless it says otherwise."""
    (tmp_path / "key").write_text("k1")
    text = """
        [a]
        headers = { X = "y" }
        api_key_file = "key"
        protocol = "openai"
        [[a.upstreams]]
        url = "http://one:1/v1"
        [[a.upstreams]]
        name = "spare"
        url = "http://two/v1"
        weight = 3
        priority = 1
        headers = { Z = "z" }
        [[b.upstreams]]
        url = "http+unix://%2Frun%2Fb.sock/x"
        [b]
        """.replace("[b]\n", "")
    models = load_models(settings(written(tmp_path, text)))
    model = models.find("a", "openai")
    assert model is not None
    assert (model.retries, model.retry_busy) == (1, True)
    told = [(each.endpoint.name, each.endpoint.weight, each.endpoint.priority) for each in model.group.members]
    assert told == [("one:1", 1, 0), ("spare", 3, 1)]
    lines = [each.endpoint.credentials.put_into(b"") for each in model.group.members if each.endpoint.credentials]
    assert lines == [b"X: y\r\nAuthorization: Bearer k1\r\n", b"Z: z\r\nAuthorization: Bearer k1\r\n"]
    alone = models.find("b")
    assert alone is not None
    assert (alone.retries, alone.retry_busy, alone.group.members[0].endpoint.name) == (0, False, "/run/b.sock")


def test_what_is_known_of_an_endpoint_is_carried_over(tmp_path: Path) -> None:
    """Its calls, which are still on their way, and whether it is out; of the same name and URL, in the same table."""
    tables = "[['a*'.upstreams]]\nurl = 'http://one/'\n[['a*'.upstreams]]\nurl = 'http://two/'\nweight = {}\n"
    before, after = (load_models(settings(written(tmp_path, tables.format(weight)))) for weight in (1, 5))
    member = before.find("ab").group.take("ab", 0)  # type: ignore[union-attr]
    after.carry_over(before)
    group = after.find("ab").group  # type: ignore[union-attr]
    assert [each.outstanding for each in group.members if each.endpoint.name == member.endpoint.name] == [1]
    assert [each.weight for each in group.members] == [1, 5]
    group.give_back(member, "success", "", 0, 1)
    assert [each.outstanding for each in group.members] == [0, 0]
