"""The console page at ``/``: ask a query, and see who was predicted good, who was asked, what it cost.

Static files of the package. The page asks the endpoint's own APIs, with a key where one is asked for; the
files themselves tell nothing and need none.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

#: Nothing from elsewhere, no inline script, no frame around the page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FILES = {
    "/": ("console.html", "text/html; charset=utf-8"),
    "/console/app.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console/style.css": ("console.css", "text/css; charset=utf-8"),
}


@lru_cache
def _content(name: str) -> bytes:
    return (files("herdwise.serving") / "pages" / name).read_bytes()


async def _file(request: Request) -> Response:
    name, kind = _FILES[request.url.path]
    headers = {
        "content-type": kind,
        "cache-control": "no-cache",
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Response(_content(name), headers=headers)


def console_routes() -> list[Route]:
    """The page and what it loads."""
    return [Route(path, _file, methods=["GET"]) for path in _FILES]
