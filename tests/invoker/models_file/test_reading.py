"""The models file: what it may say."""

from pathlib import Path
from typing import Any

import pytest

from invoker.models_file.reading import check_models, load_models
from invoker.routing.endpoints import single
from invoker.routing.limits import Limit
from invoker.routing.models import MAX_MATCHED, Model
from invoker.routing.prices import Prices
from invoker.routing.probing import HealthCheck
from invoker.settings import InvokerSettings

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


def test_probes_are_those_of_the_table_or_of_one_upstream(tmp_path: Path) -> None:
    """A path alone, or more of it; an empty one is none."""
    text = """
        [m]
        health = "/health"
        upstreams = [
            { url = "http://a/" },
            { url = "http://b/", health = { path = "/?a", interval = 0.5, timeout = 1, failures = 1, successes = 9 } },
            { url = "http://c/", health = "" },
        ]

        [n]
        upstream = "http://a/"
        health = "/"

        [o]
        upstream = "http://a/"
        health = { path = "" }
        """
    found = {
        name: [member.endpoint.health for member in model.group.members]
        for _, name, model in load_models(settings(written(tmp_path, text))).tables()
        if name is not None
    }
    assert found == {
        "m": [HealthCheck("/health", 5.0, 2.0, 3, 2), HealthCheck("/?a", 0.5, 1.0, 1, 9), None],
        "n": [HealthCheck("/")],
        "o": [None],
    }


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


def test_upstreams_may_call_a_model_otherwise(tmp_path: Path) -> None:
    """As its table says it, or that of one of several; of a pattern, what its * has matched may stay."""
    text = f"""
        [a]
        upstream_model = "org/a"
        [[a.upstreams]]
        url = "http://x/"
        [[a.upstreams]]
        url = "http://y/"
        upstream_model = "y"
        ["team/*"]
        {UP}upstream_model = "*"
        ["group/*"]
        {UP}upstream_model = "org/*"
        ["all/*"]
        {UP}upstream_model = "one"
        ["star"]
        {UP}upstream_model = "s\\\\*"
        ["same"]
        {UP}"""
    models = load_models(settings(written(tmp_path, text)))

    def names(model_id: str) -> list[str | None]:
        model = models.find(model_id)
        assert model is not None
        aliases = [member.endpoint.alias for member in model.group.members]
        return [None if alias is None else alias.of(model_id) for alias in aliases]

    assert {model_id: names(model_id) for model_id in (
        "a", "team/b", "team/", "group/b", "group/", "all/b", "star", "same",
    )} == {
        "a": ["org/a", "y"], "team/b": ["b"], "team/": ["team/"], "group/b": ["org/b"], "group/": ["org/"],
        "all/b": ["one"], "star": ["s*"], "same": [None],
    }  # fmt: skip


def test_other_models_may_take_a_models_place(tmp_path: Path) -> None:
    """Those that the file names by their id or with a pattern, wherever in it; also each in the other's."""
    text = f"""
        [a]
        {UP}fallback = ["b", "team/x"]
        ["team/*"]
        {UP}fallback = ["team/small"]
        [b]
        {UP}fallback = ["a"]"""
    models = load_models(settings(written(tmp_path, text)))
    others = {model_id: (models.find(model_id) or Model(single(DEFAULT_URL), 1.0)).fallback for model_id in "ab"}
    assert others == {"a": ("b", "team/x"), "b": ("a",)}


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


def test_an_adaptive_limit_has_bounds(tmp_path: Path) -> None:
    """Without an upper one there is none, which is told."""
    text = f"""[a]
{UP}limits = {{ adaptive = true, min_in_flight = 4, max_in_flight = 40 }}
[b]
{UP}limits = {{ adaptive = true }}
[c]
{UP}limits = {{ adaptive = true, min_in_flight = 4, max_in_flight = 2 }}
"""
    checked = check_models(settings(written(tmp_path, text)))
    assert checked.models is not None
    found = [(limit.adaptive, limit.min_in_flight, limit.max_in_flight) for _, limit in checked.models.limits()]
    assert found == [(True, 4, 40), (True, 2, 2)]
    (warning,) = checked.findings
    assert warning.text == "[b] limits.adaptive: there is no max_in_flight up to which a limit could be found"


def test_limits_of_tables_and_upstreams(tmp_path: Path) -> None:
    """Where only an upstream has one, its table's calls may wait for it; a queue for nothing is told."""
    text = f"""[a]
{UP}limits = {{ queue = 5 }}
[[b.upstreams]]
url = "http://b/"
max_in_flight = 2
[b.limits]
queue = 3
queue_timeout = 1.5
["*".defaults]
limits = {{ max_in_flight = 7 }}
["*".defaults.openai.limits]
queue = 4
"""
    checked = check_models(settings(written(tmp_path, text)))
    assert checked.models is not None
    assert [
        (key, limit.max_in_flight, limit.queue, limit.queue_timeout_s) for key, limit in checked.models.limits()
    ] == [
        (("b",), None, 3, 1.5),
        (("b", "b", "http://b/"), 2, 0, 5.0),
        (("*", "worklet"), 7, 0, 5.0),
        (("*", "anthropic"), 7, 0, 5.0),
        (("*", "kserve"), 7, 0, 5.0),
    ]
    (warning,) = checked.findings
    assert warning.text == "[a] limits.queue: there is no max_in_flight to wait for, here or of an upstream"
    assert (warning.line, warning.is_error) == (3, False)
