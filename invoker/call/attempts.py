"""The attempts of one call: each at an endpoint of its model, until one's answer is what the caller gets.

Another one is made only where it can do no harm: nothing can have been received, or the endpoint said that it has no
room (429, 503) and the model allows it; as long as there is time, and what is tried again is a small part of all calls.
"""

import asyncio
from collections.abc import Awaitable
from email.utils import parsedate_to_datetime
from random import Random

import msgspec

from invoker.call.asking import Asking, may_be_refusal
from invoker.call.flights import Flight
from invoker.call.retries import NO_CONNECTION, NO_ROOM, Retries
from invoker.http.passing import joined_url
from invoker.http.pieces import Body
from invoker.journal.begun import Answered
from invoker.protocols.base import Call, Protocol
from invoker.routing.credentials import Credentials
from invoker.routing.endpoints import Endpoint, Member, NoRoomError
from invoker.routing.limits import Limit
from invoker.routing.models import Model
from invoker.upstream.port import BUSY, Exchange, Upstream, UpstreamError
from shared.clock import Clock
from shared.record import ErrorType

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
"""Before an endpoint is tried again by the same call: each is twice as long as the one before. A half of it is random,
so that the callers of an endpoint that was away don't come back all at once."""

_OF_ENDPOINT = frozenset((ErrorType.CONNECT, ErrorType.TIMEOUT, ErrorType.INVALID_RESPONSE, ErrorType.UPSTREAM_STATUS))
SUCCESS, BUSY_OUTCOME, USAGE_REFUSED = "success", "busy", "usage_refused"
"""How attempts end, beside what a call can fail with. One that is followed by another counts as what it came to by
itself: `connect`, `busy`, or `usage_refused` where it was sent again without the question for its usage. The last one
counts as its call ends, so `attempts` of records add up to those of upstreams."""


def may_try_again(error: UpstreamError) -> bool:
    """An invocation isn't idempotent: only if the upstream can't have received it. And what is wrong here is not better
    for trying."""
    return not error.received and error.error_type is ErrorType.CONNECT


def pause_s(repeated: int, die: Random) -> float:
    """Before an endpoint is tried for the `repeated`th time after its first."""
    return float(min(FIRST_PAUSE_S * 2.0 ** min(repeated - 1, 16), LONGEST_PAUSE_S) * die.uniform(0.5, 1.0))


class Attempts(msgspec.Struct):
    """Of one call. After `open`, `end` must follow, whatever happened. `endpoint`: where the last one went, as it was
    then: its member may have other credentials by now; `place`: what it counts in there; `reserved`: where the
    first one is to go; `began_us`: when; the first one of an only endpoint began when its call was sent.
    `asks_usage`: it did so, where the caller didn't; `renames`: the caller's body names another model."""

    upstream: Upstream
    clock: Clock
    protocol: Protocol
    model: Model
    call: Call
    headers: bytes
    answered: Answered
    asking: Asking
    retries: Retries
    asks_usage: bool = False
    renames: bool = False
    tried: list[Member] = []
    member: Member | None = None
    endpoint: Endpoint | None = None
    place: Limit | None = None
    reserved: Member | None = None
    began_us: int = 0

    def reserve(self) -> bool:
        """Whether an endpoint has room for the first attempt, which is to go there."""
        self.began_us = self.clock.monotonic_us()
        group, tried = self.model.group, self.tried
        if tried:
            tried = tried[len(tried) - len(tried) % len(group.members) :]
        try:
            self.reserved = group.take(self.call.model_id, self.began_us, tried)
        except NoRoomError:
            return False
        self.place = self.reserved.endpoint.limit
        return True

    def open(self, flight: Flight) -> Awaitable[Exchange]:
        """The exchange of the last attempt; `UpstreamError` of it if it came to none. `note_head` is to follow: of
        the attempts before it, that is done."""
        model = self.model
        return self._open(flight) if model.retries or model.group.has_addresses else self._attempt()

    async def _open(self, flight: Flight) -> Exchange:
        model = self.model
        model.group.budget.note_call(self.clock.monotonic_us())
        while True:
            try:
                exchange = await self._attempt()
            except UpstreamError as error:
                if not may_try_again(error):
                    raise
                reason = NO_CONNECTION
                pause = 0.0 if self._has_other_address() else self._next_pause_s(reason, flight.remaining_s)
                if pause is None:
                    raise
                self._give_back(error.error_type, str(error))
            else:
                if exchange.status not in BUSY or not model.retry_busy:
                    return exchange
                asked_s = retry_after_s(exchange.headers.get(b"retry-after", b""), self.clock)
                reason = NO_ROOM
                pause = self._next_pause_s(reason, flight.remaining_s, asked_s)
                if pause is None:
                    return exchange
                self.note_head()
                exchange.abort()
                self._cool(asked_s)
                self._give_back(BUSY_OUTCOME, None)
            if pause:
                await asyncio.sleep(pause)
            self.retries.made[reason] += 1

    async def open_unasked(self, exchange: Exchange) -> tuple[Exchange, Body | None]:
        """Of a request that was refused, perhaps for what was put into it: as its caller wrote it, or else the same
        exchange, with its body."""
        body = await exchange.whole()
        endpoint = self.endpoint
        if endpoint is None or not may_be_refusal(body):
            return exchange, body
        if self.member is not None:
            self.member.tally.attempts[USAGE_REFUSED] += 1
        self.began_us = self.clock.monotonic_us()
        exchange = await self._send(endpoint, asks=False)
        self.note_head()
        if 200 <= exchange.status < 300:
            self.asking.note_refused(self.call, endpoint.url)
        return exchange, None

    def note_head(self) -> None:
        """The head of an attempt's answer is here: what follows comes at its caller's pace, or as it is thought of."""
        if self.member is not None:
            self.member.tally.heads.observe(self.clock.monotonic_us() - self.began_us)

    @property
    def credentials(self) -> Credentials | None:
        """What the endpoint of the last attempt was told, and nobody else is to see."""
        return None if self.endpoint is None else self.endpoint.credentials

    def end(self, error_type: str | None, message: str, exchange: Exchange | None) -> None:
        """So the call ended; which says something of its last endpoint."""
        if self.reserved is not None:
            self.model.group.give_up(self.reserved, self.began_us)
            self.reserved = None
            self._leave()
        if self.member is None:
            return
        status = None if exchange is None else exchange.status
        if error_type is None:
            self._give_back(SUCCESS, "")
        elif exchange is not None and status in BUSY:
            self._cool(retry_after_s(exchange.headers.get(b"retry-after", b""), self.clock))
            self._give_back(BUSY_OUTCOME, None)
        elif error_type not in _OF_ENDPOINT:
            self._give_back(error_type, None)
        else:
            is_its_fault = error_type != ErrorType.UPSTREAM_STATUS or status is None or status >= 500
            self._give_back(error_type, message if is_its_fault else "")

    def _attempt(self) -> Awaitable[Exchange]:
        call, model = self.call, self.model
        if (member := model.group.only) is not None:
            member.outstanding += 1
            if self.tried:
                self.began_us = self.clock.monotonic_us()
        else:
            member = self._chosen()
        self.member = member
        asks = call.asking is not None and model.asks_usage and self.asking.may(call, member.endpoint.url)
        return self._send(member.endpoint, asks=asks)

    def _chosen(self) -> Member:
        if self.reserved is None and not self.reserve():
            message = "each upstream of this model has as many calls as it may"
            raise UpstreamError(ErrorType.OVERLOADED, message)
        member, self.reserved = self.reserved, None
        assert member is not None
        return member

    def _send(self, endpoint: Endpoint, *, asks: bool) -> Awaitable[Exchange]:
        answered, call = self.answered, self.call
        self.endpoint = endpoint
        answered.upstream = endpoint.name
        answered.attempts = (answered.attempts or 0) + 1
        if endpoint.alias is not None:
            call = self.protocol.renamed(call, endpoint.alias.of(call.model_id))
        elif self.renames:
            call = self.protocol.renamed(call, call.model_id)
        url = joined_url(endpoint.url, call.target) if call.target else endpoint.url
        headers = self.headers if endpoint.credentials is None else endpoint.credentials.put_into(self.headers)
        self.asks_usage = asks
        body = call.asking.put_into(call.body) if asks and call.asking is not None else call.body
        if endpoint.address:
            return self.upstream.open(url, body, headers, address=endpoint.address)
        return self.upstream.open(url, body, headers)

    def _has_other_address(self) -> bool:
        """As a connection to a name tries one after the other, whatever may be tried again."""
        group, member = self.model.group, self.member
        if member is None or not group.has_addresses or not group.has_room(member):
            return False
        return group.is_spread(member, [*self.tried, member])

    def _next_pause_s(self, reason: str, remaining_s: float, asked_s: float | None = None) -> float | None:
        """Before the next attempt; None if there is to be none. None of an endpoint's pauses is for another one."""
        model, tried = self.model, [*self.tried, self.member]
        if len(tried) > model.retries or not model.group.has_room(self.member):
            return None
        rounds, rest = divmod(len(tried), len(model.group.members))
        pause = 0.0 if rest or not rounds else max(pause_s(rounds, model.group.die), asked_s or 0.0)
        if pause >= remaining_s:
            return None
        if not model.group.budget.take(self.clock.monotonic_us()):
            self.retries.denied[reason] += 1
            return None
        return pause

    def _leave(self) -> None:
        if self.place is not None:
            self.place.leave()
            self.place = None

    def _cool(self, seconds: float | None) -> None:
        if self.member is not None:
            self.model.group.cool(self.member, self.call.model_id, seconds, self.clock.monotonic_us())

    def _give_back(self, outcome: str, failure: str | None) -> None:
        member, self.member = self.member, None
        if member is None:
            return
        self.tried.append(member)
        self._leave()
        if member is self.model.group.only:
            member.outstanding -= 1
            member.tally.attempts[outcome] += 1
        else:
            self.model.group.give_back(member, outcome, failure, self.began_us, self.clock.monotonic_us())


def retry_after_s(value: bytes, clock: Clock) -> float | None:
    """Seconds, or until a date; None if it says neither."""
    if value.isdigit():
        return float(value[:9])
    try:
        return max(parsedate_to_datetime(value.decode()).timestamp() - clock.now_us() / 1_000_000, 0.0)
    except (ValueError, OverflowError):
        return None
