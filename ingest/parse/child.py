"""The one-shot child: reads one document under limits, answers in JSON lines, and ends.

Standard input carries one line, the request; the document is an inherited descriptor, so that its bytes
never touch a disk. Standard output carries `{"progress": …}`, `{"block": …}` and, last, `{"done": …}`,
`{"png": …}`, `{"guarantees": …}` or `{"error": …}`. `ingest.parse.sandbox` is the other end.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any, BinaryIO

from infra.errors import UnreadableFile
from ingest.parse import confinement, detect, load_parser, parse
from ingest.parse.limits import ParseLimits
from ingest.parse.text import too_much_text

# openpyxl imports numpy where it finds it, only to recognise its number types: a third of a second and
# threads that the limits forbid, for nothing.
sys.modules["numpy"] = None  # type: ignore[assignment]  # the import system's documented way to say "absent"


def main() -> None:
    """Answer the one request on standard input."""
    request = json.loads(sys.stdin.buffer.readline())
    limits = ParseLimits(**request["limits"])
    answers = _Answers(limits)
    try:
        granted = _confine(request["parent"], limits)
        _task(request, limits, answers, granted)
    except UnreadableFile as error:
        answers.error(error)
    except (MemoryError, RecursionError):
        answers.error(UnreadableFile("too_complex", "This document is too complex to be read."))
    except Exception as error:  # noqa: BLE001 - the edge of the child: any library's failure is the file's
        answers.failure(error)


def _confine(parent: int, limits: ParseLimits) -> dict[str, bool]:
    """Drop every right that reading a document does not need; the file system follows after the imports."""
    return {
        "dies_with_parent": confinement.die_with_parent(parent),
        "no_new_privileges": confinement.forbid_new_privileges(),
        "no_network": confinement.leave_network(),
        "no_sockets": confinement.forbid_sockets(),
        "resource_limits": confinement.limit_resources(limits),
    }


def _close_filesystem() -> bool:
    package = Path(__file__).resolve().parents[1]
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return confinement.close_filesystem([package, package.parent / "infra", *map(Path, sorted(folders))])


def _task(request: dict[str, Any], limits: ParseLimits, answers: _Answers, granted: dict[str, bool]) -> None:
    if request["task"] == "guarantees":
        answers.send({"guarantees": {**granted, "closed_filesystem": _close_filesystem()}})
        return
    # Blocking writes to the memory file are sealed by the parent; this only reads it.
    _refuse_unless(granted["resource_limits"] and (granted["no_network"] or granted["no_sockets"]))
    with os.fdopen(request["descriptor"], "rb") as file:
        if request["task"] == "render":
            _render(request, limits, answers, file)
        else:
            _parse(request, limits, answers, file)


def _refuse_unless(confined: bool) -> None:
    """Fail closed: a parser that a document takes over must reach neither the network nor our files."""
    if not confined:
        raise UnreadableFile(
            "not_confined",
            "This machine cannot confine the parser, so no file is read.",
            hint="`strongroom doctor` says what is missing; Linux 5.13 or later has it.",
        )


def _parse(request: dict[str, Any], limits: ParseLimits, answers: _Answers, file: BinaryIO) -> None:
    media_type = detect.detect(file, request["name"])
    load_parser(media_type)
    _refuse_unless(_close_filesystem())
    document = parse(media_type, file, limits, answers.progress)
    for block in document.blocks:
        answers.block(block.as_dict(), len(block.text))
    answers.send({"done": {"title": document.title, "pages": document.pages, "media_type": media_type}})


def _render(request: dict[str, Any], limits: ParseLimits, answers: _Answers, file: BinaryIO) -> None:
    if detect.detect(file, request["name"]) != detect.PDF:
        raise UnreadableFile("unsupported_type", "Only the pages of a PDF can be shown as images.")
    # Pillow loads its PNG writer on first use, so that is imported before the file system closes.
    from PIL import PngImagePlugin

    from ingest.parse.pdf_lines import render_page

    del PngImagePlugin
    _refuse_unless(_close_filesystem())
    png = render_page(file, request["page"], request["scale"], limits)
    answers.send({"png": base64.b64encode(png).decode()})


class _Answers:
    """The only way out. Descriptor 1 is taken away from the libraries, whose prints would break the lines."""

    def __init__(self, limits: ParseLimits) -> None:
        self._out = io.BufferedWriter(io.FileIO(os.dup(1), "w"), 256 * 1024)
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is wanted, not a path
            os.dup2(nowhere.fileno(), 1)
        self._limits = limits
        self._characters = 0

    def send(self, message: dict[str, Any]) -> None:
        """Write one line and see it off."""
        self._write(message)
        self._out.flush()

    def progress(self, done: int, total: int | None) -> None:
        """Report pages done; every page of a long document would be more lines than anybody reads."""
        if total is None or done == total or done % max(1, total // 100) == 0:
            self.send({"progress": [done, total]})

    def block(self, fields: dict[str, Any], characters: int) -> None:
        """Write one block, and count its characters against the limit of a document."""
        self._characters += characters
        if self._characters > self._limits.max_text_chars:
            raise too_much_text(self._limits)
        self._write({"block": fields})

    def error(self, error: UnreadableFile) -> None:
        """Give the reason why there is no document."""
        self.send({"error": {"code": error.code, "message": error.message, "hint": error.hint}})

    def failure(self, error: Exception) -> None:
        """Give a library's failure; only its type's name leaves, as its message may quote the document."""
        self.send(
            {
                "error": {
                    "code": "damaged",
                    "message": "This file is damaged, or uses its format in a way that cannot be read.",
                    "hint": "Open it in the program that made it, save it again, and upload the new copy.",
                    "cause": type(error).__name__,
                }
            }
        )

    def _write(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")


if __name__ == "__main__":
    main()
