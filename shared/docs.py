"""Swagger UI, the OpenAPI document and the pages of `docs/`: all from this host, no CDN, no inline script."""

import importlib.util
from html import escape
from pathlib import Path

import msgspec
from aiohttp import web

from shared.openapi import Schema
from shared.pages import pages_routes

ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-16x16.png", "favicon-32x32.png")

# Addresses are relative, so that the page also works behind a path prefix.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}</title>
  <link rel="stylesheet" href="docs/swagger-ui.css">
  <link rel="icon" type="image/png" sizes="32x32" href="docs/favicon-32x32.png">
  <link rel="icon" type="image/png" sizes="16x16" href="docs/favicon-16x16.png">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="docs/swagger-ui-bundle.js"></script>
  <script src="docs/initializer.js"></script>
</body>
</html>
"""

# `validatorUrl: null` keeps Swagger UI from asking its authors' server about the document.
INITIALIZER = """window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout"
});
"""

PAGE_HEADERS = {
    # Swagger UI sets style attributes and draws its icons from data: addresses.
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
ASSET_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=86400"}


def docs_routes(document: Schema) -> list[web.RouteDef]:
    """`GET /openapi.json`, `GET /docs`, its assets and further pages under `/docs/`; the document is encoded once."""
    encoded = msgspec.json.encode(document)
    page = PAGE.format(title=escape(document["info"]["title"]))

    async def openapi(_request: web.Request) -> web.Response:
        headers = {"Cache-Control": "no-cache"}
        return web.Response(body=encoded, content_type="application/json", headers=headers)

    async def docs(_request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)

    async def initializer(_request: web.Request) -> web.Response:
        return web.Response(text=INITIALIZER, content_type="text/javascript", headers=ASSET_HEADERS)

    async def asset(request: web.Request) -> web.FileResponse:
        return web.FileResponse(assets[request.path.rpartition("/")[2]], headers=ASSET_HEADERS)

    directory = _assets_directory()
    assets = {name: directory / name for name in ASSETS}
    return [
        web.get("/openapi.json", openapi),
        web.get("/docs", docs),
        web.get("/docs/initializer.js", initializer),
        *(web.get(f"/docs/{name}", asset) for name in ASSETS),
        *pages_routes(),
    ]


def _assets_directory() -> Path:
    """Where `swagger-ui-py` keeps Swagger UI's files; found without importing its web frameworks."""
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package swagger-ui-py is not installed")
    return Path(spec.submodule_search_locations[0]) / "static"
