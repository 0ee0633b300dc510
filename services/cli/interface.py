"""`strongroom openapi`: the HTTP interface as one JSON document, without starting anything."""

from __future__ import annotations

from typing import Any

from infra.settings import Settings
from services.cli.terminal import print_json


def print_openapi(settings: Settings) -> None:
    """Print the OpenAPI 3.1 document that the server gives at `/openapi.json`."""
    print_json(openapi(settings))


def openapi(settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document; the application is assembled, and none of its parts is opened."""
    from services.app import create_app

    return create_app(settings).openapi()
