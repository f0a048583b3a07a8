"""What the models file has an upstream told beside what its callers say: its own key, and headers. All of it is secret,
and so are the user and password of its URL."""

import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from invoker.http.pieces import Body

MIN_SECRET_CHARS = 4
"""What is shorter can be guessed, and is part of too many words to be left out wherever it stands."""
MIN_CALLERS_CHARS = 8
"""Callers say much where no key is wanted: `none`, `test`, `EMPTY`."""
MIN_CUT_CHARS = 512
"""Of what an upstream says, no error shows more; what is shorter is whole."""
HIDDEN = "***"
CARRIERS = frozenset((b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"))
"""Where callers have their keys. None of them is of use to an upstream with a key of its own."""

LIKE_A_SECRET = re.compile(r"key|token|secret|sig|pass|auth", re.IGNORECASE)
"""Names of what isn't to be told."""

_CARRIED = re.compile(rb"(?im)^(?:%b):[ \t]*(.*?)[ \t]*\r?$" % b"|".join(sorted(CARRIERS)))
_BEGIN = re.compile(r"[0-9A-Za-z]{,4}")  # which is written in one way only


class Credentials:
    """For the calls of one model: `put_into` what their callers say, and left out of what the upstream says."""

    __slots__ = ("_caller_fields", "_lines", "_secret", "_secrets")

    def __init__(self, headers: Mapping[str, str], url: str = "") -> None:
        names = {name.lower().encode() for name in headers}
        names |= CARRIERS if names & CARRIERS else set()
        of_caller = b"|".join(map(re.escape, sorted(names)))
        self._caller_fields = re.compile(rb"(?im)^(?:%b):.*\n" % of_caller) if names else None
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        self._secrets = sorted(_secrets(headers, url), key=len, reverse=True)
        self._secret: re.Pattern[str] | None = None  # of one that is needed, as there may be many

    def __repr__(self) -> str:
        return f"Credentials({HIDDEN})"

    def put_into(self, lines: bytes) -> bytes:
        """Whole header lines, of which those that a caller sent under these names are replaced."""
        if self._caller_fields is None:
            return lines
        return self._caller_fields.sub(b"", lines) + self._lines

    def left_out_of(self, text: str) -> str:
        """A text without them, also if it is cut in the middle of one: at an ellipsis, or at its end if it is long."""
        if not self._secrets:
            return text
        shown, cut, end = self._pattern().sub(HIDDEN, text).partition("…")
        if cut or len(text) >= MIN_CUT_CHARS:
            shown = self._without_begin(shown)
        return shown + cut + end

    def left_out_of_body(self, body: Body) -> Body:
        """Likewise, in whatever ASCII coding."""
        if not self._secrets:
            return body
        text = (body if isinstance(body, bytes) else b"".join(body)).decode("latin-1")
        return self._pattern().sub(HIDDEN, text).encode("latin-1")

    def _pattern(self) -> re.Pattern[str]:
        if self._secret is None:
            self._secret = re.compile("|".join(map(_as_written, self._secrets)))
        return self._secret

    def _without_begin(self, text: str) -> str:
        for secret in self._secrets:
            for length in range(len(secret) - 1, MIN_SECRET_CHARS - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + HIDDEN
        return text


def in_confidence(text: str, own: Credentials | None, lines: bytes) -> str:
    """What an upstream says, without the credentials that it was told: its own, and its caller's in these lines."""
    if own is not None:
        text = own.left_out_of(text)
    for line in _CARRIED.findall(lines):
        value = line.decode("latin-1")
        key = value.rpartition(" ")[2]
        if len(key) >= MIN_CALLERS_CHARS and _BEGIN.match(key)[0] in text:  # type: ignore[index]  # it always matches
            text = Credentials({"": value}).left_out_of(text)
    return text


def _secrets(headers: Mapping[str, str], url: str) -> set[str]:
    found: set[str] = set()
    for value in headers.values():
        found |= {value, value.rpartition(" ")[2]}  # after the name of a scheme
    parts = urlsplit(url if "@" in url or "?" in url else "")  # most have neither
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        found |= {password, parts.password or "", b64encode(f"{user}:{password}".encode()).decode()}
    found |= {value for name, value in parse_qsl(parts.query) if LIKE_A_SECRET.search(name)}
    return {secret for secret in found if len(secret) >= MIN_SECRET_CHARS}


def _as_written(secret: str) -> str:
    """A pattern of it, as it stands or escaped as in JSON, in a URL or in HTML."""
    return "".join(map(_character, secret))


def _character(one: str) -> str:
    if one.isalnum() or ord(one) > 126:
        return re.escape(one)
    code = ord(one)
    return rf"(?:\\?{re.escape(one)}|\\u(?i:{code:04x})|%(?i:{code:02x})|&#0*{code};|&#[xX]0*(?i:{code:x});)"


def credentials(
    protocol: str, url: str, *, key: str | None = None, headers: Mapping[str, str] | None = None
) -> Credentials | None:
    """Of a model that is called by this protocol. `ValueError` where two of them would say the same."""
    all_headers = dict(headers or {})
    names = {name.lower() for name in all_headers}
    if key is not None:
        carrier = "x-api-key" if protocol == "anthropic" else "Authorization"
        if carrier.lower() in names:
            raise ValueError(f"the key is sent as {carrier}, which stands in headers, too")
        names.add(carrier.lower())
        all_headers[carrier] = key if protocol == "anthropic" else f"Bearer {key}"
    if "authorization" in names and urlsplit(url).username is not None:
        raise ValueError("the upstream's URL has a user already, who is sent as Authorization, too")
    return Credentials(all_headers, url) if all_headers or _secrets({}, url) else None
