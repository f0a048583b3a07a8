"""What a table says that is secret: its upstream's key, by where that is, and headers."""

import re
from collections.abc import Mapping
from pathlib import Path

from invoker.http.passing import is_own_field
from invoker.models_file.findings import Place
from shared.settings import environment_variable

MAX_KEY_BYTES = 16 * 1024
MAX_HEADERS = 32

_KEY = re.compile(r"[!-~]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")


def read_key(directory: Path, variable: str | None, file: str | None, place: Place) -> str | None:
    """The key that a table, which is at this place, names with a variable of the environment or a file, if with any. No
    error shows it."""
    if variable is not None and file is not None:
        place.at("api_key_file").error("api_key_env stands there, too; only one of them may be given")
        return None
    if variable is not None:
        place, text = place.at("api_key_env"), environment_variable(variable)
        if text is None:
            name = repr(variable) if _VARIABLE.fullmatch(variable) else "named there (not shown: it may be the key)"
            place.error(f"the environment variable {name} is not set")
    elif file is not None:
        place = place.at("api_key_file")
        text = _read_file(directory / file, f"{file!r:.256}", place)
    else:
        return None
    if text is not None and not _KEY.fullmatch(text):
        shown = "is empty" if not text else "is not shown"
        place.error(f"what is there must be visible ASCII characters without spaces; it {shown}")
        return None
    return text


def _read_file(path: Path, shown: str, place: Place) -> str | None:
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_KEY_BYTES + 1)
    except (OSError, ValueError) as error:
        place.error(f"{shown}: {getattr(error, 'strerror', None) or error}")
        return None
    if len(content) > MAX_KEY_BYTES:
        place.error(f"{shown}: it is larger than {MAX_KEY_BYTES} bytes, the limit")
        return None
    return content.decode("latin-1").rstrip("\r\n")


def check_headers(headers: Mapping[str, str], place: Place) -> None:
    """What can't be sent, or is said by the gateway itself, is an error."""
    if len(headers) > MAX_HEADERS:
        place.error(f"{len(headers)} of them; at most {MAX_HEADERS} are allowed")
    seen: set[str] = set()
    for name, value in headers.items():
        field = place.at(name)
        if not _NAME.fullmatch(name):
            field.error("that is no name of a header of at most 64 characters")
        elif is_own_field(name.lower().encode()):
            field.error("it is set by the gateway itself")
        elif name.lower() in seen:
            field.error("it stands there twice")
        if not _VALUE.fullmatch(value):
            field.error("its value (not shown) must be 1 to 4096 printable ASCII characters, with no space around")
        seen.add(name.lower())
