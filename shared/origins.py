"""Origins of pages, as a setting that names them."""

from urllib.parse import urlsplit

import click

ANY = "*"
ALLOWED = "* or origins such as https://dashboard.example:8443, with commas between them"


class Origins(click.ParamType[str]):
    """Origins as browsers send them, or `*` for any, with commas between them; empty: none."""

    name = "origins"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        origins = [part.strip().lower() for part in value.split(",")] if value else []
        for origin in origins:
            if origin != ANY and not _is_origin(origin):
                self.fail(f"{origin!r} is not {ALLOWED}.", param, ctx)
        return ",".join(origins)


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    usual = {"http": ":80", "https": ":443"}  # browsers leave it out
    if not named or "@" in text or text.endswith(usual[parts.scheme]):
        return False
    return text == f"{parts.scheme}://{parts.netloc}"
