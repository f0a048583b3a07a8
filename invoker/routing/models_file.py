"""The models file: read, checked as a whole, and made into what a worker looks up."""

import re
import tomllib
from decimal import Decimal
from typing import get_args

import msgspec

from invoker.routing.credentials import HIDDEN, check_headers, credentials, read_key
from invoker.routing.endpoints import Endpoint, Group, single, upstream_name
from invoker.routing.limits import Limit
from invoker.routing.models import Model, Models
from invoker.routing.prices import parse_prices, with_floats
from invoker.routing.tables import ModelTable, Protocol, UpstreamTable
from invoker.settings import InvokerSettings
from shared.record import check_model_id
from shared.settings import ABSOLUTE_URL, UNIX_URL, StartupError, is_http_url

_USER = re.compile(r"(//)[^/?#]*(?=@)")


def load_models(settings: InvokerSettings) -> Models:
    """The models of these settings; `StartupError` names the file, the table and what is wrong."""
    try:
        named, by_prefix = _read_tables(settings)
    except RecursionError:
        message = f"INVOKER_MODELS_FILE: {str(settings.models_file)!r}: it is nested too deeply"
        raise StartupError(message) from None
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
    except (OSError, ValueError) as error:  # ValueError: also of numbers with too many digits
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
        limit=_limit(parsed.limits.max_in_flight),
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
    name, limit = table.name or upstream_name(table.url), _limit(table.max_in_flight)
    return Endpoint(table.url, name, table.weight, table.priority, own, limit)


def _limit(max_in_flight: int | None) -> Limit | None:
    return None if max_in_flight is None else Limit(max_in_flight)


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
