"""Where a table of the models file sends calls."""

from collections.abc import Mapping
from pathlib import Path

from invoker.models_file.allowed import read_table, shown
from invoker.models_file.findings import Findings, Place
from invoker.models_file.secrets import check_headers, read_key
from invoker.models_file.tables import Health, HealthTable, Manner, ModelTable, UpstreamTable
from invoker.routing.alias import Alias, parse_alias
from invoker.routing.credentials import credentials
from invoker.routing.endpoints import Endpoint, upstream_name
from invoker.routing.limits import Limit
from invoker.routing.probing import HealthCheck
from shared.settings import ABSOLUTE_URL, UNIX_URL, is_http_url


def read_endpoints(
    table: ModelTable, written: Mapping[str, object], prefix: str | None, directory: Path, place: Place
) -> list[Endpoint]:
    """Those of a table that was `written` so, for all ids that begin with `prefix` or (None) for one, and is at this
    place; files that it names are looked for in `directory`. What is wrong is told."""
    reader = _Reader(table, prefix, directory, place)
    if "upstream" in written and "upstreams" in written:
        place.at("upstreams").error("upstream stands there, too; only one of them may be given")
    elif "upstream" in written:
        one = None if table.upstream is None else reader.read(UpstreamTable(table.upstream), place, "upstream")
        return [] if one is None else [one]
    elif "upstreams" in written:
        return reader.read_all(written["upstreams"])
    else:
        meant = written and written.keys() <= {*Manner.__struct_fields__}
        hint = '; what is for all tables stands in ["*".defaults]' if meant else ""
        place.error(f"there is neither upstream, a URL, nor upstreams, several tables; one of them must be given{hint}")
    return []


def health_check(said: Health) -> HealthCheck | None:
    check = HealthTable(said) if isinstance(said, str) else said
    if check is None or not check.path:
        return None
    return HealthCheck(check.path, check.interval, check.timeout, check.failures, check.successes)


class _Reader:
    def __init__(self, table: ModelTable, prefix: str | None, directory: Path, place: Place) -> None:
        self._table = table
        self._prefix = prefix
        self._directory = directory
        self._place = place
        self._common_key: list[str | None] = []  # once it was looked for
        self._common_alias = self._alias(table.upstream_model, place)
        check_headers(table.headers, place.at("headers"))

    def read_all(self, written: object) -> list[Endpoint]:
        found: dict[str, Endpoint] = {}
        if not isinstance(written, list):
            return []
        for number, one in enumerate(written):
            place = self._place.at("upstreams", number)
            table = read_table(UpstreamTable, one, Place(Findings(), ("",)))  # what is wrong there was told
            endpoint = None if table is None else self.read(table, place, "url")
            if endpoint is None:
                continue
            if endpoint.name in found:
                place.at("name").error(f"{endpoint.name!r} stands there twice; it is the URL's host and port if none "
                                       "is given")  # fmt: skip
            found[endpoint.name] = endpoint
        return [*found.values()]

    def read(self, table: UpstreamTable, place: Place, field: str) -> Endpoint | None:
        if not is_http_url(table.url, unix=True):
            place = place.at(field)
            place.error(f"{shown(table.url, place)} is not {ABSOLUTE_URL} or {UNIX_URL}")
            return None
        key = self._key(table, place)
        if table.headers is not None:
            check_headers(table.headers, place.at("headers"))
        headers = self._table.headers if table.headers is None else table.headers
        try:
            own = credentials(self._table.protocol, table.url, key=key, headers=headers)
        except ValueError as error:
            place.error(str(error))
            return None
        name = table.name or upstream_name(table.url)
        limit = None if table.max_in_flight is None else Limit(table.max_in_flight)
        health = health_check(self._table.health if table.health is None else table.health)
        alias = self._alias(table.upstream_model, place) or self._common_alias
        return Endpoint(table.url, name, table.weight, table.priority, own, limit, health=health, alias=alias)

    def _alias(self, text: str | None, place: Place) -> Alias | None:
        if text is None:
            return None
        try:
            return parse_alias(text, self._prefix)
        except ValueError as error:
            place.at("upstream_model").error(str(error))
            return None

    def _key(self, table: UpstreamTable, place: Place) -> str | None:
        """Its own, or else its model's."""
        if table.api_key_env is not None or table.api_key_file is not None:
            return read_key(self._directory, table.api_key_env, table.api_key_file, place)
        if not self._common_key:
            model = self._table
            self._common_key = [read_key(self._directory, model.api_key_env, model.api_key_file, self._place)]
        return self._common_key[0]
