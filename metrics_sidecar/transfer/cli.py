"""The commands that work on a data directory: their arguments and options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from metrics_sidecar.settings import SidecarSettings, VerifySettings
from metrics_sidecar.transfer.export_command import SUFFIXES, export
from metrics_sidecar.transfer.import_command import import_files
from metrics_sidecar.transfer.upkeep_commands import compact_history, info
from shared.clock import SystemClock
from shared.settings import PATH, options

FORMATS = click.Choice(sorted(set(SUFFIXES.values())))


def _command(name: str, help_: str, run: Callable[..., int], *params: click.Parameter) -> click.Command:
    """A command with `--data-dir` beside its own parameters."""
    return click.Command(name, help=help_, params=[*params, *options(VerifySettings)], callback=run)


def _import(data_dir: Path, files: tuple[Path, ...], max_models: int) -> int:
    return import_files(data_dir, files, max_models, SystemClock())


def _info(data_dir: Path, as_json: bool) -> int:
    return info(data_dir, as_json=as_json)


def _option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, show_default=bool(attributes.get("default")), **attributes)


COMMANDS = (
    _command(
        "export",
        "Writes the invocations of a data directory to a file, whether a sidecar runs on it or not. Changes nothing.",
        export,
        _option("--output", "-o", type=PATH, default="-", help="File or pipe; - is stdout. Ends in .gz: compressed."),
        _option("--format", "format_", type=FORMATS, help="Format, where the file's name doesn't tell it."),
        _option("--filter", "filters", default="", help="Which ones, as of /metrics/history: 'status=failure&since=…'"),
    ),
    _command(
        "import",
        "Adds the rows of exports, NDJSON (gzip, too) or Parquet, to a data directory that no sidecar runs on; - is "
        "stdin. What is there already is not added again. Exit code 1 if a line can't be read.",
        _import,
        click.Argument(["files"], type=PATH, nargs=-1, required=True, metavar="FILE..."),
        *[option for option in options(SidecarSettings) if option.name == "max_models"],
    ),
    _command(
        "compact",
        "Writes history.db anew without its holes, and says how large it was and is. No sidecar may run on it.",
        compact_history,
    ),
    _command(
        "info",
        "Says what is in a data directory: rows, times, models, bytes. Changes nothing.",
        _info,
        _option("--json", "as_json", is_flag=True, help="As JSON."),
    ),
)
