"""The API and the console as one ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from review.access.door import Door
from review.api import account, administration, analysis, health, overview, problems, publishing, tasks
from review.api.parts import Parts
from review.console import pages

_STATIC: Final = Path(__file__).parent / "static"
_LARGEST_BODY: Final = 1_000_000
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none at all, a form is sent with no origin either
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


def create_app(parts: Parts, door: Door) -> FastAPI:
    """The application. Whoever makes the parts starts and closes them."""
    app = FastAPI(
        title="Tidegate",
        version="1",
        description="Everything that the console does. Sign in with POST /api/v1/sessions, or send an API token as "
        "`Authorization: Bearer tg_...`.",
        docs_url=None,  # it loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.parts, app.state.door = parts, door
    api = APIRouter(
        prefix="/api/v1", responses={"4XX": {"model": problems.Problem}, "503": {"model": problems.Problem}}
    )
    for room in (account, tasks, overview, analysis, publishing, administration):
        api.include_router(room.router)
    app.include_router(api)
    app.include_router(health.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=_STATIC), "static")
    problems.install(app)
    app.middleware("http")(_guarded(secure=door.settings.secure_cookies))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=parts.console.allowed_hosts, www_redirect=False)
    return app


def _guarded(*, secure: bool) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Bodies have a limit, and every answer the headers that keep a browser from doing more than it must."""

    async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > _LARGEST_BODY:
            response: Response = problems.answer(413, "too_large", f"a body has at most {_LARGEST_BODY:,} bytes")
        else:
            response = await go_on(request)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        if secure:
            response.headers["strict-transport-security"] = "max-age=31536000"
        if not request.url.path.startswith("/static/"):
            response.headers.setdefault("cache-control", "no-store")
        else:
            response.headers["cache-control"] = "no-cache"
        return response

    return guarded
