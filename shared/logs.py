"""Logs are events with fields, one line each: readable text, or JSON when asked."""

import logging
import sys
from typing import Any, Literal

import structlog

LogFormat = Literal["text", "json"]


def configure(log_format: LogFormat, level: str) -> None:
    """Send structlog's and the standard library's events to stderr in one form."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
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
    # aiohttp answers a malformed request with 400 and logs a traceback of it: no news to an operator.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def get(name: str) -> Any:
    """A logger whose events carry `component`. It may be made before `configure`: it looks at the
    configuration when it first logs, where a `bind` would have fixed the default one at once."""
    return structlog.get_logger(component=name)


def _keep(_logger: Any, _method: str, event: Any) -> Any:
    return event
