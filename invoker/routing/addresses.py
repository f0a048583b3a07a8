"""Which addresses of a name are endpoints of their own: a pure function of what it resolves to."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from shared.settings import UNIX_SCHEME

MAX_ADDRESSES = 64
"""Of one name: as many as a table may have upstreams."""


class Name(NamedTuple):
    """What is looked up, and for which port."""

    host: str
    port: int


def name_of(url: str) -> Name | None:
    """None where nothing is looked up: of an address, and of a Unix socket."""
    return _name("/".join(url.split("/", 3)[:3]))


@lru_cache(maxsize=10_000)  # of hosts there are fewer than of URLs
def _name(origin: str) -> Name | None:
    parts = urlsplit(origin)
    if parts.scheme == UNIX_SCHEME or parts.hostname is None:
        return None
    try:
        ip_address(parts.hostname)
    except ValueError:
        host = parts.hostname.encode("idna").decode()  # as it is called
        return Name(host, parts.port or (443 if parts.scheme == "https" else 80))
    return None


def several(found: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Of families and addresses, as the system would try them one after the other; empty where the name is one
    endpoint. One address of each family, such as `localhost` has, are two ways to the same server: only where a
    family has more than one are they several, those of the family that would be tried first."""
    by_family: dict[int, set[str]] = {}
    for family, address in found:
        by_family.setdefault(family, set()).add(address)
    for addresses in by_family.values():
        if len(addresses) > 1:
            return tuple(sorted(addresses)[:MAX_ADDRESSES])  # whatever their order, the same for all workers
    return ()
