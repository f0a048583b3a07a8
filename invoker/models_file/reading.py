"""The models file: read, checked as a whole, and made into what a worker looks up."""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple, get_args

from invoker.models_file.allowed import read_table
from invoker.models_file.defaults import Inherited, check_prices
from invoker.models_file.doubts import doubt_manner, doubt_upstreams
from invoker.models_file.endpoint_tables import read_endpoints
from invoker.models_file.findings import Finding, Findings, Place
from invoker.models_file.other_models import OtherModels
from invoker.models_file.tables import Limits, Manner, ModelTable, Protocol
from invoker.routing.credentials import credentials
from invoker.routing.endpoints import Group, single
from invoker.routing.limits import Limit
from invoker.routing.models import Model, Models
from invoker.routing.places import SLOTS
from invoker.routing.prices import parse_prices, with_floats
from invoker.settings import InvokerSettings
from shared.record import check_model_id
from shared.settings import StartupError

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_TOLD = 5
"""Errors of one file that are told where it is used; `invoker check-config` tells all."""

_SYNTAX = re.compile(r"(.*?)(?: \(at line (\d+), (column \d+)\)| \(at (end of document)\))?", re.DOTALL)

Table = dict[str, Model]


class Checked(NamedTuple):
    """`models`: None if there are errors. `findings`: with warnings, in the order of the file."""

    models: Models | None
    findings: list[Finding]


def load_models(settings: InvokerSettings) -> Models:
    """The models of these settings, or what `usable` raises."""
    return usable(check_models(settings), settings.models_file)


def usable(checked: Checked, path: Path | None) -> Models:
    """The models of a file; `StartupError` names it, lines, tables and what is wrong."""
    if checked.models is not None:
        return checked.models
    errors = [finding for finding in checked.findings if finding.is_error]
    file = shown_path(path)
    told = [f"INVOKER_MODELS_FILE: {error.after(file)}" for error in errors[:MAX_TOLD]]
    if more := len(errors) - len(told):
        told.append(f"INVOKER_MODELS_FILE: {file}: … and {more} more; invoker check-config tells all of them")
    raise StartupError(*told)


def check_models(settings: InvokerSettings) -> Checked:
    """Whatever is wrong in a file is found, and told at once."""
    try:
        text, tables = ("", {}) if settings.models_file is None else _read(settings.models_file)
        findings = Findings()
        reader = _Reader(settings, findings)
        reader.read(tables)
        found = findings.listed(text)
    except _UnreadableError as error:
        return Checked(None, [Finding(*error.args)])
    except RecursionError:
        return Checked(None, [Finding(0, "it is nested too deeply")])
    if findings.wrong:
        return Checked(None, found)
    models = reader.models()
    if (limits := len(dict(models.limits()))) > SLOTS:
        told = f"limits: {limits} of models and upstreams are too many; at most {SLOTS} are counted"
        return Checked(None, [Finding(0, told), *found])
    return Checked(models, found)


def shown_path(path: Path | None) -> str:
    text = str(path)
    return text if text.isprintable() else repr(text)


class _UnreadableError(Exception):
    """With a line, or 0, and a reason."""


def _read(path: Path) -> tuple[str, dict[str, object]]:
    """Its text, and what that is as TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _UnreadableError(0, getattr(error, "strerror", None) or str(error)) from None
    if len(content) > MAX_FILE_BYTES:
        raise _UnreadableError(0, f"it is larger than {MAX_FILE_BYTES} bytes, the limit")
    try:
        text = content.decode("utf-8-sig")
        return text, tomllib.loads(text, parse_float=_decimal)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        like = ", but like UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise _UnreadableError(line, f"byte 0x{content[error.start]:02x} is no UTF-8{like}; TOML is") from None
    except ValueError as error:  # also of numbers with too many digits
        found = _SYNTAX.fullmatch(str(error))
        assert found is not None  # it matches all
        reason, line_number, column, end = found.groups()
        at = int(line_number) if line_number else text.rstrip("\n").count("\n") + 1 if end else 0
        raise _UnreadableError(at, f"{reason} ({column or end})" if at else reason) from None


def _decimal(text: str) -> Decimal:
    """`ValueError` where the exponent is beyond any that there is."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text:.40} is no number that can be kept") from None


class _Reader:
    """Of one file. `named`, `by_prefix`: by protocol, the models by id, and by how their ids begin."""

    def __init__(self, settings: InvokerSettings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._inherited = Inherited()
        self._others = OtherModels()
        self._named: dict[str, Table] = {protocol: {} for protocol in get_args(Protocol)}
        self._by_prefix: dict[str, Table] = {protocol: {} for protocol in get_args(Protocol)}

    def read(self, tables: Mapping[str, object]) -> None:
        known: list[tuple[bool, str, dict[str, object], Place]] = []
        for key, written in tables.items():
            place = Place(self._findings, (key,))
            name = _parse_name(key, place)
            table = with_floats(written)
            if not isinstance(table, dict):
                place.error(f"this is no table; there is one for each model, and {_FOR_ALL}")
            elif name is not None:
                alone = self._read_defaults(*name, table, place) and not table
                if not alone:
                    known.append((*name, table, place))
        for is_pattern, text, table, _ in known:
            self._others.add(str(table.get("protocol", "worklet")), is_pattern=is_pattern, text=text)
        for one in known:
            self._read_table(*one)
        self._inherited.doubt()

    def models(self) -> Models:
        settings = self._settings
        worklet = self._of("worklet", settings.upstream_url)
        dialects = {
            "openai": settings.openai_url,
            "anthropic": settings.anthropic_url,
            "kserve": settings.kserve_url,
        }
        return Models(*worklet, {name: Models(*self._of(name, url)) for name, url in dialects.items()})

    def _of(self, protocol: str, url: str) -> tuple[Table, Model | None, Table]:
        return self._named[protocol], self._default(protocol, url), self._by_prefix[protocol]

    def _read_defaults(self, is_pattern: bool, text: str, table: dict[str, object], place: Place) -> bool:
        """Out of a table that may have nothing else; whether there are any."""
        if "defaults" not in table:
            return False
        place, written = place.at("defaults"), table.pop("defaults")
        if is_pattern:
            self._inherited.add(text, written, place)
        else:
            place.error(f"only the table of a pattern, such as 'team/*', has them; {_FOR_ALL}")
        return True

    def _read_table(self, is_pattern: bool, text: str, table: dict[str, object], place: Place) -> None:
        protocol = table.get("protocol", "worklet")
        written = {**self._inherited.of(text, str(protocol)), **table}
        parsed = read_table(ModelTable, written, place)
        if parsed is None or (table and not table.keys() & set(ModelTable.__struct_fields__)):
            return  # nothing of it is what it should be, which was told
        check_prices(parsed, place)
        self._others.check(parsed.fallback, parsed.protocol, None if is_pattern else text, place.at("fallback"))
        directory = self._settings.models_file.parent if self._settings.models_file is not None else Path()
        endpoints = read_endpoints(parsed, written, text if is_pattern else None, directory, place)
        if endpoints and not place.has_errors:
            models = (self._by_prefix if is_pattern else self._named)[parsed.protocol]
            models[text] = model = self._model(parsed, Group(endpoints), tuple(parsed.fallback))
            if parsed.limits.queue and model.limit is None and "limits" in table:
                place.at("limits", "queue").warn("there is no max_in_flight to wait for, here or of an upstream")
            if parsed.limits.adaptive and parsed.limits.max_in_flight is None and "limits" in table:
                place.at("limits", "adaptive").warn("there is no max_in_flight up to which a limit could be found")
            doubt_manner(parsed, table.keys(), parsed.protocol, place, len(endpoints))
            doubt_upstreams(parsed, written, directory, place)

    def _default(self, protocol: str, url: str) -> Model | None:
        """Where those go that no table names."""
        if not url:
            return None
        manner = read_table(Manner, self._inherited.of("", protocol), Place(self._findings, ("*", "defaults")))
        assert manner is not None  # it was read before
        return self._model(manner, single(url, credentials(protocol, url)))

    def _model(self, manner: Manner, group: Group, fallback: tuple[str, ...] = ()) -> Model:
        others = len(group.members) - 1
        return Model(
            group,
            timeout_s=manner.timeout or self._settings.timeout_s,
            retries=manner.retries if manner.retries is not None else others,
            limit=_limit(manner.limits, group),
            idle_s=manner.idle,
            retry_busy=others > 0 if manner.retry_busy is None else manner.retry_busy,
            first_token_s=manner.first_token,
            asks_usage=manner.usage == "ask",
            prices=None if manner.prices is None else parse_prices(manner.prices),
            fallback=fallback,
        )


def _limit(limits: Limits, group: Group) -> Limit | None:
    """Of the whole table; also where only its endpoints have one: it is the table's calls that wait for them."""
    if limits.max_in_flight is None and not group.limited:
        return None
    least = min(limits.min_in_flight, limits.max_in_flight or 1)
    return Limit(limits.max_in_flight, limits.queue, limits.queue_timeout, limits.adaptive, least)


_FOR_ALL = 'what is for all of them stands in ["*".defaults]'


def _parse_name(name: str, place: Place) -> tuple[bool, str] | None:
    """Whether a table is for all ids that begin so, and how they begin; or the one id."""
    is_pattern = name.endswith("*") and not name.endswith("\\*")
    text = name[:-1] if is_pattern else f"{name[:-2]}*" if name.endswith("\\*") else name
    if "*" in (text if is_pattern else text[:-1]):
        place.error("a * may only stand at the end, as in 'team/*'; one that is meant as it is, as '\\*'")
    elif (text or not is_pattern) and (problem := check_model_id(text)):
        place.error(problem)
    else:
        return is_pattern, text
    return None
