"""Settings: flags, environment variables, and one clear line when one is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import click
import pytest

from invoker.settings import InvokerSettings
from metrics_sidecar.settings import SidecarSettings
from shared.settings import (
    BYTES,
    PATH,
    PORT,
    SECONDS,
    HttpUrl,
    StartupError,
    command,
    is_http_url,
    options,
    run_command,
    setting,
)

SIZES = "not a whole number of bytes from 1 to 1,099,511,627,776, such as 500MB or 10GiB."


@dataclasses.dataclass(frozen=True)
class Example:
    port: int = setting("EXAMPLE_PORT", 80, PORT, "A port.")
    wait_s: float = setting("EXAMPLE_WAIT_S", 1.5, SECONDS, "Seconds.")
    max_bytes: int = setting("EXAMPLE_MAX_BYTES", 10, BYTES, "Bytes.", flag="size")
    url: str = setting("EXAMPLE_URL", "http://host/", HttpUrl(), "A URL.")
    upstream: str = setting("EXAMPLE_UPSTREAM", "http://up/", HttpUrl(may_be_empty=True), "A URL or nothing.")
    directory: Path = setting("EXAMPLE_DIRECTORY", Path("data"), PATH, "A directory.")


def parse(*arguments: str) -> Example:
    """What a process with these arguments runs with; SystemExit as the process would end."""
    seen: list[Example] = []
    cli = command("example", "An example.", Example, seen.append)
    cli.main(list(arguments), standalone_mode=False)
    return seen[0]


def error_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The one line on stderr of a process that ends with exit code 2."""
    monkeypatch.setattr("sys.argv", ["example", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_command(command("example", "An example.", Example, lambda _settings: 0))
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n"), err[-1]) == (2, "", 1, "\n")
    return err.rstrip("\n")


def test_defaults() -> None:
    """Without flags and variables each setting has its default."""
    assert parse() == Example()


def test_flags_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces the default and a flag replaces the variable."""
    monkeypatch.setenv("EXAMPLE_PORT", "8080")
    monkeypatch.setenv("EXAMPLE_WAIT_S", "2")
    monkeypatch.setenv("EXAMPLE_DIRECTORY", "/var/x y")
    assert parse("--port", "9090", "--size=5") == Example(9090, 2.0, 5, directory=Path("/var/x y"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("512B", 512),
        ("10K", 10_000),
        ("10kB", 10_000),
        ("10KiB", 10_240),
        ("10 MB", 10_000_000),
        ("10Mi", 10 * 2**20),
        ("10GB", 10**10),
        ("10gib", 10 * 2**30),
        ("1T", 10**12),
        ("1TiB", 2**40),
    ],
)
def test_bytes_may_have_a_unit(text: str, expected: int) -> None:
    """Of 1000, or with an `i` of 1024."""
    assert parse("--size", text).max_bytes == expected


@pytest.mark.parametrize("name", ["EXAMPLE_PORT", "EXAMPLE_WAIT_S", "EXAMPLE_DIRECTORY"])
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As compose files and shells leave them behind."""
    monkeypatch.setenv(name, "")
    assert parse() == Example()


def test_an_empty_url_means_none_where_that_has_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """By variable as by flag."""
    assert parse("--upstream", "").upstream == ""
    monkeypatch.setenv("EXAMPLE_UPSTREAM", "")
    assert parse().upstream == ""


@pytest.mark.parametrize(
    ("flag", "variable", "value", "allowed"),
    [
        ("--port", "EXAMPLE_PORT", "x", "is not a whole number from 0 to 65,535"),
        ("--port", "EXAMPLE_PORT", "-1", "is not a whole number from 0 to 65,535"),
        ("--port", "EXAMPLE_PORT", "65536", "is not a whole number from 0 to 65,535"),
        ("--port", "EXAMPLE_PORT", "80.0", "is not a whole number from 0 to 65,535"),
        ("--port", "EXAMPLE_PORT", "9" * 5000, "is not a whole number from 0 to 65,535"),
        ("--wait-s", "EXAMPLE_WAIT_S", "nan", "is not a number from 0.0 to 86,400.0"),
        ("--wait-s", "EXAMPLE_WAIT_S", "inf", "is not a number from 0.0 to 86,400.0"),
        ("--wait-s", "EXAMPLE_WAIT_S", "1s", "is not a number from 0.0 to 86,400.0"),
        ("--size", "EXAMPLE_MAX_BYTES", "0", f"is {SIZES}"),
        ("--size", "EXAMPLE_MAX_BYTES", "10XB", f"is {SIZES}"),
        ("--size", "EXAMPLE_MAX_BYTES", "-1K", f"is {SIZES}"),
        ("--size", "EXAMPLE_MAX_BYTES", "1.5G", f"is {SIZES}"),
        ("--size", "EXAMPLE_MAX_BYTES", "1iB", f"is {SIZES}"),
        ("--size", "EXAMPLE_MAX_BYTES", "2TiB", f"is {SIZES}"),
        ("--size", "EXAMPLE_MAX_BYTES", "9" * 5000, f"is {SIZES}"),
        ("--url", "EXAMPLE_URL", "", "is not an absolute http:// or https:// URL."),
        ("--url", "EXAMPLE_URL", "host:80", "is not an absolute http:// or https:// URL."),
        ("--upstream", "EXAMPLE_UPSTREAM", "ftp://x", "is not an absolute http:// or https:// URL or nothing."),
    ],
)
def test_a_wrong_value_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
    variable: str,
    value: str,
    allowed: str,
) -> None:
    """It names flag, variable, value and what is allowed, wherever the value came from; exit code 2."""
    by_flag = error_line(capsys, monkeypatch, flag, value)
    monkeypatch.setenv(variable, value)
    by_variable = error_line(capsys, monkeypatch)
    assert by_flag == by_variable
    assert by_flag.startswith("example: error: ")
    for part in (flag, variable, repr(value), allowed):
        assert part in by_flag


@pytest.mark.parametrize("arguments", [["--nothing"], ["--port"], ["extra"], ["--port", "1", "--port=x\ny"]])
def test_wrong_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Whatever is wrong with the command line, there is no usage text around the reason."""
    assert error_line(capsys, monkeypatch, *arguments).startswith("example: error: ")


def test_a_startup_error_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message is put on one line, with exit code 2."""

    def run(_settings: Example) -> int:
        raise StartupError("EXAMPLE_PORT: taken\nby another")

    monkeypatch.setattr("sys.argv", ["example"])
    with pytest.raises(SystemExit) as ended:
        run_command(command("example", "An example.", Example, run))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "example: error: EXAMPLE_PORT: taken by another\n"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_what_the_process_returns(
    monkeypatch: pytest.MonkeyPatch, returned: int | None, code: int
) -> None:
    """Nothing returned is success."""
    monkeypatch.setattr("sys.argv", ["example"])
    with pytest.raises(SystemExit) as ended:
        run_command(command("example", "An example.", Example, lambda _settings: returned))
    assert ended.value.code == code


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With its variable and default; exit code 0."""
    monkeypatch.setattr("sys.argv", ["example", "--help"])
    with pytest.raises(SystemExit) as ended:
        run_command(command("example", "An example.", Example, lambda _settings: 0))
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for field in dataclasses.fields(Example):
        assert f"env var: {field.metadata['env']}; default: {field.default}" in out


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("http://host", True),
        ("https://host:8443/path?query=1", True),
        ("http://127.0.0.1:8001/invoke", True),
        ("http://[::1]:8001", True),
        ("HTTP://HOST", True),
        ("http://bücher.example/", True),
        ("", False),
        ("host", False),
        ("//host", False),
        ("http:/host", False),
        ("http://", False),
        ("http://:80", False),
        ("http://host:0", False),
        ("http://host:65536", False),
        ("http://[::1", False),
        ("http://a b", False),
        ("http://host/\n", False),
        ("http://host/\x00", False),
        ("http://a..b", False),
        ("unix:///socket", False),
    ],
)
def test_what_is_an_http_url(url: str, valid: bool) -> None:
    """An absolute URL that a client can use."""
    assert is_http_url(url) is is_http_url(url, unix=True) is valid


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("http+unix://%2Frun%2Fmodel.sock/invoke", True),
        ("http+unix://%2fm", True),
        ("http+unix://%2F" + "x" * 106, True),
        ("http+unix://%2F" + "x" * 107, False),
        ("http+unix://%2F", False),
        ("http+unix://run%2Fmodel.sock/invoke", False),
        ("http+unix:///run/model.sock", False),
        ("http+unix://user@%2Frun", False),
        ("http+unix://%2Frun%00", False),
        ("http+unix://", False),
    ],
)
def test_what_is_the_url_of_a_unix_socket(url: str, valid: bool) -> None:
    """The socket's absolute path stands in the place of the host, where Unix sockets are allowed."""
    assert (is_http_url(url, unix=True), is_http_url(url)) == (valid, False)


@pytest.mark.parametrize(
    ("settings_class", "expected"),
    [
        (
            InvokerSettings,
            {
                "INVOKER_HOST": "127.0.0.1",
                "INVOKER_PORT": 8000,
                "INVOKER_WORKERS": 1,
                "INVOKER_UPSTREAM_URL": "http://127.0.0.1:8001/invoke",
                "INVOKER_MODELS_FILE": None,
                "INVOKER_JOURNAL_DIR": Path("data/journal"),
                "INVOKER_SIDECAR_URL": "http://127.0.0.1:8002",
                "SIDECAR_SOCKET": Path("data/sidecar.sock"),
            },
        ),
        (
            SidecarSettings,
            {
                "SIDECAR_HOST": "127.0.0.1",
                "SIDECAR_PORT": 8002,
                "SIDECAR_SOCKET": Path("data/sidecar.sock"),
                "SIDECAR_DATA_DIR": Path("data"),
            },
        ),
    ],
)
def test_the_public_names_and_defaults(settings_class: type[Any], expected: dict[str, object]) -> None:
    """They are fixed: others rely on them."""
    found = {option.envvar: option.default for option in options(settings_class)}
    assert {name: found.get(name, "no such setting") for name in expected} == expected


@pytest.mark.parametrize("settings_class", [InvokerSettings, SidecarSettings])
def test_every_setting_is_complete(settings_class: type[Any]) -> None:
    """Each has a help text that ends in a full stop, a variable of its own, and a default of its own type."""
    found = options(settings_class)
    assert len({option.envvar for option in found}) == len(found)
    for option in found:
        assert option.help
        assert option.help.endswith(".")
        if option.default is not None and not isinstance(option.default, Path):
            assert option.type.convert(str(option.default), option, None) == option.default
        assert isinstance(option, click.Option)


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("SIDECAR_QUERY_TIMEOUT_S", "0", "is not a number from 0.01 to 86,400.0."),
        ("SIDECAR_MAX_BYTES", "10XB", "is not a whole number of bytes from 0 to 1,125,899,906,842,624"),
    ],
)
def test_what_a_sidecar_is_not_started_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    """A time in which no query can be answered is a mistake."""
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("sys.argv", ["metrics-sidecar"])
    with pytest.raises(SystemExit) as ended:
        run_command(command("metrics-sidecar", "The sidecar.", SidecarSettings, lambda _settings: 0))
    assert ended.value.code == 2
    assert f"{value!r} {allowed}" in capsys.readouterr().err
