"""Flags that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data folder, instead of STRONGROOM_DATA_DIR.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for scripts.")]
Url = Annotated[str | None, typer.Option("--url", help="Address of the server, instead of STRONGROOM_URL.")]
Key = Annotated[str | None, typer.Option("--api-key", help="API key, instead of STRONGROOM_API_KEY.")]
