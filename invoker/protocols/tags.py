"""What callers tag their calls with: `x-tag-NAME: value` headers, and `tags` of a body that has a place for them."""

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

from invoker.protocols.base import BadRequestError
from shared.record import MAX_TAG_CHARS, MAX_TAGS, TAG_NAME, TAG_VALUE

_NAME, _VALUE = re.compile(TAG_NAME), re.compile(TAG_VALUE)


def checked_tags(
    headers: Iterable[tuple[bytes, bytes]], said: Mapping[str, str] | None = None
) -> dict[str, str] | None:
    """By their names in lower case, of headers (without their prefix) and of a body; None without any.
    `BadRequestError` names the first that can't be taken."""
    tags: dict[str, str] = {}
    for name, value in (*_decoded(headers), *(said or {}).items()):
        lower = name.lower()
        if _NAME.fullmatch(lower) is None:
            _refuse(name, f"its name must be 1 to {MAX_TAG_CHARS} of a-z, 0-9, _ and -")
        if lower in tags:
            _refuse(name, "it stands there twice")
        if _VALUE.fullmatch(value) is None:
            _refuse(name, f"its value must be 1 to {MAX_TAG_CHARS} printable characters")
        if len(tags) == MAX_TAGS:
            _refuse(name, f"it is one too many; at most {MAX_TAGS} are taken")
        tags[lower] = value
    return tags or None


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    for name, value in headers:
        shown = name.decode("latin-1")
        try:
            yield shown, value.decode()
        except UnicodeDecodeError:
            _refuse(shown, "its value must be in UTF-8")


def _refuse(name: str, why: str) -> NoReturn:
    raise BadRequestError(400, "invalid_request", f"Tag {name[: MAX_TAG_CHARS + 1]!r}: {why}")
