"""Looks up the names of endpoints, again and again, as long as the models file has them: beside the calls, none of
which waits for it. What several addresses mean is up to `addresses`."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

from invoker.routing.addresses import Name, name_of, several
from invoker.routing.endpoints import DIE, Endpoint, Group
from invoker.routing.models import Models
from shared import logs

INTERVAL_S, JITTER = 30.0, 0.1
"""From the end of a lookup to the next one of the same name; so much more or less, at random."""
TIMEOUT_S = 10.0
AT_ONCE = 4
"""Lookups of one worker: the system has few threads for them, which new connections need, too."""

log = logs.get("names")


class Resolver(Protocol):
    """What a name resolves to now: families and addresses, in the order in which the system would try them. `OSError`
    or `UnicodeError` if it can't be told."""

    async def __call__(self, host: str, port: int) -> Iterable[tuple[int, str]]: ...


async def resolve(host: str, port: int) -> Iterable[tuple[int, str]]:
    """As the system does."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(place[0])) for family, _, _, _, place in found]


class Names:
    """Of one worker. `run` it; `changed` is called when endpoints have come or gone."""

    def __init__(self, resolver: Resolver, changed: Callable[[Models], None], die: Random = DIE) -> None:
        self._resolver = resolver
        self._changed = changed
        self._die = die
        self._models: Models | None = None
        self._groups: dict[Name, list[Group]] = {}  # that have it
        self._due_s: dict[Name, float] = {}  # loop time of the next lookup
        self._found: dict[Name, tuple[str, ...]] = {}
        self._failing: set[Name] = set()
        self._followed = asyncio.Event()

    def follow(self, models: Models) -> None:
        """From now on, these are looked up; what is known of those that were before stays."""
        self._models = models
        self._groups = {}
        for _, _, model in models.tables():
            for endpoint in model.group.endpoints:
                if (name := name_of(endpoint.url)) is not None:
                    self._groups.setdefault(name, []).append(model.group)
        self._due_s = {name: self._due_s.get(name, 0.0) for name in self._groups}
        self._found = {name: addresses for name, addresses in self._found.items() if name in self._groups}
        self._failing &= self._groups.keys()
        self._spread(name for name, addresses in self._found.items() if addresses)
        self._followed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        room, loop = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop()
        while True:
            self._followed.clear()
            due = [name for name, due_s in self._due_s.items() if due_s <= loop.time()]
            changed = await asyncio.gather(*(self._look_up(name, room) for name in due))
            self._spread(name for name, has in zip(due, changed, strict=True) if has and name in self._groups)
            next_s = min(self._due_s.values(), default=None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await self._followed.wait()

    async def _look_up(self, name: Name, room: asyncio.Semaphore) -> bool:
        """Whether it has other addresses now; what was known stays if it fails."""
        changed = False
        async with room:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    found = several(await self._resolver(*name))
            except (OSError, UnicodeError) as error:  # a TimeoutError, too
                self._note_failure(name, error)
            else:
                changed = self._note(name, found)
        if name in self._due_s:
            pause_s = INTERVAL_S * self._die.uniform(1 - JITTER, 1 + JITTER)
            self._due_s[name] = asyncio.get_running_loop().time() + pause_s
        return changed

    def _note(self, name: Name, found: tuple[str, ...]) -> bool:
        if name in self._failing:
            self._failing.remove(name)
            log.info("names.known_again", host=name.host)
        if name not in self._due_s or found == self._found.get(name, ()):
            return False
        self._found[name] = found
        log.info("names.addresses", host=name.host, addresses=len(found) or 1)
        return True

    def _note_failure(self, name: Name, error: Exception) -> None:
        if name in self._due_s and name not in self._failing:
            self._failing.add(name)
            log.warning("names.not_known", host=name.host, reason=str(error) or type(error).__name__)

    def _spread(self, names: Iterable[Name]) -> None:
        """Endpoints of these names; there may be many others."""
        groups = {id(group): group for name in names for group in self._groups[name]}
        spread = [group.spread(self._addresses) for group in groups.values()]
        if any(spread) and self._models is not None:
            self._changed(self._models)

    def _addresses(self, endpoint: Endpoint) -> tuple[str, ...]:
        name = name_of(endpoint.url)
        return () if name is None else self._found.get(name, ())
