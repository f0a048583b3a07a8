"""Log events as an operator's tools see them."""

import json
import subprocess
import sys

import pytest

BEFORE = "from shared import logs\nlog = logs.get('outbox')\n"


def logged(code: str, log_format: str, level: str = "info") -> str:
    """stderr of a process that made its logger at import, configured, and then ran the code."""
    program = f"{BEFORE}logs.configure({log_format!r}, {level!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == ""
    return done.stderr


def test_an_event_is_one_line_of_json() -> None:
    """With its component, level, time in UTC and fields, though its logger is older than the configuration."""
    event = json.loads(logged("log.warning('outbox.behind', bytes=5, path='a\\nb')", "json"))
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "outbox.behind", "level": "warning", "component": "outbox", "bytes": 5, "path": "a\nb"}


def test_an_event_is_one_line_of_text() -> None:
    """Readable, without colours where no terminal is."""
    (line,) = logged("log.warning('outbox.behind', bytes=5)", "text").splitlines()
    assert "[warning  ] outbox.behind" in line
    assert "component=outbox" in line
    assert "bytes=5" in line
    assert "\x1b" not in line


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_lowest_level(level: str, count: int) -> None:
    """What is below it isn't written."""
    code = "log.debug('a')\nlog.info('b')\nlog.warning('c')\nlog.error('d')"
    assert len(logged(code, "json", level).splitlines()) == count


def test_events_of_libraries_have_the_same_form() -> None:
    """What goes through the standard library is an event, too."""
    event = json.loads(logged("import logging\nlogging.getLogger('asyncio').error('broken %s', 'pipe')", "json"))
    assert (event["event"], event["level"]) == ("broken pipe", "error")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_an_exception_is_told_once(log_format: str) -> None:
    """With its traceback: in JSON still on the one line."""
    text = logged("try: 1 / 0\nexcept ZeroDivisionError: log.exception('worker.crashed')", log_format)
    assert text.count("ZeroDivisionError: division by zero") == 1
    if log_format == "json":
        assert "Traceback" in json.loads(text)["exception"]


def test_malformed_requests_are_no_events() -> None:
    """aiohttp's tracebacks of what callers send stay out of the log."""
    assert logged("import logging\nlogging.getLogger('aiohttp.server').error('bad request')", "json") == ""
