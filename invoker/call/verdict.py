"""How a call ended: what its record says of it, and what its caller is told beside that."""

import typing

from invoker.call.course import Course
from invoker.call.defects import Defects
from invoker.call.ending import EndedError, Ending
from invoker.call.fallback import is_for_another
from invoker.protocols.base import InvalidAnswerError
from invoker.routing.credentials import in_confidence
from invoker.upstream.port import BusyError, UpstreamError
from shared.record import ErrorType, clip_error_log

HTTP_STATUS = {
    ErrorType.TIMEOUT: 504,
    ErrorType.CONNECT: 502,
    ErrorType.UPSTREAM_STATUS: 502,
    ErrorType.INVALID_RESPONSE: 502,
    ErrorType.OVERLOADED: 429,
    ErrorType.DRAINING: 503,
    ErrorType.GATEWAY_ERROR: 500,
    ErrorType.CLIENT_DISCONNECTED: 408,
}
RETRY_AFTER = b"Retry-After: 1\r\n"
"""For a caller that was refused: by then, others have ended."""


class End(typing.NamedTuple):
    """How a call ended, for its record; and what its caller is told beside that. `for_another`: whether another model
    may do better."""

    error_type: ErrorType | None
    error_log: str
    status: int
    headers: bytes = b""
    for_another: bool = False


SUCCESS = End(None, "", 200)
OF_NO_MODEL = frozenset((ErrorType.CLIENT_DISCONNECTED, ErrorType.DRAINING))
"""What ends a call, whichever model it was at."""
CALLER_GONE = End(ErrorType.CLIENT_DISCONNECTED, "the caller closed the connection before the answer", 0)


def end_of(error: Exception, course: Course, defects: Defects) -> End:
    """What a call that failed so is recorded as."""
    call, model = course.call, course.model
    headers, status = b"", 0
    error_type, message = ErrorType.GATEWAY_ERROR, f"the gateway failed: {error!r}"
    match error:
        case UpstreamError():
            error_type, message = error.error_type, str(error)
        case EndedError(ending=Ending.DEADLINE, untaken=True):
            error_type = ErrorType.CLIENT_DISCONNECTED
            message = f"the caller had not taken its answer within {model.timeout_s:g} s"
        case EndedError(ending=Ending.DEADLINE, queued=True):
            error_type = ErrorType.OVERLOADED
            message = f"there was no room for one more call of this model within {model.timeout_s:g} s, all that it had"
        case EndedError(ending=Ending.DEADLINE):
            error_type, message = ErrorType.TIMEOUT, f"upstream gave no whole answer within {model.timeout_s:g} s"
        case EndedError(ending=Ending.FIRST_TOKEN):
            error_type = ErrorType.TIMEOUT
            message = f"upstream's stream gave no output within {model.first_token_s:g} s"
        case EndedError(ending=Ending.IDLE):
            error_type, message = ErrorType.TIMEOUT, f"upstream's stream stood still for {model.idle_s:g} s"
        case EndedError():
            error_type, message = ErrorType.DRAINING, "the gateway shut down before the upstream answered"
        case InvalidAnswerError():
            error_type, message = ErrorType.INVALID_RESPONSE, f"upstream's answer is not usable: {error}"
        case _:
            defects.tell(error, model_id=call.model_id)
    if isinstance(error, BusyError):
        status = error.status
        headers = b"Retry-After: %b\r\n" % error.retry_after if error.retry_after else b""
    elif error_type is ErrorType.OVERLOADED:
        headers = RETRY_AFTER
    message = in_confidence(message, course.attempts.credentials, call.headers)
    for_another = is_for_another(error, course.answered.status_code)
    return End(error_type, clip_error_log(message), status or HTTP_STATUS[error_type], headers, for_another)
