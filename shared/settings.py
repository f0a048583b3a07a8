"""Settings: one table per process of name, variable, default, unit and help; parsed and checked once.

A settings class is a frozen dataclass whose fields are made by `setting`. `command` turns it into a
click command in which each field is a flag and an environment variable. The environment is read
nowhere else. A wrong value ends the process with one line that names it and exit code 2.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

import click
from click.core import ParameterSource

from shared import logs
from shared.init import go_on_below_init

Settings = TypeVar("Settings")

PATH = click.Path(path_type=Path)


class Number(click.ParamType[float]):
    """An int, or a float if the bounds are floats, from `low` to `high`."""

    name = "number"

    def __init__(self, low: float, high: float) -> None:
        self._low = low
        self._high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = type(self._low)(value)
        except ValueError:
            number = None
        if number is None or not self._low <= number <= self._high:
            kind = "a whole number" if isinstance(self._low, int) else "a number"
            self.fail(f"{value!r} is not {kind} from {self._low:,} to {self._high:,}.", param, ctx)
        return number


class Bytes(click.ParamType[int]):
    """A whole number of bytes from `low` to `high`, with a unit or without: K, M, G and T are powers of 1000, and Ki,
    Mi, Gi and Ti of 1024 (IEC 80000-13); a B may follow."""

    name = "bytes"

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self._high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _BYTES.fullmatch(str(value))
        size: int | None = None
        if match is not None:
            number, prefix, binary = match.groups("")
            size = int(number) * (1024 if binary else 1000) ** ["", *"KMGT"].index(prefix.upper())
        if size is None or not self._low <= size <= self._high:
            allowed = f"a whole number of bytes from {self._low:,} to {self._high:,}, such as 500MB or 10GiB"
            self.fail(f"{value!r} is not {allowed}.", param, ctx)
        return size


_BYTES = re.compile(r"([0-9]{1,18}) ?(?:([KMGT])(i)?)?B?", re.IGNORECASE)

BYTES = Bytes(1, 2**40)
SECONDS = Number(0.0, 86_400.0)
PORT = Number(0, 65_535)
MAX_SOCKET_PATH_BYTES = 107  # what a Unix socket's address holds


ABSOLUTE_URL = "an absolute http:// or https:// URL"
UNIX_URL = "http+unix://%2Fpath%2Fof.sock/path"
UNIX_SCHEME = "http+unix"
"""`http+unix://%2Frun%2Fmodel.sock/invoke`: a Unix socket's path, percent-encoded, in the place of the host."""


def is_http_url(text: str, *, unix: bool = False) -> bool:
    """Whether this is an absolute http or https URL with a host that can be looked up; or, where `unix` says so,
    an http+unix URL with the absolute path of a socket."""
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        if unix and parts.scheme == UNIX_SCHEME:
            path = unquote(parts.netloc)
            return path.startswith("/") and 1 < len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and "\0" not in path
        (parts.hostname or "").encode("idna")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class HttpUrl(click.ParamType[str]):
    """An absolute http or https URL; empty, or that of a Unix socket, only where that has a meaning."""

    name = "url"

    def __init__(self, *, may_be_empty: bool = False, unix: bool = False) -> None:
        self._may_be_empty = may_be_empty
        self._unix = unix

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "" and self._may_be_empty:
            return value
        if not is_http_url(value, unix=self._unix):
            allowed = (
                ABSOLUTE_URL + (f" or {UNIX_URL}" if self._unix else "") + (" or nothing" if self._may_be_empty else "")
            )
            self.fail(f"{value!r} is not {allowed}.", param, ctx)
        return value


def environment_variable(name: str) -> str | None:
    """One that a file of settings names."""
    return os.environ.get(name) if "\0" not in name else None


def setting(env: str, default: object, type_: click.ParamType[Any], help_: str, flag: str | None = None) -> Any:
    """A field of a settings class. The flag is the field's name unless it is given."""
    return dataclasses.field(default=default, metadata={"env": env, "type": type_, "help": help_, "flag": flag})


class Choice(click.Choice[str]):
    """One of these words, in any case; `aliases` are other names of some."""

    def __init__(self, *words: str, **aliases: str) -> None:
        super().__init__(words, case_sensitive=False)
        self._aliases = aliases

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(self._aliases.get(str(value).lower(), value), param, ctx)


class SocketPath(click.Path):
    """Of a Unix socket: no longer than its address can be, which nobody could connect to."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        size = len(os.fsencode(value))
        if not 0 < size <= MAX_SOCKET_PATH_BYTES or "\0" in str(value):
            allowed = f"a path of 1 to {MAX_SOCKET_PATH_BYTES} bytes, which is what a Unix socket's address holds"
            self.fail(f"{os.fspath(value)!r} is not {allowed}; it has {size}.", param, ctx)
        return super().convert(value, param, ctx)


LOG_FORMAT: Any = Choice("text", "json")
LOG_LEVEL: Any = Choice("debug", "info", "warning", "error", warn="warning")
SOCKET_PATH = SocketPath()


def log_format() -> Any:
    return setting("LOG_FORMAT", "text", LOG_FORMAT, "How log events are written.")


def log_level() -> Any:
    return setting("LOG_LEVEL", "info", LOG_LEVEL, "The lowest level that is logged.")


class EnvironmentOption(click.Option):
    """An option whose variable counts when it is set to nothing, too: click itself takes that for unset."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        if value is None and isinstance(self.envvar, str) and isinstance(self.type, HttpUrl):
            return os.environ.get(self.envvar)
        return value


def options(settings_class: type[Any]) -> list[click.Option]:
    """One click option per field."""
    return [
        EnvironmentOption(
            [f"--{(field.metadata['flag'] or field.name).replace('_', '-')}", field.name],
            envvar=field.metadata["env"],
            default=field.default,
            type=field.metadata["type"],
            help=field.metadata["help"],
            show_default=True,
            show_envvar=True,
        )
        for field in dataclasses.fields(settings_class)
    ]


def command(
    name: str, help_: str, settings_class: type[Settings], run: Callable[[Settings], int | None]
) -> click.Command:
    """A click command that parses the settings and hands them to `run`, whose result is the exit code."""

    def callback(**values: Any) -> int | None:
        return run(settings_class(**values))

    return click.Command(name, help=help_, params=[*options(settings_class)], callback=callback)


def command_group(
    name: str,
    help_: str,
    settings_class: type[Settings],
    run: Callable[[Settings], int | None],
    subcommands: Sequence[click.Command],
) -> click.Group:
    """A command like that of `command`, which does something else when it is called with a sub-command.
    Each has its own settings: those given on the command line before the sub-command's name are an error."""

    @click.pass_context
    def callback(ctx: click.Context, /, **values: Any) -> int | None:
        if ctx.invoked_subcommand is None:
            return run(settings_class(**values))
        for option in ctx.command.params:
            if ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
                raise click.UsageError(
                    f"{option.opts[0]} must be given after {ctx.invoked_subcommand!r}, not before it."
                )
        return None

    return click.Group(
        name,
        help=help_,
        params=[*options(settings_class)],
        callback=callback,
        invoke_without_command=True,
        commands=subcommands,
    )


class StartupError(Exception):
    """The process can't start, for reasons that its user can mend: one line each, exit code 2."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


def run_command(cli: click.Command) -> NoReturn:
    """Run a command as a process does: errors are one line on stderr and exit code 2."""
    go_on_below_init()
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        _fail(cli, error.format_message())
    except StartupError as error:
        _fail(cli, *error.args)
    sys.exit(code or 0)


def _fail(cli: click.Command, *messages: str) -> NoReturn:
    for message in messages:
        logs.tell(f"{cli.name}: error: {' '.join(message.split())}")
    sys.exit(2)
