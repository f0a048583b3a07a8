"""What a table of the models file may say, though it has no effect or one that can't be meant: warnings."""

import ipaddress
import stat
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from invoker.models_file.findings import Place
from invoker.models_file.tables import Manner, ModelTable, UpstreamTable
from invoker.routing.credentials import CARRIERS, LIKE_A_SECRET
from invoker.routing.limits import QUEUE_TIMEOUT_S

STREAMING = {"openai", "anthropic"}
"""Protocols that have streams."""
REPORTED = {
    "openai": {"input", "cached_input", "output", "reasoning"},
    "anthropic": {"input", "cached_input", "output"},
}
"""What upstreams report, by protocol."""
_OF_CALLS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/infer")
_LOCAL = ("localhost", "local", "internal", "lan", "test", "svc", "home.arpa", "cluster.local")
"""What names end with that no public address has."""


def doubt_manner(manner: Manner, said: Collection[str], protocol: str, place: Place, upstreams: int = 0) -> None:
    """Of what a table for this protocol says of how calls are made. `said`: the names of its own fields; `upstreams`:
    how many it has, if that is known."""
    for name in ("first_token", "idle", "usage"):
        if name in said and protocol not in STREAMING:
            place.at(name).warn(f"has no effect: calls of {protocol} have no streams")
    if "usage" in said and protocol == "anthropic":
        place.at("usage").warn("has no effect: streams of anthropic report their usage unasked")
    if manner.timeout is not None:
        for name, seconds in (("first_token", manner.first_token), ("idle", manner.idle)):
            if name in said and protocol in STREAMING and seconds is not None and seconds >= manner.timeout:
                place.at(name).warn(f"has no effect: timeout, {manner.timeout:g} s, is over before")
    retries = manner.retries if manner.retries is not None else upstreams - 1
    if "retry_busy" in said and manner.retry_busy and retries == 0:
        place.at("retry_busy").warn(
            f"has no effect: retries is 0{'' if manner.retries == 0 else ', as there is one upstream'}"
        )
    limits = manner.limits
    if "limits" in said and limits.queue == 0 and limits.queue_timeout != QUEUE_TIMEOUT_S:
        place.at("limits", "queue_timeout").warn("has no effect: queue is 0")
    for name, price in (manner.prices or {}).items() if "prices" in said else ():
        if name != "request" and price and name not in REPORTED.get(protocol, ()):
            place.at("prices", name).warn(f"upstreams of {protocol} never report that: {_unpriced(name)}")


def _unpriced(name: str) -> str:
    if name in ("cached_input", "reasoning"):
        return "all is priced as the whole"
    return "the cost of such calls is never known"


def doubt_upstreams(table: ModelTable, written: Mapping[str, object], directory: Path, place: Place) -> None:
    """Of where a table's calls go, and with what; which is not wrong."""
    _doubt_key_file(table, directory, place)
    _doubt_headers(table.headers, place)
    if table.upstream is not None:
        own = UpstreamTable(table.upstream)
        _doubt_url(own.url, table.protocol, has_key=_has_key(table, own), place=place.at("upstream"))
        return
    all_written = written["upstreams"]
    assert isinstance(all_written, list)  # it was checked
    _doubt_choice(table.upstreams, all_written, place)
    for number, upstream in enumerate(table.upstreams):
        at = place.at("upstreams", number)
        _doubt_key_file(upstream, directory, at)
        _doubt_headers(upstream.headers or {}, at)
        _doubt_url(upstream.url, table.protocol, has_key=_has_key(table, upstream), place=at.at("url"))
    for name in ("api_key_env", "api_key_file"):
        if name in written and all(_has_own_key(one) for one in table.upstreams):
            place.at(name).warn("has no effect: all upstreams have keys of their own")
    if table.headers and all(one.headers is not None for one in table.upstreams):
        place.at("headers").warn("has no effect: all upstreams have headers of their own")


def _doubt_choice(upstreams: list[UpstreamTable], written: list[Mapping[str, object]], place: Place) -> None:
    """Between them."""
    of_priority = Counter(one.priority for one in upstreams)
    first = {one.url: number for number, one in reversed([*enumerate(upstreams)])}
    for number, one in enumerate(upstreams):
        at = place.at("upstreams", number)
        if "weight" in written[number] and of_priority[one.priority] == 1:
            at.at("weight").warn(f"has no effect: no other upstream has the priority {one.priority}")
        if one.priority and len(of_priority) == 1:
            at.at("priority").warn("has no effect: all upstreams have the same")
        if first[one.url] < number:
            at.at("url").warn(f"upstreams[{first[one.url]}] has the same: it is taken for two")


def _has_own_key(upstream: UpstreamTable) -> bool:
    return upstream.api_key_env is not None or upstream.api_key_file is not None


def _has_key(table: ModelTable, upstream: UpstreamTable) -> bool:
    """Or something like one."""
    headers = table.headers if upstream.headers is None else upstream.headers
    of_table = table.api_key_env is not None or table.api_key_file is not None
    return of_table or _has_own_key(upstream) or any(map(_is_secret, headers)) or _says_secret(upstream.url)


def _is_secret(header: str) -> bool:
    return header.lower().encode() in CARRIERS or bool(LIKE_A_SECRET.search(header))


def _says_secret(url: str) -> bool:
    if "@" not in url and "?" not in url:
        return False
    parts = urlsplit(url)
    return bool(parts.password) or any(LIKE_A_SECRET.search(name) for name, _ in parse_qsl(parts.query))


def _doubt_key_file(table: ModelTable | UpstreamTable, directory: Path, place: Place) -> None:
    if table.api_key_file is not None and (directory / table.api_key_file).stat().st_mode & stat.S_IROTH:
        place.at("api_key_file").warn("every user of this machine can read it; chmod o-r takes that away")


def _doubt_headers(headers: Mapping[str, str], place: Place) -> None:
    for name in filter(_is_secret, headers):
        place.at("headers", name).warn(
            "its value stands here for all who read this file; api_key_env and api_key_file keep a key elsewhere"
        )


def _doubt_url(url: str, protocol: str, *, has_key: bool, place: Place) -> None:
    if _says_secret(url):
        place.warn(
            "a secret stands in it for all who read this file; api_key_env and api_key_file keep a key elsewhere"
        )
    parts = urlsplit(url)
    if has_key and parts.scheme == "http" and not _is_near(parts.hostname or ""):
        place.warn("what is told it, a key too, goes over the net as plain text; https:// encrypts it")
    path = parts.path.rstrip("/")
    if protocol == "openai" and not path and parts.scheme != "http+unix":
        place.warn("paths of calls such as /chat/completions are put behind it, and most servers have them under /v1")
    elif protocol == "anthropic" and path.endswith("/v1"):
        place.warn("paths of calls are put behind it, and begin with /v1 themselves")
    elif protocol == "kserve" and path.endswith("/v2"):
        place.warn("paths of calls are put behind it, and begin with /v2 themselves")
    elif protocol != "worklet" and path.endswith(_OF_CALLS):
        place.warn("it is a base: paths of calls such as this one are put behind it")


def _is_near(host: str) -> bool:
    """Whether what is told it stays on this machine or in a private net, as far as its name tells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return "." not in name or name.endswith(tuple(f".{end}" for end in _LOCAL))
    return address.is_private or address.is_link_local
