"""The id of a request (`x-request-id`): its caller's, or made here; passed on, answered and recorded."""

import re
from random import getrandbits

MADE_BYTES = 12
"""Random ones: among ten billion ids, two are the same once in a billion times."""

_GIVEN = re.compile(rb"[!-~]{1,128}")


def parse_request_id(given: bytes | None) -> str | None:
    """None where it is missing, or can't be taken."""
    return given.decode() if given is not None and _GIVEN.fullmatch(given) else None


def make_request_id() -> str:
    return getrandbits(8 * MADE_BYTES).to_bytes(MADE_BYTES, "big").hex()


def request_id_line(request_id: str) -> bytes:
    """The header line, with its end."""
    return b"x-request-id: %b\r\n" % request_id.encode()
