"""Asks endpoints how they are, again and again, as long as the models file has them: no invocation, and no record.

Of equal ones in several tables only one is asked. Those whose probes fail are out (see `ejection.unwell`), however many
that are: what is called when none is in is up to `balancing`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

from invoker.routing.credentials import in_confidence
from invoker.routing.ejection import unwell, well
from invoker.routing.endpoints import DIE, Endpoint, Group, Member
from invoker.routing.models import Models
from invoker.routing.probing import HealthCheck, Probed, after_probe, pause_s
from invoker.upstream.port import Upstream, UpstreamError
from shared import logs
from shared.clock import Clock
from shared.record import ErrorType

AT_ONCE = 64
"""Probes of one worker; the next waits for its turn, which counts for nobody's timeout."""
GET = b"GET"

log = logs.get("probes")

Key = tuple[str, HealthCheck, bytes, str]
"""URL that is asked, how, the credentials that are sent along, and the address, if it has several."""


@dataclass(eq=False, slots=True)
class Probe:
    """Of equal endpoints, wherever they stand."""

    endpoint: Endpoint
    check: HealthCheck
    url: str
    lines: bytes
    places: Sequence[tuple[Group, Member]] = ()
    probed: Probed = field(default_factory=Probed)
    defect: str = ""

    def tell(self, now_us: int) -> None:
        """All of them; but an only one is never out."""
        for group, member in self.places:
            member.probed = self.probed
            if len(group.members) > 1:
                told = well if self.probed.is_well else unwell
                member.health = told(member.health, self.probed.failure, now_us)


class Probes:
    """Of one worker; belongs to the running event loop."""

    def __init__(self, upstream: Upstream, clock: Clock, die: Random = DIE) -> None:
        self._upstream = upstream
        self._clock = clock
        self._die = die
        self._room = asyncio.Semaphore(AT_ONCE)
        self._probes: dict[Key, tuple[Probe, asyncio.Task[None]]] = {}

    def follow(self, models: Models) -> None:
        """From now on, these are asked; what is known of those that were asked before stays."""
        now_us = self._clock.monotonic_us()
        wanted: dict[Key, list[tuple[Group, Member]]] = {}
        for _, _, model in models.tables():
            for member in model.group.members:
                if (key := _key(member.endpoint)) is not None:
                    wanted.setdefault(key, []).append((model.group, member))
                elif member.probed is not None:  # it has no probes any more
                    member.probed = None
                    member.health = well(member.health, "", now_us)
        for key in [*self._probes]:
            if key not in wanted:
                self._probes.pop(key)[1].cancel()
        for key, places in wanted.items():
            if key not in self._probes:
                probe = Probe(places[0][1].endpoint, key[1], key[0], key[2])
                self._probes[key] = probe, asyncio.create_task(self._keep_asking(probe), name=f"probe {probe.url}")
            probe = self._probes[key][0]
            probe.places = places
            probe.tell(now_us)

    async def close(self) -> None:
        tasks = [task for _, task in self._probes.values()]
        self._probes.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_asking(self, probe: Probe) -> None:
        await asyncio.sleep(probe.check.interval_s * self._die.random())
        while True:
            async with self._room:
                failure = await self._ask(probe)
            if failure is not None:
                self._note(probe, failure)
            await asyncio.sleep(pause_s(probe.check, self._die))

    async def _ask(self, probe: Probe) -> str | None:
        """Why it isn't well, empty if it is; None if that is not known, for a reason of our own."""
        timeout_s = probe.check.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await self._upstream.open(probe.url, b"", probe.lines, GET, probe.endpoint.address)
            exchange.leave()  # no more of it matters
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except UpstreamError as error:
            if error.error_type is ErrorType.GATEWAY_ERROR:
                return None
            return in_confidence(str(error), probe.endpoint.credentials, b"")
        except Exception as error:  # a defect is told of, and no endpoint's fault
            if probe.defect != repr(error):
                probe.defect = repr(error)
                log.error("probes.defect", upstream=probe.endpoint.name, reason=probe.defect, exc_info=error)
            return None
        return "" if 200 <= exchange.status < 300 else f"answered {exchange.status}"

    def _note(self, probe: Probe, failure: str) -> None:
        now_us = self._clock.monotonic_us()
        was_well = probe.probed.is_well
        probe.probed = after_probe(probe.probed, failure, now_us, probe.check)
        probe.tell(now_us)
        if was_well and not probe.probed.is_well:
            log.warning("probes.unwell", upstream=probe.endpoint.name, path=probe.check.path, reason=failure)
        elif probe.probed.is_well and not was_well:
            log.info("probes.well", upstream=probe.endpoint.name, path=probe.check.path)


def _key(endpoint: Endpoint) -> Key | None:
    if endpoint.health is None:
        return None
    parts = urlsplit(endpoint.url)
    url = f"{parts.scheme}://{parts.netloc}{endpoint.health.path}"
    lines = b"" if endpoint.credentials is None else endpoint.credentials.put_into(b"")
    return url, endpoint.health, lines, endpoint.address
