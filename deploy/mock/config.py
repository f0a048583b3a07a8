"""What the mock server does to an invocation: a default behaviour, and overrides per model.

The same facts come from flags (`gpt-3.5=lognormal:120ms,0.5;failure=0.02`) and, while the server runs, as
JSON. Both ways a wrong value is a `ValueError` that names the field, the value and what is allowed.
"""

from functools import reduce
from operator import getitem
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from deploy.mock.latency import Latency, parse_latency
from deploy.mock.streams import StreamBehaviour
from shared.record import check_model_id

MAX_MODELS = 10_000

Rate = Annotated[float, Meta(ge=0, le=1)]
Status = Annotated[int, Meta(ge=400, le=599)]
Seed = Annotated[int, Meta(ge=0, le=2**53)]
FAILURE_STATUS = 500
Struct = TypeVar("Struct", bound=msgspec.Struct)


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model's overrides; None means as the default. `latency` as `parse_latency` reads it; `failure_status` is
    what failures are answered with, and `retry_after` their header, as it is sent."""

    latency: str | None = None
    failure_rate: Rate | None = None
    failure_status: Status = FAILURE_STATUS
    retry_after: str | None = None
    stream: StreamBehaviour = StreamBehaviour()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole behaviour. With a `seed`, equal requests in equal order meet equal fates."""

    latency: str
    failure_rate: Rate = 0.0
    seed: Seed | None = None
    models: dict[str, Behaviour] = {}


class Fate(msgspec.Struct, frozen=True):
    """A behaviour made ready for use."""

    latency: Latency
    failure_rate: float
    failure_status: int
    retry_after: str | None
    stream: StreamBehaviour


def fate(config: Config, behaviour: Behaviour) -> Fate:
    """What happens to a model's invocations: the default's values where the model has none of its own."""
    rate = config.failure_rate if behaviour.failure_rate is None else behaviour.failure_rate
    latency = parse_latency(behaviour.latency or config.latency)
    return Fate(latency, rate, behaviour.failure_status, behaviour.retry_after, behaviour.stream)


def parse_override(text: str) -> tuple[str, Behaviour]:
    """`MODEL=PART;…` with parts that are a latency or `failure=RATE`."""
    model_id, _, rest = text.partition("=")
    _check_model_id(model_id)
    latency: str | None = None
    failure_rate: float | None = None
    for part in filter(None, rest.split(";")):
        if part.startswith("failure="):
            failure_rate = _parse_rate(part.removeprefix("failure="))
        else:
            parse_latency(part)
            latency = part
    if latency is None and failure_rate is None:
        raise ValueError(f"{text!r} is not MODEL=LATENCY, MODEL=failure=RATE or MODEL=LATENCY;failure=RATE")
    return model_id, Behaviour(latency, failure_rate)


def decode_config(body: bytes) -> Config:
    """A whole configuration from JSON; `msgspec.DecodeError` if it is no JSON, else `ValueError`."""
    fields: Any = msgspec.json.decode(body)
    models = fields.get("models") if isinstance(fields, dict) else None
    for model_id, behaviour in (models if isinstance(models, dict) else {}).items():
        _check_model_id(model_id)
        _behaviour(behaviour, f"models[{model_id!r}]")
    config = _convert(fields, Config)
    if len(config.models) > MAX_MODELS:
        raise ValueError(f"models: there are {len(config.models)}; allowed are at most {MAX_MODELS}")
    check_latency("latency", config.latency)
    return config


def decode_behaviour(model_id: str, body: bytes) -> Behaviour:
    """One model's overrides from JSON; errors as for `decode_config`."""
    _check_model_id(model_id)
    return _behaviour(msgspec.json.decode(body))


def check_latency(field: str, text: str) -> None:
    """Raise `ValueError` that names the field if the text is no latency."""
    try:
        parse_latency(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _behaviour(value: Any, where: str = "") -> Behaviour:
    behaviour = _convert(value, Behaviour, where)
    if behaviour.latency is not None:
        check_latency(f"{where}.latency".lstrip("."), behaviour.latency)
    return behaviour


def _convert(value: Any, type_: type[Struct], where: str = "") -> Struct:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        expected, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`")
        name = ".".join(filter(None, (where, field))) or "the body"
        got = f", got {reduce(getitem, field.split('.'), value)!r:.80}" if field else ""
        raise ValueError(f"{name}: {expected}{got}") from None


def _check_model_id(model_id: str) -> None:
    problem = check_model_id(model_id)
    if problem is not None:
        raise ValueError(f"model: {problem}")


def _parse_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"failure: {text!r} is not a rate from 0 to 1")
    return rate
