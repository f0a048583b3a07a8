"""Whose fault it is that no connection to an upstream came about, and why."""

import errno
import os
import re
import socket
import ssl

from invoker.upstream.port import ConnectError, UpstreamError
from shared.record import ErrorType

OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""What this machine has run out of: files, memory, or ports to connect from."""

_NUMBER = re.compile(r"\[Errno ([0-9]+)]")


def connect_failure(error: OSError | UnicodeError) -> UpstreamError:
    """The error that a call ends with. Its text names neither host nor port, which are none of the caller's
    business, unlike the system's own texts."""
    if isinstance(error, socket.gaierror | UnicodeError):
        if shortage := _shortage():
            return _ours(shortage)
        unknown = not isinstance(error, socket.gaierror) or error.errno != socket.EAI_AGAIN
        return _theirs("its name is not known" if unknown else "its name can't be looked up at the moment")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _theirs(f"its certificate: {error.verify_message}")
    if isinstance(error, ssl.SSLError):  # its number is none of the system's
        return _theirs(f"TLS: {(error.reason or type(error).__name__).lower().replace('_', ' ')}")
    numbers = [error.errno] if error.errno else [int(number) for number in _NUMBER.findall(str(error))]
    for number in numbers:  # of a name with several addresses, one for each
        if number in OURS:
            return _ours(number)
    return _theirs(os.strerror(numbers[-1]) if numbers else type(error).__name__)


def _shortage() -> int | None:
    """Why this process can open nothing now, which looking up a name doesn't tell."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno if error.errno in OURS else None
    return None


def _ours(number: int) -> UpstreamError:
    error = UpstreamError(ErrorType.GATEWAY_ERROR, f"the gateway can't open a connection: {os.strerror(number)}")
    error.received = False
    return error


def _theirs(reason: str) -> ConnectError:
    return ConnectError(f"can't connect to upstream: {reason}")
