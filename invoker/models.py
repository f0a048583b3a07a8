"""Which model goes where: the models file, and the default for models that it doesn't name."""

import tomllib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from invoker.settings import InvokerSettings
from shared.record import check_model_id
from shared.settings import ABSOLUTE_URL, UNIX_URL, StartupError, is_http_url

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_in_flight`: calls of this model at one time per worker; a further one is answered 429."""

    max_in_flight: Annotated[int, Meta(ge=1)] | None = None


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of the models file. `timeout` is in seconds, for the whole call; `retries` counts further
    attempts after a connection that couldn't be made."""

    upstream: str
    protocol: Literal["worklet"] = "worklet"
    timeout: Seconds | None = None
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    limits: Limits = Limits()


class Model(msgspec.Struct, frozen=True):
    """How to call one model."""

    upstream_url: str
    timeout_s: float
    retries: int = 0
    max_in_flight: int | None = None


class Models:
    """All models: those of the file, and one default for the others, if there is an upstream for them."""

    def __init__(self, named: dict[str, Model], default: Model | None) -> None:
        self._named = named
        self._default = default

    @property
    def names(self) -> list[str]:
        return list(self._named)

    def find(self, model_id: str) -> Model | None:
        return self._named.get(model_id, self._default)


def load_models(settings: InvokerSettings) -> Models:
    """The models of these settings; `StartupError` names the file, the table and what is wrong."""
    default = Model(settings.upstream_url, settings.timeout_s) if settings.upstream_url else None
    if settings.models_file is None:
        return Models({}, default)
    try:
        tables = tomllib.loads(settings.models_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"INVOKER_MODELS_FILE: {str(settings.models_file)!r}: {error}") from None
    return Models({name: _model(settings, name, table) for name, table in tables.items()}, default)


def _model(settings: InvokerSettings, model_id: str, table: object) -> Model:
    where = f"INVOKER_MODELS_FILE: {str(settings.models_file)!r}: [{model_id!r}]"
    if problem := check_model_id(model_id):
        raise StartupError(f"{where}: {problem}")
    try:
        parsed = msgspec.convert(table, ModelTable)
    except msgspec.ValidationError as error:
        raise StartupError(f"{where}: {_explain(error, table)}") from None
    if not is_http_url(parsed.upstream, unix=True):
        raise StartupError(f"{where}: upstream: {parsed.upstream!r} is not {ABSOLUTE_URL} or {UNIX_URL}")
    return Model(
        upstream_url=parsed.upstream,
        timeout_s=parsed.timeout or settings.timeout_s,
        retries=parsed.retries,
        max_in_flight=parsed.limits.max_in_flight,
    )


def _explain(error: msgspec.ValidationError, table: object) -> str:
    """msgspec's reason, with the key first and the value that it leaves out."""
    if isinstance(table, dict) and any(isinstance(value, dict) for key, value in table.items() if key != "limits"):
        return f'{error}; a model id with a dot in it is written in quotes: ["gpt-3.5"]'
    reason, _, path = str(error).partition(" - at `$.")
    value: object = table
    for key in filter(None, path.rstrip("`").split(".")):
        value = value.get(key) if isinstance(value, dict) else None
    return f"{path.rstrip('`')}: {reason}, is {value!r:.80}" if path else f"{reason}, is {value!r:.80}"
