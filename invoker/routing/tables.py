"""What a table of the models file may say, and how it is said there."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.record import MAX_UPSTREAM_NAME_CHARS

MAX_UPSTREAMS = 64
"""Of one model."""

Protocol = Literal["worklet", "openai", "anthropic"]
InFlight = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_in_flight`: calls of this table's models at one time, to the gateway as a whole; a further one is answered
    429."""

    max_in_flight: InFlight | None = None


class UpstreamTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several upstreams of a model, see `routing.endpoints`. What it doesn't say of keys and headers, its model
    does."""

    url: str
    name: Annotated[str, Meta(min_length=1, max_length=MAX_UPSTREAM_NAME_CHARS, pattern="^[!-~]+\\Z")] | None = None
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    priority: Annotated[int, Meta(ge=0, le=100)] = 0
    max_in_flight: InFlight | None = None
    api_key_env: str | None = None
    api_key_file: str | None = None
    headers: dict[str, str] | None = None


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of the models file: it has an `upstream`, or several `upstreams`. `timeout` is in seconds, for the
    whole call, `first_token` until a stream's first output, and `idle` for each wait for more of it; `usage`: whether
    streams are asked for it; `prices`: see `routing.prices`; `retries` counts further attempts, see `call.attempts`,
    and `retry_busy` allows them where there was no room. `api_key_env`, `api_key_file`: where the upstream's own key
    is; `headers`: what it is told beside that."""

    upstream: str = ""
    upstreams: Annotated[list[UpstreamTable], Meta(min_length=1, max_length=MAX_UPSTREAMS)] = []
    protocol: Protocol = "worklet"
    timeout: Seconds | None = None
    idle: Seconds | None = None
    first_token: Seconds | None = None
    usage: Literal["ask", "as_is"] = "ask"
    prices: dict[str, Any] | None = None
    retries: Annotated[int, Meta(ge=0, le=10)] | None = None
    retry_busy: bool | None = None
    limits: Limits = Limits()
    api_key_env: str | None = None
    api_key_file: str | None = None
    headers: dict[str, str] = {}
