"""`invoker check-config`: tells all that is wrong in a models file, or has no effect, as a gateway would read it."""

import contextlib
import os
import sys
from pathlib import Path

from invoker.models_file.reading import check_models, shown_path
from invoker.routing.models import Models
from invoker.settings import InvokerSettings
from shared.settings import StartupError

WRONG = 2


def check(path: Path | None) -> int:
    """Print a line for each finding, and one for all; the exit code: 0, or 2 if there are errors."""
    if path is None:
        raise StartupError("FILE: none is given, and INVOKER_MODELS_FILE is not set")
    models, findings = check_models(InvokerSettings(models_file=path))
    file = shown_path(path)
    lines = [finding.after(file, "error: " if finding.is_error else "warning: ") for finding in findings]
    errors = sum(finding.is_error for finding in findings)
    counts = [_count(errors, "error"), _count(len(findings) - errors, "warning")]
    told = ", ".join(filter(None, counts)) or "fine"
    lines.append(f"{file}: {told}" if models is None else f"{file}: {_contents(models)}: {told}")
    _print(lines)
    return WRONG if models is None else 0


def _contents(models: Models) -> str:
    tables = [(name, model) for _, name, model in models.tables() if name is not None]
    patterns = sum(name.endswith("*") and not name.endswith("\\*") for name, _ in tables)
    endpoints = sum(len(model.group.members) for _, model in tables)
    counts = (len(tables) - patterns, "model"), (patterns, "pattern"), (endpoints, "endpoint")
    return ", ".join(_count(count, what) or f"0 {what}s" for count, what in counts)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}" if count else ""


def _print(lines: list[str]) -> None:
    """Whoever reads them may have had enough."""
    text = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
    with contextlib.suppress(BrokenPipeError):
        while text:
            text = text[os.write(sys.stdout.fileno(), text) :]
