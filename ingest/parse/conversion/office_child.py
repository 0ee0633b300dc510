"""The one-shot child around the converter: confines itself, starts the program, hands the result over.

Standard input carries one line, the request: the descriptors of the document and of the empty file for the
result, and a private folder. The exit status says how it went; `office_converter` is the other end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from ingest.parse.confined import confinement
from ingest.parse.conversion import office_confinement
from ingest.parse.conversion.office_confinement import TEMPORARY
from ingest.parse.limits import MIB, ParseLimits

# Exit statuses, besides 0: no confinement, no result, out of time.
NOT_CONFINED: Final = 10
NOT_CONVERTED: Final = 11
# What a conversion needs beside the document: the program's profile, and the result with its pictures.
SCRATCH_BYTES: Final = 512 * MIB
COPY_BYTES: Final = MIB


def main() -> None:
    """Answer the one request on standard input."""
    request = json.loads(sys.stdin.buffer.readline())
    limits = ParseLimits(**request["limits"])
    scratch = Path(request["scratch"])
    confinement.die_with_parent(request["parent"])
    no_network, own_mounts = office_confinement.enter_namespaces()
    in_memory = (own_mounts and office_confinement.mount_scratch(scratch, SCRATCH_BYTES)) or _is_tmpfs(
        scratch
    )
    source = _laid_out(scratch, request)
    own_temporary = own_mounts and office_confinement.mount_over(scratch / "temporary", TEMPORARY)
    converter = Path(request["converter"])
    confinement.forbid_new_privileges()
    office_confinement.limit_resources(limits)
    writable = [scratch, TEMPORARY] if own_temporary else [scratch]
    closed = office_confinement.close_filesystem(writable, [converter.parent])
    calls = office_confinement.forbid_calls()
    if not (in_memory and closed and (no_network or calls)):
        sys.exit(NOT_CONFINED)
    _convert(converter, source, scratch, request["filter"])
    result = scratch / "result" / f"document.{request['filter'].partition(':')[0]}"
    if not result.is_file():
        sys.exit(NOT_CONVERTED)
    with result.open("rb") as found, os.fdopen(request["result"], "wb") as out:
        shutil.copyfileobj(found, out, COPY_BYTES)


def _is_tmpfs(folder: Path) -> bool:
    """Say whether a folder lies in memory, by the longest mount point above it."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mounts = [line.split(" ")[1:3] for line in lines]
    above = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(above, default=(0, ""))[1] == "tmpfs"


def _laid_out(scratch: Path, request: dict[str, Any]) -> Path:
    for folder in ("home", "temporary", "result"):
        (scratch / folder).mkdir(mode=0o700)
    source = scratch / f"document{request['ending']}"
    with os.fdopen(request["document"], "rb") as document, source.open("wb") as copy:
        shutil.copyfileobj(document, copy, COPY_BYTES)
    return source


def _convert(converter: Path, source: Path, scratch: Path, filter_name: str) -> None:
    """Run the program; whether it has written a result says more than its exit status."""
    arguments = [
        str(converter),
        "--headless",
        "--norestore",
        "--nolockcheck",
        "--nodefault",
        "--nologo",
        f"-env:UserInstallation=file://{scratch / 'home' / 'profile'}",
        "--convert-to",
        filter_name,
        "--outdir",
        str(scratch / "result"),
        str(source),
    ]
    environment = {
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "temporary"),
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "SAL_USE_VCLPLUGIN": "svp",
    }
    subprocess.run(  # noqa: S603 - the program is the operator's, the arguments are ours
        arguments,
        env=environment,
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        preexec_fn=office_confinement.die_with_starter,  # there are no threads here that it could hurt
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
