"""What the head of a request may be, wherever it is read, and what its sender is told otherwise."""

import re
from typing import NamedTuple

MAX_HEADER_BYTES = 8 * 1024
"""Of one header line, by default."""
LINES_TOGETHER = 4
"""All lines may be so many times as large as one."""
MAX_HEADERS = 128
MAX_REQUEST_LINE_BYTES = 320 * 1024
"""Room for 100 model ids of 256 characters of 4 bytes, percent-encoded, and for what is asked beside."""

HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?")


class Refused(NamedTuple):
    """What is told of a request that is none, or that can't be served: HTTP status, the word that it is counted by, and
    a sentence."""

    status: int
    reason: str
    message: str


ENDED = Refused(400, "incomplete_request", "The connection's other side ended before the request did")
