"""Security headers on every response, so that a page can load and reach nothing but this server."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# `default-src 'self'` is design §9. Trusted Types make the browser itself refuse markup built from
# strings, so a slip in a module cannot turn an answer or a file name into a script.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

ALWAYS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class SecurityHeaders:
    """ASGI middleware that puts `ALWAYS` on each response, and keeps private ones out of caches."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_fenced(message: Message) -> None:
            if message["type"] == "http.response.start":
                _fence(MutableHeaders(scope=message))
            await send(message)

        await self.app(scope, receive, send_fenced)


def _fence(headers: MutableHeaders) -> None:
    for name, value in ALWAYS.items():
        headers[name] = value
    # Answers, passages and page images must not stay on the disk of a shared computer. Only the
    # static files, which hold nothing private, say otherwise themselves.
    headers.setdefault("Cache-Control", "no-store")
