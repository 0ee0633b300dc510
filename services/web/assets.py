"""Static files under an address that changes with their content, so that browsers may keep them for good."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope


class Assets:
    """The files of one folder. They share one digest, so that modules import each other by relative path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = f"/static/{_digest(folder)}"

    def url(self, name: str) -> str:
        """Return the address of the file `name`; raise FileNotFoundError when there is none."""
        if not (self.folder / name).is_file():
            raise FileNotFoundError(name)
        return f"{self.prefix}/{name}"

    def app(self) -> StaticFiles:
        """Return the ASGI app that serves the files, with ETags."""
        return _LastingFiles(directory=self.folder)


class _LastingFiles(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _digest(folder: Path) -> str:
    """Return 16 hex digits of SHA-256 over every file's relative path and content."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        whole.update(f"{file.relative_to(folder).as_posix()}\n{len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()[:16]
