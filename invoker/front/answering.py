"""`POST /invoke` without its HTTP: a body in, a status and a body out, of one shape whatever happens."""

from collections import Counter

from invoker.call.invocation import Invoker, UnknownModelError
from invoker.call.trace import Trace
from invoker.front.held_bodies import HeldBodies
from invoker.http.pieces import LARGE_BYTES, Body
from invoker.protocols.large_bodies import ReaderDiedError
from invoker.protocols.worklet import NULL, BadRequestError, InvokeAnswer, decode_request, encode_answer
from shared.request_heads import ENDED

JSON = "application/json"

Reply = tuple[int, Body, bytes]
"""HTTP status, JSON, and whole header lines beside those that all replies have."""


class Answering:
    """Answers requests with the invoker; refuses what is none. `rejected`: how many were, by reason."""

    def __init__(self, invoker: Invoker, max_body_bytes: int, bodies: HeldBodies) -> None:
        self.max_body_bytes = max_body_bytes
        self.bodies = bodies
        self.stopping = False
        self.rejected: Counter[str] = Counter()
        self._invoker = invoker

    @property
    def closing(self) -> bool:
        """Whether an answer is the last of its connection: calls are refused, or will be soon, as `stopping` says."""
        return self.stopping or self._invoker.draining

    async def answer(self, content_type: str | None, body: bytes, trace: Trace | None) -> Reply:
        """Of one invocation, or of the refusal of a request that is none."""
        try:
            if content_type != JSON:
                check_content_type(content_type)
            if len(body) <= LARGE_BYTES:
                call = decode_request(body)
            else:
                call = await self._invoker.large_bodies.decode_request(body)
            status, answer, headers = await self._invoker.invoke(call, trace)
            return status, encode_answer(answer), headers
        except BadRequestError as error:
            return self.refusal(error)
        except UnknownModelError as error:
            message = f"Model {error.args[0]!r} is not in the models file, and there is no default upstream"
            return self.refusal(BadRequestError(404, "unknown_model", message))
        except Exception as error:  # noqa: BLE001  # it is logged, only not each time
            self._invoker.defects.tell(error)
            reason = str(error) if isinstance(error, OSError | ReaderDiedError) else "its log says why"
            return self.refusal(BadRequestError(500, "defect", f"The gateway failed to answer: {reason}"))

    def refusal(self, error: BadRequestError) -> Reply:
        """What a request is told that is no invocation."""
        self.rejected[error.reason] += 1
        return error.status, encode_answer(InvokeAnswer(NULL, False, 0.0, str(error))), error.headers

    def timed_out(self) -> Reply:
        """What a caller is told that doesn't send its request to the end."""
        return self.refusal(BadRequestError(408, "request_timeout", "The request did not come to its end in time"))

    def incomplete(self) -> Reply:
        """What a caller is told that closes its side before that; it may be gone, too."""
        return self.refusal(BadRequestError(*ENDED))


def check_content_type(content_type: str | None) -> None:
    """JSON by any of its names, or none; `BadRequestError` for another, so that no web form can invoke a model."""
    if content_type is None:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json")):
        return
    raise BadRequestError(
        415,
        "unsupported_media_type",
        f"Content-Type {content_type[:128]!r} is not supported; send application/json",
    )
