"""Upload a large file in parts (tus 1.0.0), and go on where a broken connection left off."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from infra.errors import StrongroomError
from services.cli.connection import Connection, NotRunning, Refused

LARGE_BYTES: Final = 32 * 1024 * 1024
"""From this size on a file is uploaded in parts."""
PART_BYTES: Final = 8 * 1024 * 1024
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Waits before the next try of a part that did not arrive, in seconds."""
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_PART: Final = {**_TUS, "Content-Type": "application/offset+octet-stream"}


def upload_in_parts(
    connection: Connection,
    path: Path,
    fields: Mapping[str, Sequence[str]],
    on_sent: Callable[[int], None],
    *,
    pauses_s: Sequence[float] = PAUSES_S,
) -> dict[str, Any]:
    """Upload a file and return its file object, with `x_upload`; `on_sent` hears how many bytes have arrived.

    Raises Refused, or NotRunning when the server stays away.
    """
    size = path.stat().st_size
    described = {
        "filename": path.name,
        **{key: "\n".join(values) for key, values in fields.items() if values},
    }
    metadata = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in described.items())
    headers = {**_TUS, "Upload-Length": str(size), "Upload-Metadata": metadata}
    where = connection.send("POST", "/v1/uploads", headers)["location"]
    told: Mapping[str, str] = {}
    offset, left = 0, list(pauses_s)
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            try:
                told = connection.send(
                    "PATCH", where, {**_PART, "Upload-Offset": str(offset)}, file.read(PART_BYTES)
                )
            except (NotRunning, Refused) as error:
                # 409: the server has meanwhile kept what came before a connection broke.
                if isinstance(error, Refused) and error.status != 409:
                    raise
                told = _asked_again(connection, where, left)
            offset = int(told.get("upload-offset", offset))
            on_sent(offset)
    if "x-file-id" not in told:
        raise StrongroomError("The file changed while it was uploaded.", hint="Ingest it again.")
    stored = connection.get(f"/v1/files/{told['x-file-id']}")
    # A file that was whole before its answer arrived was at least stored; what was new is not known.
    return {**stored, "x_upload": told.get("x-upload", "new")}


def _asked_again(connection: Connection, where: str, pauses_s: list[float]) -> Mapping[str, str]:
    """Ask how far the upload is until somebody answers; uses up `pauses_s`, then raises NotRunning."""
    while pauses_s:
        time.sleep(pauses_s.pop(0))
        with suppress(NotRunning):
            return connection.send("HEAD", where, _TUS)
    raise NotRunning(f"at {connection.url}")
