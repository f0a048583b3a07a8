"""The process that reads large bodies for a worker: each comes as a file in memory, in the order of the answers.

It ends with its worker, whose end of the socket is closed then.
"""

import os
import signal
import socket
import sys

import msgspec

from invoker.http.pieces import whole
from invoker.protocols.asked import Asked, decode_asked
from invoker.protocols.base import BadRequestError, InvalidAnswerError, Name
from invoker.protocols.forms import decode_form
from invoker.protocols.naming import find_name
from invoker.protocols.tensors import input_elements, output_elements
from invoker.protocols.usage import find_report
from invoker.protocols.worklet import NAME, decode_answer, decode_request

REQUEST, ANSWER, ASKED, FORM, REPORT, INPUTS, OUTPUTS = b"q", b"a", b"m", b"f", b"u", b"i", b"o"
MAX_KIND_BYTES = 1 + 70
"""A form's has its boundary behind it."""
MAX_MESSAGE_BYTES = 32 * 1024
NICENESS = 5
"""Small calls go first where processors are scarce."""


class ReadRequest(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """`skipped_bytes` at the body's beginning are not to be passed on; `name`: where the model stands behind them."""

    model_id: str
    input_size: int
    skipped_bytes: int
    name: Name
    tags: dict[str, str] | None = None


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The arguments of a `BadRequestError`."""

    status: int
    reason: str
    message: str


class ReadAnswer(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Where the output stands in the body, and its size as recorded."""

    begin: int
    end: int
    output_size: int


class NoAnswer(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The message of an `InvalidAnswerError`."""

    message: str


class FoundReport(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """What `find_report` gives."""

    report: bytes


class Counted(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """What `input_elements` or `output_elements` gives."""

    elements: int | None


Result = FoundReport | ReadRequest | Asked | Refused | ReadAnswer | NoAnswer | Counted


def read(kind: bytes, body: bytes) -> Result:
    """What a body says."""
    try:
        if kind == ASKED:
            return msgspec.structs.replace(decode_asked(body), name=find_name(body, "model"))
        if kind.startswith(FORM):
            return decode_form(body, kind.removeprefix(FORM))
        if kind == REPORT:
            return FoundReport(find_report(body))
        if kind == INPUTS:
            return Counted(input_elements(body))
        if kind == OUTPUTS:
            return Counted(output_elements(body))
        if kind == REQUEST:
            call = decode_request(body)
            passed = whole(call.body)
            name = find_name(passed, *NAME)
            return ReadRequest(call.model_id, call.input_size, len(body) - len(passed), name, call.tags)
        output, output_size = decode_answer(body)
    except BadRequestError as error:
        return Refused(error.status, error.reason, str(error)[:2048])
    except InvalidAnswerError as error:
        return NoAnswer(str(error)[:2048])
    text = bytes(output)
    begin = body.find(text)  # wherever these bytes stand, they are the same
    return ReadAnswer(begin, begin + len(text), output_size)


def main() -> None:
    """Serve the socket that is this process's standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the worker, which has calls to end before
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as worker:
        while True:
            kind, descriptors, _, _ = socket.recv_fds(worker, MAX_KIND_BYTES, 1)
            if not descriptors:
                return
            with open(descriptors[0], "rb") as file:  # noqa: PTH123  # it has no path
                body = file.read()
            worker.sendall(msgspec.msgpack.encode(read(kind, body)))


if __name__ == "__main__":
    main()
