"""The sidecar's settings."""

import dataclasses
from pathlib import Path
from typing import Literal

import click

from metrics_sidecar.history.windows import UNITS_US, parse_duration
from shared.origins import Origins
from shared.settings import PATH, PORT, SECONDS, SOCKET_PATH, Bytes, Choice, Number, log_format, log_level, setting

HISTORY_FILE = "history.db"
SHORTEST_RETENTION_US = UNITS_US["h"]


FOREVER = "forever"


def age_us(text: str) -> int | None:
    """µs of a duration; None for ever. `ValueError` for neither."""
    return None if text == FOREVER else parse_duration(text)


class Age(click.ParamType[str]):
    """A duration of an hour at the least, or for ever; left as it is."""

    name = "age"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parsed_us = age_us(value)
        except ValueError:
            parsed_us = 0
        if parsed_us is None or parsed_us >= SHORTEST_RETENTION_US:
            return value
        return self.fail(f"{value!r} is not {FOREVER}, or a number and m, h, d or w, from 1h to ten years.", param, ctx)


@dataclasses.dataclass(frozen=True)
class SidecarSettings:
    """Parsed and checked; see `shared.settings`."""

    host: str = setting(
        "SIDECAR_HOST", "127.0.0.1", click.STRING, "Addresses of the HTTP API, with commas between them; * is all."
    )
    port: int = setting("SIDECAR_PORT", 8002, PORT, "Port of the HTTP API; 0 takes a free one.")
    cors_origins: str = setting(
        "SIDECAR_CORS_ORIGINS",
        "",
        Origins(),
        "Origins whose pages may call this from a browser, with commas between them, or * for any; empty: none.",
    )
    socket: Path = setting(
        "SIDECAR_SOCKET", Path("data/sidecar.sock"), SOCKET_PATH, "Unix socket that gateway workers send records to."
    )
    data_dir: Path = setting("SIDECAR_DATA_DIR", Path("data"), PATH, "Directory of history.db.")
    durability: Literal["process", "power"] = setting(
        "SIDECAR_DURABILITY",
        "process",
        Choice("process", "power"),
        "What a commit survives before it is acknowledged: the death of any process, or a loss of power.",
    )
    max_models: int = setting(
        "SIDECAR_MAX_MODELS",
        2000,
        Number(1, 100_000),
        "Models with a label of their own in metrics and statistics; the others share __overflow__.",
    )
    max_producers: int = setting(
        "SIDECAR_MAX_PRODUCERS",
        1024,
        Number(1, 100_000),
        "Connections on the socket at one time; a further one is refused.",
    )
    retention: str = setting(
        "SIDECAR_RETENTION",
        "30d",
        Age(),
        "How long single invocations are kept: 12h, 30d, 8w or forever.",
    )
    retention_minutes: str = setting(
        "SIDECAR_RETENTION_MINUTES",
        "30d",
        Age(),
        "How long sums by the minute are kept, if not longer as invocations.",
    )
    retention_hours: str = setting(
        "SIDECAR_RETENTION_HOURS",
        "400d",
        Age(),
        "How long sums by the hour are kept, if not longer as what is finer.",
    )
    retention_days: str = setting(
        "SIDECAR_RETENTION_DAYS",
        FOREVER,
        Age(),
        "How long sums by the day are kept, if not longer as what is finer; totals are kept forever.",
    )
    max_bytes: int = setting(
        "SIDECAR_MAX_BYTES",
        0,
        Bytes(0, 2**50),
        "Size of the history beyond which the oldest invocations are removed before their time; 0: any size.",
    )
    query_timeout_s: float = setting(
        "SIDECAR_QUERY_TIMEOUT_S",
        5.0,
        Number(0.01, 86_400.0),
        "Seconds, 0.01 at the least, that one query of the history may take; a longer one is ended and answered 503.",
    )
    shutdown_grace_s: float = setting(
        "SIDECAR_SHUTDOWN_GRACE_S",
        3.0,
        SECONDS,
        "Seconds to go on committing after SIGTERM while gateway workers are still connected.",
    )
    log_format: Literal["text", "json"] = log_format()
    log_level: str = log_level()


@dataclasses.dataclass(frozen=True)
class VerifySettings:
    """What `metrics-sidecar verify` looks at."""

    data_dir: Path = setting("SIDECAR_DATA_DIR", Path("data"), PATH, "Directory of history.db.")
