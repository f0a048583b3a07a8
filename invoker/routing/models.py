"""Which model goes where: the models file, and the default for models that it doesn't name."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from invoker.routing.credentials import HIDDEN, check_headers, credentials, read_key
from invoker.routing.endpoints import Endpoint, Group, single, upstream_name
from invoker.routing.prices import Prices, parse_prices, with_floats
from invoker.settings import InvokerSettings
from shared.record import MAX_UPSTREAM_NAME_CHARS, check_model_id
from shared.settings import ABSOLUTE_URL, UNIX_URL, StartupError, is_http_url

MAX_MATCHED = 10_000
"""Ids whose pattern is known."""
MAX_UPSTREAMS = 64
"""Of one model."""

Protocol = Literal["worklet", "openai", "anthropic"]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]

_USER = re.compile(r"(//)[^/?#]*(?=@)")


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_in_flight`: calls of this model at one time per worker; a further one is answered 429."""

    max_in_flight: Annotated[int, Meta(ge=1)] | None = None


class UpstreamTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several upstreams of a model, see `routing.endpoints`. What it doesn't say of keys and headers, its model
    does."""

    url: str
    name: Annotated[str, Meta(min_length=1, max_length=MAX_UPSTREAM_NAME_CHARS, pattern="^[!-~]+\\Z")] | None = None
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    priority: Annotated[int, Meta(ge=0, le=100)] = 0
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


class Model(msgspec.Struct, frozen=True):
    """How to call one model."""

    group: Group
    timeout_s: float
    retries: int = 0
    max_in_flight: int | None = None
    idle_s: float | None = None
    retry_busy: bool = False
    first_token_s: float | None = None
    asks_usage: bool = True
    prices: Prices | None = None


class Models:
    """All models: those of the file, by id or by how their ids begin, and one default for the others, if there is an
    upstream for them. `dialects`: those that are called by another protocol than worklet."""

    def __init__(
        self,
        named: dict[str, Model],
        default: Model | None,
        by_prefix: Mapping[str, Model] | None = None,
        dialects: "Mapping[str, Models] | None" = None,
    ) -> None:
        self._dialects = dialects or {}
        self._named = named
        self._default = default
        self._of_prefix = dict(sorted((by_prefix or {}).items(), key=lambda item: -len(item[0])))
        self._matched: dict[str, Model | None] = {}

    @property
    def names(self) -> list[str]:
        return [*self._named, *(name for models in self._dialects.values() for name in models.names)]

    def names_of(self, protocol: str) -> list[str]:
        """Of one of the dialects."""
        return self._dialects[protocol].names if protocol in self._dialects else []

    def tables(self, protocol: str = "worklet") -> "Iterator[tuple[str, str | None, Model]]":
        """All of them: protocol, id or pattern (None: where a setting says where to), and the model."""
        for name, model in self._named.items():
            yield protocol, f"{name[:-1]}\\*" if name.endswith("*") else name, model
        for prefix, model in self._of_prefix.items():
            yield protocol, f"{prefix}*", model
        if self._default is not None:
            yield protocol, None, self._default
        for dialect, models in self._dialects.items():
            yield from models.tables(dialect)

    def find(self, model_id: str, protocol: str = "worklet") -> Model | None:
        if protocol != "worklet":
            dialect = self._dialects.get(protocol)
            return None if dialect is None else dialect.find(model_id)
        model = self._named.get(model_id)
        if model is not None:
            return model
        return self._match(model_id) if self._of_prefix else self._default

    def carry_over(self, before: "Models") -> None:
        """What is known of the endpoints of the same tables."""
        for mine, known in ((self._named, before._named), (self._of_prefix, before._of_prefix)):
            for name in mine.keys() & known.keys():
                mine[name].group.carry_over(known[name].group)
        if self._default is not None and before._default is not None:
            self._default.group.carry_over(before._default.group)
        for protocol, models in self._dialects.items():
            if protocol in before._dialects:
                models.carry_over(before._dialects[protocol])

    def _match(self, model_id: str) -> Model | None:
        """The one of the longest pattern. It is kept, as callers name the same few models again and again."""
        if model_id not in self._matched:
            if len(self._matched) >= MAX_MATCHED:
                self._matched.clear()
            matches = (model for prefix, model in self._of_prefix.items() if model_id.startswith(prefix))
            self._matched[model_id] = next(matches, self._default)
        return self._matched[model_id]


def load_models(settings: InvokerSettings) -> Models:
    """The models of these settings; `StartupError` names the file, the table and what is wrong."""
    named, by_prefix = _read_tables(settings)
    urls: dict[Protocol, str] = {"openai": settings.openai_url, "anthropic": settings.anthropic_url}
    dialects: dict[str, Models] = {
        protocol: Models(named[protocol], _default(settings, protocol, url), by_prefix[protocol])
        for protocol, url in urls.items()
    }
    default = _default(settings, "worklet", settings.upstream_url)
    return Models(named["worklet"], default, by_prefix["worklet"], dialects)


Tables = dict[Protocol, dict[str, Model]]


def _default(settings: InvokerSettings, protocol: Protocol, url: str) -> Model | None:
    return Model(single(url, credentials(protocol, url)), settings.timeout_s) if url else None


def _read_tables(settings: InvokerSettings) -> tuple[Tables, Tables]:
    """By protocol, the models by id, and by how their ids begin."""
    named: Tables = {protocol: {} for protocol in get_args(Protocol)}
    by_prefix: Tables = {protocol: {} for protocol in get_args(Protocol)}
    if settings.models_file is None:
        return named, by_prefix
    try:
        text = settings.models_file.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text, parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"INVOKER_MODELS_FILE: {str(settings.models_file)!r}: {error}") from None
    for name, table in tables.items():
        where = f"INVOKER_MODELS_FILE: {str(settings.models_file)!r}: [{name!r}]"
        is_pattern, text = _parse_name(where, name)
        protocol, model = _model(settings, where, table)
        (by_prefix if is_pattern else named)[protocol][text] = model
    return named, by_prefix


def _parse_name(where: str, name: str) -> tuple[bool, str]:
    """Whether a table is for all ids that begin so, and how they begin; or the one id."""
    is_pattern = name.endswith("*") and not name.endswith("\\*")
    text = name[:-1] if is_pattern else f"{name[:-2]}*" if name.endswith("\\*") else name
    if "*" in (text if is_pattern else text[:-1]):
        raise StartupError(
            f"{where}: a * may only stand at the end, as in 'team/*'; one that is meant as it is, as '\\*'"
        )
    if (text or not is_pattern) and (problem := check_model_id(text)):
        raise StartupError(f"{where}: {problem}")
    return is_pattern, text


def _model(settings: InvokerSettings, where: str, written: object) -> tuple[Protocol, Model]:
    table = with_floats(written)
    try:
        parsed = msgspec.convert(table, ModelTable)
    except msgspec.ValidationError as error:
        raise StartupError(f"{where}: {_explain(error, table)}") from None
    endpoints = _endpoints(settings, where, parsed)
    several = len(endpoints) > 1
    try:
        prices = None if parsed.prices is None else parse_prices(parsed.prices)
    except ValueError as error:
        raise StartupError(f"{where}: {error}") from None
    return parsed.protocol, Model(
        Group(endpoints),
        timeout_s=parsed.timeout or settings.timeout_s,
        retries=parsed.retries if parsed.retries is not None else len(endpoints) - 1,
        max_in_flight=parsed.limits.max_in_flight,
        idle_s=parsed.idle,
        retry_busy=several if parsed.retry_busy is None else parsed.retry_busy,
        first_token_s=parsed.first_token,
        asks_usage=parsed.usage == "ask",
        prices=prices,
    )


def _endpoints(settings: InvokerSettings, where: str, parsed: ModelTable) -> list[Endpoint]:
    if bool(parsed.upstream) == bool(parsed.upstreams):
        both = "not both" if parsed.upstream else "there is neither"
        raise StartupError(f"{where}: either upstream, a URL, or upstreams, several tables, must be given; {both}")
    if parsed.upstream:
        return [_endpoint(settings, where, parsed, UpstreamTable(parsed.upstream), "upstream")]
    found: dict[str, Endpoint] = {}
    for number, table in enumerate(parsed.upstreams, 1):
        of_one = f"{where}: upstreams, the {number}."
        endpoint = _endpoint(settings, of_one, parsed, table, "url")
        if endpoint.name in found:
            raise StartupError(f"{of_one}: name: {endpoint.name!r} stands there twice; it is the URL's host and port "
                               "if none is given")  # fmt: skip
        found[endpoint.name] = endpoint
    return [*found.values()]


def _endpoint(settings: InvokerSettings, where: str, model: ModelTable, table: UpstreamTable, field: str) -> Endpoint:
    if not is_http_url(table.url, unix=True):
        raise StartupError(f"{where}: {field}: {_shown(table.url)} is not {ABSOLUTE_URL} or {UNIX_URL}")
    own_key = table.api_key_env is not None or table.api_key_file is not None
    keys = table if own_key else model
    headers = model.headers if table.headers is None else table.headers
    check_headers(where, headers)
    assert settings.models_file is not None
    key = read_key(where, settings.models_file.parent, keys.api_key_env, keys.api_key_file)
    try:
        own = credentials(model.protocol, table.url, key=key, headers=headers)
    except ValueError as error:
        raise StartupError(f"{where}: {error}") from None
    return Endpoint(table.url, table.name or upstream_name(table.url), table.weight, table.priority, own)


def _explain(error: msgspec.ValidationError, table: object) -> str:
    """msgspec's reason, with the key first and the value that it leaves out, unless that may be secret."""
    if isinstance(table, dict) and any(
        isinstance(value, dict) for key, value in table.items() if key not in ModelTable.__struct_fields__
    ):
        return f'{error}; a model id with a dot in it is written in quotes: ["gpt-3.5"]'
    reason, _, path = str(error).partition(" - at `$.")
    value = _without_secrets(table)
    for key in filter(None, path.rstrip("`").partition("[")[0].split(".")):
        value = value.get(key) if isinstance(value, dict) else None
    return f"{path.rstrip('`')}: {reason}, is {_shown(value)}" if path else f"{reason}, is {_shown(value)}"


def _without_secrets(value: object) -> object:
    """What isn't known may be a key that was written where its name belongs."""
    if isinstance(value, list):
        return [_without_secrets(one) for one in value]
    if not isinstance(value, dict):
        return value
    known = {*ModelTable.__struct_fields__, *UpstreamTable.__struct_fields__} - {"headers", "api_key_env"}
    return {
        key: _without_secrets(one) if key in known or isinstance(one, int | float) else HIDDEN
        for key, one in value.items()
    }


def _shown(value: object) -> str:
    return _USER.sub(rf"\1{HIDDEN}", repr(value))[:80]
