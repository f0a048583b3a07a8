"""Callers' requests without their HTTP: a head and a body in, a status and a body out, in the request's own dialect."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol as Contract

import msgspec

from invoker.call.invocation import Invoker, UnknownModelError
from invoker.call.priority import priority_of
from invoker.front.held_bodies import HeldBodies
from invoker.http.heads import RequestHead
from invoker.http.pieces import LARGE_BYTES, Body
from invoker.http.request_id import make_request_id, request_id_line
from invoker.protocols.base import JSON, BadRequestError, Protocol, ReaderDiedError, Result
from shared.head_rules import ENDED

REST = "{path:.*}"
"""At the end of a route: whatever follows."""
Reply = tuple[int, Body, bytes]
"""HTTP status, JSON, and whole header lines beside those that all replies have."""


class Sink(Contract):
    """Takes the answer to one request. Of a call, it ends once the record is in the journal. `begun`: some of the body
    has been sent, and more of it is to come."""

    @property
    def begun(self) -> bool: ...

    def start(self, status: int, headers: bytes, media_type: bytes = JSON.encode()) -> None:
        """The head: HTTP status, whole header lines beside those that all answers have, and Content-Type. If some of
        another answer has been sent, that is broken off."""
        ...

    @property
    def put(self) -> Callable[[bytes], bool] | None:
        """As `write`, without waiting, if it can do that: whether its caller can take more."""
        ...

    async def write(self, piece: bytes) -> None:
        """Some of the body, at once; returns when its caller can take more. What is empty only waits for that."""
        ...

    def end(self, rest: Body) -> None:
        """All of the body that is left."""
        ...

    def break_off(self, last: bytes) -> None:
        """The last that its caller gets of a body that has begun, and sees that it isn't all."""
        ...


class Answering:
    """Answers requests with the invoker, by the protocol of their path; refuses what is none. `rejected`: how many
    were, by reason. The first protocol is that of requests which name none."""

    def __init__(
        self, invoker: Invoker, protocols: Sequence[Protocol], max_body_bytes: int, bodies: HeldBodies
    ) -> None:
        self.paths = [path for protocol in protocols for path in protocol.routes]
        self.max_body_bytes = max_body_bytes
        self.bodies = bodies
        self.stopping = False
        self.rejected: Counter[str] = Counter()
        self._invoker = invoker
        self._protocols = {path: protocol for protocol in protocols for path in protocol.routes}
        begun = {path.removesuffix(REST): of for path, of in self._protocols.items() if path.endswith(REST)}
        self._begun = dict(sorted(begun.items(), key=lambda item: -len(item[0])))
        self._default = protocols[0]

    @property
    def closing(self) -> bool:
        """Whether an answer is the last of its connection: calls are refused, or will be soon, as `stopping` says."""
        return self.stopping or self._invoker.admission.draining

    def find(self, path: str) -> Protocol | None:
        """The one whose requests go to this path, which may have a query."""
        protocol = self._protocols.get(path) or self._protocols.get(path.partition("?")[0])
        if protocol is None:
            return next((of for begin, of in self._begun.items() if path.startswith(begin)), None)
        return protocol

    async def answer(self, head: RequestHead, body: Body, sink: Sink) -> None:
        """Give the answer of one invocation, or refuse a request that is none."""
        protocol = self.find(head.path) or self._default
        request_id = head.request_id or make_request_id()
        media_type = JSON.encode()
        try:
            falls_back = head.fallback is None or _falls_back(head.fallback)
            priority = None if head.priority is None else _priority(head.priority)
            if isinstance(body, bytes) and len(body) <= LARGE_BYTES:
                call = protocol.decode(head, body)
            else:
                call = await protocol.decode_large(head, body)
            if not falls_back:
                call = msgspec.structs.replace(call, falls_back=False)
            if priority:
                call = msgspec.structs.replace(call, priority=priority)
            result = await self._invoker.invoke(protocol, call, head.trace, request_id, sink)
            if sink.begun:
                _end_stream(protocol, result, sink)
                return
            status, answer, headers = result.status, protocol.encode(result), result.headers
            media_type = result.media_type
        except Exception as error:  # noqa: BLE001  # a defect is logged, only not each time
            status, answer, headers = self.refusal(self._problem(error), head.path, request_id)
        sink.start(status, headers, media_type)
        sink.end(answer)

    def _problem(self, error: Exception) -> BadRequestError:
        match error:
            case BadRequestError():
                return error
            case UnknownModelError(args=(model_id,)):
                return unknown_model(model_id)
            case _:
                self._invoker.defects.tell(error)
                reason = str(error) if isinstance(error, OSError | ReaderDiedError) else "its log says why"
                return BadRequestError(500, "defect", f"The gateway failed to answer: {reason}")

    def refusal(self, error: BadRequestError, path: str = "", request_id: str | None = None) -> Reply:
        """What a request is told that is no invocation."""
        self.rejected[error.reason] += 1
        result = Result(error.status, None, str(error), headers=error.headers)
        headers = error.headers + request_id_line(request_id or make_request_id())
        return error.status, (self.find(path) or self._default).encode(result), headers

    def too_much(self, head: RequestHead) -> Reply:
        """What a caller is told whose body is, together with those of all others, too large."""
        return self.refusal(self.bodies.refusal(), head.path, head.request_id)

    def timed_out(self, head: RequestHead | None) -> Reply:
        """What a caller is told that doesn't send its request to the end; `head`: if that was whole."""
        error = BadRequestError(408, "request_timeout", "The request did not come to its end in time")
        return self.refusal(error) if head is None else self.refusal(error, head.path, head.request_id)

    def incomplete(self, head: RequestHead | None) -> Reply:
        """What a caller is told that closes its side before that; it may be gone, too."""
        error = BadRequestError(*ENDED)
        return self.refusal(error) if head is None else self.refusal(error, head.path, head.request_id)


def unknown_model(model_id: str) -> BadRequestError:
    """What is wrong with a request for a model that no upstream is known for."""
    message = f"Model {model_id!r} is not in the models file, and there is no default upstream"
    return BadRequestError(404, "unknown_model", message)


def _falls_back(said: bytes) -> bool:
    """Whether another model may take the place of one that fails."""
    if (word := said.lower()) not in (b"on", b"off"):
        message = f"x-fallback: {said[:64].decode('latin-1')!r} is neither 'on' nor 'off'"
        raise BadRequestError(400, "invalid_request", message)
    return word == b"on"


def _priority(said: bytes) -> int:
    if (priority := priority_of(said)) is None:
        message = f"x-priority: {said[:64].decode('latin-1')!r} is not 'low', 'normal' or 'high'"
        raise BadRequestError(400, "invalid_request", message)
    return priority


def _end_stream(protocol: Protocol, result: Result, sink: Sink) -> None:
    if result.outcome is None:
        sink.break_off(protocol.encode_event(result))
    else:
        sink.end(protocol.encode(result))
