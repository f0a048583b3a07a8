"""What a table of the models file may say, and how it is said there."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from invoker.routing.limits import QUEUE_TIMEOUT_S
from shared.record import MAX_UPSTREAM_NAME_CHARS

MAX_UPSTREAMS = 64
"""Of one model."""
MAX_FALLBACK = 8
"""Likewise."""

Protocol = Literal["worklet", "openai", "anthropic", "kserve"]
InFlight = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
UpstreamName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_UPSTREAM_NAME_CHARS,
        pattern="^[!-~]+\\Z",
        description=f"a name of 1 to {MAX_UPSTREAM_NAME_CHARS} visible ASCII characters",
    ),
]


HealthPath = Annotated[
    str,
    Meta(
        pattern=r"^(?:/[!-\"$-~]{0,1023})?\Z",
        description="a path such as '/health': at most 1024 visible ASCII characters, without #",
    ),
]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_in_flight`: calls of this table's models at one time, to the gateway as a whole. `queue`: so many further
    ones wait for room, for `queue_timeout` seconds at most; any other is answered 429. `adaptive`: how many calls there
    may be is found, from `min_in_flight` to `max_in_flight`, see `routing.adapting`."""

    max_in_flight: InFlight | None = None
    queue: Annotated[int, Meta(ge=0, le=100_000)] = 0
    queue_timeout: Seconds = QUEUE_TIMEOUT_S
    adaptive: bool = False
    min_in_flight: InFlight = 1


class HealthTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an endpoint's probes are made, see `routing.probing`; times are in seconds."""

    path: HealthPath
    interval: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    timeout: Annotated[float, Meta(gt=0, le=60)] = 2.0
    failures: Annotated[int, Meta(ge=1, le=100)] = 3
    successes: Annotated[int, Meta(ge=1, le=100)] = 2


Health = HealthPath | HealthTable | None
"""Its path alone, or more; an empty path for none."""


class UpstreamTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several upstreams of a model, see `routing.endpoints`. What it doesn't say of keys, headers and its name
    for the model, its model does."""

    url: str
    name: UpstreamName | None = None
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    priority: Annotated[int, Meta(ge=0, le=100)] = 0
    max_in_flight: InFlight | None = None
    upstream_model: str | None = None
    api_key_env: str | None = None
    api_key_file: str | None = None
    headers: dict[str, str] | None = None
    health: Health = None


class Manner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How calls are made, wherever they go. `timeout` is in seconds, for the whole call, `first_token` until a stream's
    first output, and `idle` for each wait for more of it; `usage`: whether streams are asked for it; `prices`: see
    `routing.prices`; `retries` counts further attempts, see `call.attempts`, and `retry_busy` allows them where there
    was no room."""

    timeout: Seconds | None = None
    idle: Seconds | None = None
    first_token: Seconds | None = None
    usage: Literal["ask", "as_is"] = "ask"
    prices: dict[str, Any] | None = None
    retries: Annotated[int, Meta(ge=0, le=10)] | None = None
    retry_busy: bool | None = None
    limits: Limits = Limits()


class Defaults(Manner, frozen=True, forbid_unknown_fields=True):
    """What tables don't say themselves, see `routing.defaults`; of one protocol before that of all."""

    worklet: Manner | None = None
    openai: Manner | None = None
    anthropic: Manner | None = None
    kserve: Manner | None = None


class ModelTable(Manner, frozen=True, forbid_unknown_fields=True):
    """One table of the models file: it has an `upstream`, or several `upstreams`. `upstream_model`: what it calls the
    model, see `routing.alias`; `fallback`: ids of others that may take its place, see `call.fallback`. `api_key_env`,
    `api_key_file`: where the upstream's own key is; `headers`: what it is told beside that; `health`: what its probes
    are."""

    upstream: str | None = None
    upstreams: Annotated[list[UpstreamTable], Meta(min_length=1, max_length=MAX_UPSTREAMS)] = []
    protocol: Protocol = "worklet"
    upstream_model: str | None = None
    fallback: Annotated[list[str], Meta(max_length=MAX_FALLBACK)] = []
    api_key_env: str | None = None
    api_key_file: str | None = None
    headers: dict[str, str] = {}
    health: Health = None
