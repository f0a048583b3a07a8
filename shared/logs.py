"""Logs are events with fields, one line each: readable text, or JSON when asked."""

import atexit
import logging
import sys
import threading
from types import TracebackType
from typing import Any, Literal

import structlog

from shared.log_output import LineOutput

LogFormat = Literal["text", "json"]

FLUSH_S = 1.0
"""How long a process that ends waits for whoever reads its last lines."""
DROPPED_REASON = "log lines are dropped: nobody reads them"

_output: LineOutput | None = None


def configure(log_format: LogFormat, level: str) -> None:
    """Send structlog's and the standard library's events to stderr in one form, and what ends the process or a thread
    of it as well. Nobody waits for them to be read."""
    global _output
    _output = LineOutput(2, _note_dropped) if sys.__stderr__ is not None else None
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr is not None and sys.stderr.isatty(),
            pad_event_to=28,
            exception_formatter=structlog.dev.plain_traceback,
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info if log_format == "json" else _keep,
                renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    sys.excepthook = _note_crash
    threading.excepthook = _note_lost_thread
    sys.unraisablehook = _note_unraisable
    atexit.register(flush)
    # aiohttp answers a malformed request with 400 and logs a traceback of it: no news to an operator.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def start_writer() -> None:
    """From now on a thread of this process writes: to be called once it forks no more. Without one, what can't be
    written at once waits for the next event."""
    if _output is not None:
        _output.start()


def tell(line: str) -> None:
    """A line as it is, such as why a process can't start."""
    if sys.stderr is None:
        return
    if sys.stderr is not sys.__stderr__:  # a test's
        print(line, file=sys.stderr)
        return
    output = _output or LineOutput(2, _note_dropped)
    output.write(line)
    output.flush(FLUSH_S)


def flush() -> None:
    """Before the process ends: until all is written, but not for long."""
    if _output is not None:
        _output.flush(FLUSH_S)


def dropped() -> int:
    """Lines that this process has dropped, because nobody read them."""
    return 0 if _output is None else _output.dropped


def reasons() -> list[str]:
    """For `/readyz`: whether lines are being dropped."""
    return [DROPPED_REASON] if _output is not None and _output.is_stalled else []


def get(name: str) -> Any:
    """A logger whose events carry `component`. It may be made before `configure`: it looks at the
    configuration when it first logs, where a `bind` would have fixed the default one at once."""
    return structlog.get_logger(component=name)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _output is None:
            return
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - what is logged must not fail by it
            line = f"an event of {record.name} can't be written: {error!r}"
        _output.write(line)


def _note_dropped(count: int) -> None:
    get("log").warning("log.dropped", count=count)


def _note_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    get("process").critical("process.crashed", exc_info=(kind, error, traceback))


def _note_lost_thread(lost: threading.ExceptHookArgs) -> None:
    error = lost.exc_value or lost.exc_type()
    get("process").error("process.thread_lost", thread=lost.thread and lost.thread.name, exc_info=error)


def _note_unraisable(lost: "sys.UnraisableHookArgs") -> None:
    get("process").error("process.exception_ignored", where=repr(lost.object)[:200], exc_info=lost.exc_value or True)


def _keep(_logger: Any, _method: str, event: Any) -> Any:
    return event
