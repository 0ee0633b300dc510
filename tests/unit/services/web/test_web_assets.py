"""Static files: their address follows their content."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from services.web.assets import Assets


def _folder(path: Path) -> Path:
    (path / "deep").mkdir(parents=True)
    (path / "a.css").write_text("a { color: red }")
    (path / "deep" / "b.js").write_text("export const b = 1;")
    return path


def test_the_address_changes_with_any_content(tmp_path: Path) -> None:
    """Editing a file in a subfolder changes the address of all, because modules import one another."""
    folder = _folder(tmp_path / "static")
    before = Assets(folder).url("a.css")
    assert Assets(folder).url("a.css") == before
    (folder / "deep" / "b.js").write_text("export const b = 2;")
    assert Assets(folder).url("a.css") != before


def test_a_renamed_file_changes_the_address(tmp_path: Path) -> None:
    """Names count as well as contents."""
    folder = _folder(tmp_path / "static")
    before = Assets(folder).prefix
    (folder / "a.css").rename(folder / "c.css")
    assert Assets(folder).prefix != before


def test_a_missing_file_has_no_address(tmp_path: Path) -> None:
    """A template that names a file which is not there fails when it is rendered, not in the browser."""
    with pytest.raises(FileNotFoundError):
        Assets(_folder(tmp_path / "static")).url("nothing.css")


def test_files_have_etags_and_last(tmp_path: Path) -> None:
    """A file may be kept for good, a known one is not sent again, and nothing outside is reached."""
    folder = _folder(tmp_path / "static")
    (tmp_path / "secret.txt").write_text("secret")
    assets = Assets(folder)
    client = TestClient(Starlette(routes=[Mount(assets.prefix, assets.app())]))
    first = client.get(assets.url("deep/b.js"))
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = client.get(assets.url("deep/b.js"), headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert client.get(f"{assets.prefix}/%2e%2e/secret.txt").status_code == 404
    assert "cache-control" not in client.get(f"{assets.prefix}/nothing").headers
