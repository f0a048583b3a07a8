"""The models file: how one that is wrong is refused."""

from pathlib import Path

import pytest

from invoker.models_file.reading import MAX_FILE_BYTES, MAX_TOLD, check_models, load_models
from invoker.routing.places import SLOTS
from shared.settings import StartupError
from tests.invoker.models_file.test_reading import UP, settings, written

URL = "url = 'http://host:1/x'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("= 1", "1: Invalid statement (column 1)"),
        ("[a]\n[a]\n", "2: Cannot declare ('a',) twice (column 3)"),
        ("[a]\nx = ", "2: Invalid value (end of document)"),
        ("[a]\nx = [\n", "2: Invalid value (end of document)"),
        (b"a = 1\n\xff", "2: byte 0xff is no UTF-8; TOML is"),
        ("[a]".encode("utf-16"), "1: byte 0xff is no UTF-8, but like UTF-16; TOML is"),
        ("a = " + "[" * 5000, "it is nested too deeply"),
        ("a." * 5000 + "b = 1", "it is nested too deeply"),
        ("a = " + "1" * 5000, "Exceeds the limit (4300 digits)"),
        (f"a = 1e{'9' * 30}", f"1e{'9' * 30} is no number that can be kept"),
        (
            "timeout = 30",
            "1: [timeout]: this is no table; there is one for each model, and what is for all of them stands",
        ),
        ("[[a]]\n" + UP, "1: [a]: this is no table; there is one for each model"),
        (f"[a]\n{UP}[[a.upstreams]]\nurl = 'http://b/'", "3: [a] upstreams: upstream stands there, too; only one of"),
        ("[[a.upstreams]]\nurl = 'x'", "2: [a] upstreams[0].url: 'x' is not an absolute http:// or https:// URL or "),
        ("[[a.upstreams]]\nweight = 1", "1: [a] upstreams[0]: url is missing: a text"),
        (f"[[a.upstreams]]\n{URL}weight = 0", "3: [a] upstreams[0].weight: 0 is not a whole number from 1 to 1000"),
        (f"[[a.upstreams]]\n{URL}name = 'a b'", "3: [a] upstreams[0].name: 'a b' is not a name of 1 to 128 visible"),
        (f"[[a.upstreams]]\n{URL}[[a.upstreams]]\n{URL}", "3: [a] upstreams[1].name: 'host:1' stands there twice"),
        (f"[[a.upstreams]]\n{URL}api_key_env = 'NONE'", "3: [a] upstreams[0].api_key_env: the environment variable "),
        ("[a]\nupstreams = []", "2: [a] upstreams: an array of 0 is not an array of 1 to 64 tables"),
        ("[a]\nupstreams = 1", "2: [a] upstreams: 1 is not an array of 1 to 64 tables"),
        ("\n[a]\ntimeout = 1", "2: [a]: there is neither upstream, a URL, nor upstreams, several tables; one of them "),
        ("[a]", "1: [a]: there is neither upstream, a URL, nor upstreams, several tables; one of them must be given"),
        ("[defaults]\ntimeout = 1", 'must be given; what is for all tables stands in ["*".defaults]'),
        ("[a]\nupstream = 1", "2: [a] upstream: 1 is not a text"),
        (f"[a]\n{UP}retry = 1", "3: [a] retry: there is no such field; is retry_busy or retries meant?"),
        (f"[a]\n{UP}x = 1", "3: [a] x: there is no such field; there are "),
        (f"[a]\n{UP}protocol = 'grpc'", "3: [a] protocol: 'grpc' is not 'anthropic', "),
        (f"[a]\n{UP}timeout = -1", "3: [a] timeout: -1 is not a number above 0 and at most 86400"),
        (f"[a]\n{UP}timeout = 0", "3: [a] timeout: 0 is not a number above 0 and at most 86400"),
        (f"[a]\n{UP}timeout = nan", "3: [a] timeout: nan is not a number"),
        (f"[a]\n{UP}timeout = inf", "3: [a] timeout: inf is not a number above 0 and at most 86400"),
        (f"[a]\n{UP}timeout = '1s'", "3: [a] timeout: '1s' is not a number above 0 and at most 86400"),
        (f"[a]\n{UP}first_token = 0", "3: [a] first_token: 0 is not a number above 0"),
        (f"[a]\n{UP}prices = 2.5", "3: [a] prices: 2.5 is not a table"),
        (f"[a]\n{UP}prices = {{}}", "3: [a] prices: is empty; there are input, cached_input, output"),
        (f"[a]\n{UP}[a.prices]\noutput = -1", "4: [a] prices.output: -1 is no number of US dollars from 0 "),
        (f"[a]\n{UP}prices = {{ inputs = 2.5 }}", "3: [a] prices.inputs: there is no such field; there are input, "),
        (f"[a]\n{UP}usage = 'never'", "3: [a] usage: 'never' is not 'as_is' or 'ask'"),
        (f"[a]\n{UP}retries = 11", "3: [a] retries: 11 is not a whole number from 0 to 10"),
        (f"[a]\n{UP}retries = 1.5", "3: [a] retries: 1.5 is not a whole number from 0 to 10"),
        (f"[a]\n{UP}retries = true", "3: [a] retries: true is not a whole number from 0 to 10"),
        (f"[a]\n{UP}retry_busy = 1", "3: [a] retry_busy: 1 is not true or false"),
        (f"[a]\n{UP}retry_busy = 1979-05-27", "3: [a] retry_busy: 1979-05-27 is not true or false"),
        (f"[a]\n{UP}limits = 5", "3: [a] limits: 5 is not a table"),
        (
            f"[a]\n{UP}limits = {{ max_in_flight = 0 }}",
            "3: [a] limits.max_in_flight: 0 is not a whole number from 1 to ",
        ),
        (f"[a]\n{UP}limits.queue = -1", "3: [a] limits.queue: -1 is not a whole number from 0 to "),
        (f"[a]\n{UP}limits.queue_timeout = 0", "3: [a] limits.queue_timeout: 0 is not a number above 0"),
        (f"[a]\n{UP}[a.limits]\nrate = 1", "4: [a] limits.rate: there is no such field; there are max_in_flight"),
        (f"[a]\n{UP}health = 'up'", "3: [a] health: 'up' is not a path such as '/health': at most 1024 visible ASCII"),
        (f"[a]\n{UP}health = '/a b'", "3: [a] health: '/a b' is not a path"),
        (f"[a]\n{UP}health = '/{'a' * 1024}'", "3: [a] health: '/aaa"),
        (f"[a]\n{UP}health = 1", "3: [a] health: 1 is not a path"),
        (f"[a]\n{UP}[a.health]\npath = '/#a'", "4: [a] health.path: '/#a' is not a path"),
        (f"[[a.upstreams]]\n{URL}health = 'up'", "3: [a] upstreams[0].health: 'up' is not a path"),
        (f"[a]\n{UP}[a.health]\ninterval = 5", "3: [a] health: path is missing: a path such as '/health'"),
        (
            f"[a]\n{UP}[a.health]\npath = '/'\nevery = 5",
            "5: [a] health.every: there is no such field; there are path, ",
        ),
        (f"[a]\n{UP}health = {{ path = '/', interval = 0 }}", "health.interval: 0 is not a number from 0.1 to 3600"),
        (
            f"[a]\n{UP}health = {{ path = '/', timeout = 61 }}",
            "health.timeout: 61 is not a number above 0 and at most 60",
        ),
        (f"[a]\n{UP}health = {{ path = '/', failures = 0 }}", "health.failures: 0 is not a whole number from 1 to 100"),
        (
            f"[gpt-3.5]\n{UP}",
            '1: [gpt-3] 5: there is no such field; a model id with a dot in it is written in quotes: ["g',
        ),
        (f"[__overflow__]\n{UP}", "1: [__overflow__]: '__overflow__' is reserved"),
        (f'[""]\n{UP}', "1: [\"\"]: '' is no model id"),
        (f'["a*b"]\n{UP}', '1: ["a*b"]: a * may only stand at the end'),
        (f'["**"]\n{UP}', '1: ["**"]: a * may only stand at the end'),
        (f'["*a*"]\n{UP}', '1: ["*a*"]: a * may only stand at the end'),
        (f'["a\\n*"]\n{UP}', "1: [\"a\\n*\"]: 'a\\n' is no model id"),
        (f'["{"m" * 257}"]\n{UP}', f"1: [{'m' * 80}…]: '{'m' * 64}' is no model id"),
        (f'["a\\n"]\n{UP}', "is no model id"),
        (f"[a]\n{UP}fallback = 'b'", "3: [a] fallback: 'b' is not an array of 0 to 8"),
        (f"[a]\n{UP}fallback = [1]", "3: [a] fallback[0]: 1 is not a text"),
        (f"[a]\n{UP}fallback = ['b']", "3: [a] fallback[0]: 'b' is not in this file, as a table's id or by a pattern"),
        (f"[a]\n{UP}fallback = ['a']", "3: [a] fallback[0]: 'a' is this model itself; others may take its place"),
        (f"[a]\n{UP}fallback = ['b', 'b']\n[b]\n{UP}", "3: [a] fallback[1]: 'b' stands there twice"),
        (f"['*']\n{UP}fallback = ['\\u0007']".replace("'\\u", '"\\u').replace("7']", '7"]'), "is no model id"),
        (
            f"[a]\n{UP}fallback = ['b']\n[b]\nprotocol = 'openai'\n{UP}",
            "3: [a] fallback[0]: 'b' is called by the protocol openai, and this table's by worklet",
        ),
        (f"[a]\n{UP}upstream_model = 'x*'", "3: [a] upstream_model: 'x*': a * at the end is what that of a pattern"),
        (f"['a*']\n{UP}upstream_model = 'x*y'", "upstream_model: 'x*y': a * may only stand at the end"),
        (f"[a]\n{UP}upstream_model = ''", "3: [a] upstream_model: '' is no model id"),
        (f"[[a.upstreams]]\n{URL}upstream_model = '*'", "3: [a] upstreams[0].upstream_model: '*': a * at the end is"),
        ("[a]\nupstream = ''", "2: [a] upstream: '' is not an absolute http:// or https:// URL"),
        ("[a]\nupstream = '/invoke'", "upstream: '/invoke' is not"),
        ("[a]\nupstream = 'localhost:8001'", "upstream: 'localhost:8001' is not"),
        ("[a]\nupstream = 'ftp://host/'", "upstream: 'ftp://host/' is not"),
        ("[a]\nupstream = 'http://'", "upstream: 'http://' is not"),
        ("[a]\nupstream = 'http://['", "upstream: 'http://[' is not"),
        ("[a]\nupstream = 'http://host:99999/'", "upstream: 'http://host:99999/' is not"),
        ("[a]\nupstream = 'http://host:x/'", "upstream: 'http://host:x/' is not"),
        ("[a]\nupstream = 'http://a b/'", "upstream: 'http://a b/' is not"),
        ("[a]\nupstream = 'http://a..b/'", "upstream: 'http://a..b/' is not"),
        ("[a]\nupstream = 'ftp://u:s3cret@host/?key=s3cret'", "upstream: 'ftp://***@host/?***' is not"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str | bytes, said: str) -> None:
    """The error names the setting, the file, the line, the table, the field, its value and what is allowed."""
    path = written(tmp_path, text)
    with pytest.raises(StartupError) as error:
        load_models(settings(path))
    assert len(error.value.args) == 1
    assert str(error.value).startswith(f"INVOKER_MODELS_FILE: {path}:")
    assert said in str(error.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """In the order of the file, and none of it because of another; what is too much for a log is left out."""
    text = """
        [a]
        timeout = -1
        upstream = "host"
        prices = { input = "2", output = -1 }
        ["b*"]
        usage = "no"
        [["b*".upstreams]]
        url = "http://b/"
        weight = 0
        api_key_env = "NOT_SET"
        headers = { Host = "x", a = "" }
        [["b*".upstreams]]
        weight = 5
        [["b*".upstreams]]
        url = "http://b/"
        [c]
        """
    path = written(tmp_path, text)
    with pytest.raises(StartupError) as error:
        load_models(settings(path))
    found = check_models(settings(path)).findings
    assert [(finding.line, finding.text.partition(": ")[0]) for finding in found] == [
        (3, "[a] timeout"),
        (4, "[a] upstream"),
        (5, "[a] prices.input"),
        (5, "[a] prices.output"),
        (7, '["b*"] usage'),
        (10, '["b*"] upstreams[0].weight'),
        (11, '["b*"] upstreams[0].api_key_env'),
        (12, '["b*"] upstreams[0].headers.Host'),
        (12, '["b*"] upstreams[0].headers.a'),
        (13, '["b*"] upstreams[1]'),
        (15, '["b*"] upstreams[2].name'),
        (17, "[c]"),
    ]
    told = [f"INVOKER_MODELS_FILE: {path}:{finding.line}: {finding.text}" for finding in found[:MAX_TOLD]]
    assert error.value.args == (
        *told,
        f"INVOKER_MODELS_FILE: {path}: … and 7 more; invoker check-config tells all of them",
    )
    assert str(error.value) == "; ".join(error.value.args)


def test_a_file_is_no_larger_than_its_bound(tmp_path: Path) -> None:
    """Beyond it, nothing of it is read."""
    path = written(tmp_path, "#" * MAX_FILE_BYTES)
    assert load_models(settings(path)).names == []
    written(tmp_path, "#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(StartupError, match=r"models\.toml: it is larger than 16777216 bytes, the limit"):
        load_models(settings(path))


@pytest.mark.parametrize(("name", "said"), [("missing.toml", "No such file"), (".", "Is a directory")])
def test_a_file_that_can_not_be_read(tmp_path: Path, name: str, said: str) -> None:
    """The error names the setting, the file and the system's reason."""
    with pytest.raises(StartupError, match=f"INVOKER_MODELS_FILE: .*{said}"):
        load_models(settings(tmp_path / name))


def test_a_wrong_table_is_no_reason_for_another_error(tmp_path: Path) -> None:
    """That it is wrong is told once."""
    text = f"[a]\n{UP}fallback = ['b']\n[b]\n{UP}timeout = -1"
    found = check_models(settings(written(tmp_path, text))).findings
    assert [finding.line for finding in found] == [6]


def test_more_limits_than_are_counted(tmp_path: Path) -> None:
    """Though each of them is right."""
    text = '["*".defaults]\nlimits = { max_in_flight = 1 }\n' + "".join(
        f"[m-{number}]\n{UP}" for number in range(SLOTS)
    )
    path = written(tmp_path, text)
    said = f"limits: {SLOTS + 4} of models and upstreams are too many; at most {SLOTS} are counted"
    with pytest.raises(StartupError) as error:
        load_models(settings(path))
    assert str(error.value) == f"INVOKER_MODELS_FILE: {path}: {said}"
    assert load_models(settings(path, upstream_url="", openai_url="", anthropic_url="", kserve_url="")).find("m-0")
