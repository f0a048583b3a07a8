"""The commands that work on a data directory: their arguments and options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from metrics_sidecar.commands.export_command import SUFFIXES, export
from metrics_sidecar.commands.import_command import import_files
from metrics_sidecar.commands.label_commands import forget_labels, list_labels, promote_labels
from metrics_sidecar.commands.mend_command import mend
from metrics_sidecar.commands.upkeep_commands import compact_history, info
from metrics_sidecar.settings import SidecarSettings, VerifySettings
from shared.clock import SystemClock
from shared.settings import PATH, Choice, options

FORMATS = Choice(*sorted(set(SUFFIXES.values())))


def _command(name: str, help_: str, run: Callable[..., int], *params: click.Parameter) -> click.Command:
    """A command with `--data-dir` beside its own parameters."""
    return click.Command(name, help=help_, params=[*params, *options(VerifySettings)], callback=run)


def _import(data_dir: Path, files: tuple[Path, ...], max_models: int) -> int:
    return import_files(data_dir, files, max_models, SystemClock())


def _mend(data_dir: Path) -> int:
    return mend(data_dir, SystemClock())


def _info(data_dir: Path, as_json: bool) -> int:
    return info(data_dir, as_json=as_json)


def _list_labels(data_dir: Path, as_json: bool) -> int:
    return list_labels(data_dir, as_json=as_json)


def _forget_labels(data_dir: Path, models: tuple[str, ...], dry_run: bool) -> int:
    return forget_labels(data_dir, models, dry_run=dry_run)


def _promote_labels(data_dir: Path, models: tuple[str, ...], max_models: int, dry_run: bool) -> int:
    return promote_labels(data_dir, models, max_models, SystemClock(), dry_run=dry_run)


def _option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, show_default=bool(attributes.get("default")), **attributes)


_MAX_MODELS = [option for option in options(SidecarSettings) if option.name == "max_models"]
_MODELS = click.Argument(["models"], nargs=-1, required=True, metavar="MODEL...")
_DRY_RUN = _option("--dry-run", is_flag=True, help="Only say what would be done.")

LABELS = click.Group(
    "labels",
    help="Which models have a label of their own in the metrics. MODEL is an id, or a beginning of ids and *.",
    commands=[
        _command(
            "list",
            "Lists all models: own label or __overflow__, invocations, last call. Changes nothing.",
            _list_labels,
            _option("--json", "as_json", is_flag=True, help="As JSON."),
        ),
        _command(
            "forget",
            "Takes labels away: what these models were counted is counted under __overflow__, whose counters go up by "
            "it at once. No sidecar may run on the directory.",
            _forget_labels,
            _MODELS,
            _DRY_RUN,
        ),
        _command(
            "promote",
            "Gives labels to models under __overflow__: their counters begin at 0, and what was counted there stays "
            "there. No sidecar may run on the directory.",
            _promote_labels,
            _MODELS,
            _DRY_RUN,
            *_MAX_MODELS,
        ),
    ],
)

COMMANDS = (
    _command(
        "export",
        "Writes the invocations of a data directory to a file, whether a sidecar runs on it or not. Changes nothing.",
        export,
        _option("--output", "-o", type=PATH, default="-", help="File or pipe; - is stdout. Ends in .gz: compressed."),
        _option("--format", "format_", type=FORMATS, help="Format, where the file's name doesn't tell it."),
        _option("--filter", "filters", default="", help="Which ones, as of /metrics/history: 'status=failure&since=…'"),
        _option("--bom", is_flag=True, help="CSV begins with a byte order mark, for Excel."),
    ),
    _command(
        "import",
        "Adds the rows of exports, NDJSON (gzip, too) or Parquet, to a data directory that no sidecar runs on; - is "
        "stdin. What is there already is not added again. Exit code 1 if a line can't be read.",
        _import,
        click.Argument(["files"], type=PATH, nargs=-1, required=True, metavar="FILE..."),
        *_MAX_MODELS,
    ),
    _command(
        "compact",
        "Writes history.db anew without its holes, and says how large it was and is. No sidecar may run on it.",
        compact_history,
    ),
    _command(
        "mend-times",
        "Undoes what a wrong clock has done to a data directory that no sidecar runs on; the clock must be right now. "
        "Rows of later than tomorrow get this time, what was hidden shows again, and the clock is believed.",
        _mend,
    ),
    _command(
        "info",
        "Says what is in a data directory: rows, times, models, bytes. Changes nothing.",
        _info,
        _option("--json", "as_json", is_flag=True, help="As JSON."),
    ),
    LABELS,
)
