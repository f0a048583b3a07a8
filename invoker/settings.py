"""The gateway's settings."""

import dataclasses
from pathlib import Path
from typing import Literal

import click

from shared.head_rules import MAX_HEADER_BYTES
from shared.origins import Origins
from shared.settings import (
    BYTES,
    PATH,
    PORT,
    SECONDS,
    SOCKET_PATH,
    Bytes,
    Choice,
    HttpUrl,
    Number,
    log_format,
    log_level,
    setting,
)


@dataclasses.dataclass(frozen=True)
class InvokerSettings:
    """Parsed and checked; see `shared.settings`."""

    host: str = setting(
        "INVOKER_HOST",
        "127.0.0.1",
        click.STRING,
        "Addresses that callers connect to, with commas between them; * is all.",
    )
    port: int = setting("INVOKER_PORT", 8000, PORT, "Port that callers connect to; 0 takes a free one.")
    workers: int = setting("INVOKER_WORKERS", 1, Number(1, 256), "Worker processes that share the port.")
    upstream_url: str = setting(
        "INVOKER_UPSTREAM_URL",
        "http://127.0.0.1:8001/invoke",
        HttpUrl(may_be_empty=True, unix=True),
        "Where any model goes that the models file doesn't name; empty: such a model is unknown (404).",
    )
    openai_url: str = setting(
        "INVOKER_OPENAI_URL",
        "http://127.0.0.1:8001/v1",
        HttpUrl(may_be_empty=True, unix=True),
        "Base of OpenAI's paths, for models that the models file doesn't name; empty: such a model is unknown (404).",
    )
    anthropic_url: str = setting(
        "INVOKER_ANTHROPIC_URL",
        "http://127.0.0.1:8001",
        HttpUrl(may_be_empty=True, unix=True),
        "Base of Anthropic's paths, which begin with /v1, for such models; empty: likewise.",
    )
    kserve_url: str = setting(
        "INVOKER_KSERVE_URL",
        "http://127.0.0.1:8001",
        HttpUrl(may_be_empty=True, unix=True),
        "Base of KServe's paths, which begin with /v2, for such models; empty: likewise.",
    )
    models_file: Path | None = setting(
        "INVOKER_MODELS_FILE", None, PATH, "TOML file with one table per model: upstream, timeout, limits."
    )
    timeout_s: float = setting(
        "INVOKER_TIMEOUT_S",
        120.0,
        Number(0.001, 86_400.0),
        "Seconds for a whole call, retries included, where the models file gives none.",
    )
    max_in_flight: int = setting(
        "INVOKER_MAX_IN_FLIGHT",
        4096,
        Number(1, 1_000_000),
        "Calls in flight per worker; a further one is answered 429.",
    )
    max_connections: int = setting(
        "INVOKER_MAX_CONNECTIONS",
        10_000,
        Number(1, 1_000_000),
        "Connections of callers per worker; on a further one only /healthz and /readyz are answered, and all else 503.",
    )
    max_body_bytes: int = setting("INVOKER_MAX_BODY_BYTES", 64 * 1024 * 1024, BYTES, "Largest request body, unpacked.")
    max_bodies_bytes: int = setting(
        "INVOKER_MAX_BODIES_BYTES",
        512 * 1024 * 1024,
        BYTES,
        "Large bodies and unread answers of all callers together, per worker; a further one is answered 503.",
    )
    max_header_bytes: int = setting(
        "INVOKER_MAX_HEADER_BYTES",
        MAX_HEADER_BYTES,
        Bytes(MAX_HEADER_BYTES, 1024 * 1024),
        "Largest header line of a request; all of them may take four times as much, or are answered 431.",
    )
    max_answer_bytes: int = setting(
        "INVOKER_MAX_ANSWER_BYTES",
        64 * 1024 * 1024,
        BYTES,
        "Largest upstream answer; a larger one is a failure.",
    )
    journal_dir: Path = setting(
        "INVOKER_JOURNAL_DIR", Path("data/journal"), PATH, "Directory of the workers' journals."
    )
    journal_max_bytes: int = setting(
        "INVOKER_JOURNAL_MAX_BYTES",
        1024 * 1024 * 1024,
        Bytes(1024 * 1024, 2**50),
        "Space for all workers' journals together; beyond it records are dropped and counted.",
    )
    durability: Literal["process", "power"] = setting(
        "INVOKER_DURABILITY",
        "process",
        Choice("process", "power"),
        "What a record survives before its reply is sent: the death of any process, or a loss of power.",
    )
    sidecar_socket: Path = setting(
        "SIDECAR_SOCKET", Path("data/sidecar.sock"), SOCKET_PATH, "Unix socket of the sidecar."
    )
    cors_origins: str = setting(
        "INVOKER_CORS_ORIGINS",
        "",
        Origins(),
        "Origins whose pages may call this from a browser, with commas between them, or * for any; empty: none.",
    )
    sidecar_url: str = setting(
        "INVOKER_SIDECAR_URL",
        "http://127.0.0.1:8002",
        HttpUrl(),
        "Where /metrics and /metrics/* asked of the gateway are forwarded.",
    )
    worker_timeout_s: float = setting(
        "INVOKER_WORKER_TIMEOUT_S",
        5.0,
        SECONDS,
        "Seconds that a worker may stand still before it is killed and replaced; 0: for ever.",
    )
    drain_delay_s: float = setting(
        "INVOKER_DRAIN_DELAY_S",
        2.0,
        SECONDS,
        "Seconds after SIGTERM in which calls are still taken, so that callers can turn elsewhere; Ctrl-C has none.",
    )
    shutdown_grace_s: float = setting(
        "INVOKER_SHUTDOWN_GRACE_S", 10.0, SECONDS, "Seconds that calls in flight get to finish after that."
    )
    log_format: Literal["text", "json"] = log_format()
    log_level: str = log_level()


@dataclasses.dataclass(frozen=True)
class ShipSettings:
    """What `invoker ship` works with."""

    journal_dir: Path = setting(
        "INVOKER_JOURNAL_DIR", Path("data/journal"), PATH, "Directory of the workers' journals."
    )
    journal_max_bytes: int = setting(
        "INVOKER_JOURNAL_MAX_BYTES",
        1024 * 1024 * 1024,
        Bytes(1024 * 1024, 2**50),
        "Space for all workers' journals together; beyond it records are dropped and counted.",
    )
    sidecar_socket: Path = setting(
        "SIDECAR_SOCKET", Path("data/sidecar.sock"), SOCKET_PATH, "Unix socket of the sidecar."
    )
    timeout_s: float = setting(
        "INVOKER_SHIP_TIMEOUT_S",
        30.0,
        Number(0.1, 86_400.0),
        "Seconds in which nothing arrives at the sidecar before the rest is left where it is.",
    )
    log_format: Literal["text", "json"] = log_format()
    log_level: str = log_level()
