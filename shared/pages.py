"""The pages of `docs/` as HTML, beside the Swagger page: those of the release that runs, without any other host."""

import asyncio
import re
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

from aiohttp import web

PAGES = {
    "gateway": "Gateway",
    "openai": "Protocol of OpenAI",
    "anthropic": "Protocol of Anthropic",
    "kserve": "Protocol of KServe",
    "models-file": "Models file",
    "history": "History and statistics",
    "metrics": "Metrics and alerts",
    "dashboards": "Dashboards",
    "export-import": "Export and import",
    "settings": "Settings and commands",
    "mock-server": "The mock server",
    "deployment": "Deployment",
    "operations": "Operations",
    "benchmark": "Benchmark",
    "extending": "Extending it",
}
"""Name → title. Named here, as an installed package shares the folder's name with others' documents."""

DIRECTORY = Path(__file__).parent.parent / "docs"

HTML = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}</title>
  <style>
    body {{ max-width: 64rem; margin: 1rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif; }}
    nav a {{ margin-right: 1em; white-space: nowrap; }}
    pre {{ overflow-x: auto; padding: .8rem; }}
    code, pre {{ background: #f3f3f3; }}
    table {{ border-collapse: collapse; }}
    td, th {{ border: 1px solid #ccc; padding: .2rem .6rem; text-align: left; vertical-align: top; }}
  </style>
</head>
<body>
<nav>{nav}</nav>
{body}</body>
</html>
"""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def pages_routes() -> list[web.RouteDef]:
    """`GET /docs/NAME.md` for each page."""

    async def page(request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2].removesuffix(".md")
        text = await asyncio.to_thread(render, name)  # tens of milliseconds at first, which no call should wait for
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    return [web.get(f"/docs/{name}.md", page) for name in PAGES]


@cache
def render(name: str) -> str:
    """The page as HTML. Headings have the anchors that GitHub gives them; what isn't served here is no link."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - 45 ms and 1 MB, for those alone who read

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse((DIRECTORY / f"{name}.md").read_text(encoding="utf-8"))
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor(inline.content))
    for link in (child for token in tokens for child in token.children or ()):
        if link.type == "link_open" and not is_served(str(link.attrGet("href"))):
            link.attrs.clear()
    nav = "\n".join(f'<a href="{other}.md">{escape(title)}</a>' for other, title in PAGES.items())
    return HTML.format(title=escape(PAGES[name]), nav=nav, body=parser.renderer.render(tokens, parser.options, {}))


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def is_served(target: str) -> bool:
    """Whether a link leads to another page, within its own, or to another site."""
    path = target.partition("#")[0]
    return not path or path.removesuffix(".md") in PAGES or re.match(r"[a-z]+:", target) is not None
