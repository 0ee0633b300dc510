"""The one-shot child: reads one document under limits, answers in JSON lines, and ends.

Standard input carries one line, the request; the document is an inherited descriptor, so that its bytes
never touch a disk. Standard output carries `{"progress": …}`, `{"block": …}` and, last, `{"done": …}`,
`{"recognise": …}`, `{"png": …}`, `{"guarantees": …}` or `{"error": …}`; a child that recognises pages writes
`{"page": …}` for each. `ingest.parse.confined.one_shot` is the other end.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import sysconfig
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from infra.errors import UnreadableFile
from ingest.parse import detect, load_parser, parse
from ingest.parse.confined import confinement
from ingest.parse.kinds import CONVERTED_FIRST
from ingest.parse.limits import ParseLimits, too_much_text
from ingest.parse.pages import scanned
from ingest.parse.pages.page_layout import PrintedPage
from ingest.parse.pages.scanned import PAGED, NeedsRecognition

# openpyxl imports numpy where it finds it, only to recognise its number types: a third of a second for
# nothing. Text recognition, which computes with it, makes it present again.
sys.modules["numpy"] = None  # type: ignore[assignment]  # the import system's documented way to say "absent"


def main() -> None:
    """Answer the one request on standard input."""
    request = json.loads(sys.stdin.buffer.readline())
    limits = ParseLimits(**request["limits"])
    answers = _Answers(limits)
    try:
        granted = _confine(request, limits)
        _task(request, limits, answers, granted)
    except UnreadableFile as error:
        answers.error(error)
    except (MemoryError, RecursionError):
        answers.error(UnreadableFile("too_complex", "This document is too complex to be read."))
    except Exception as error:  # noqa: BLE001 - the edge of the child: any library's failure is the file's
        answers.failure(error)


def _confine(request: dict[str, Any], limits: ParseLimits) -> dict[str, bool]:
    """Drop every right that reading a document does not need; the file system follows after the imports."""
    parent = request["parent"]
    return {
        "dies_with_parent": confinement.die_with_parent(parent),
        "no_new_privileges": confinement.forbid_new_privileges(),
        # Bubblewrap fails rather than leave out the network namespace that it was asked for.
        "no_network": confinement.leave_network() or request["wrapped"],
        **dict.fromkeys(("no_sockets", "no_processes"), confinement.forbid_system_calls()),
        "resource_limits": confinement.limit_resources(limits),
    }


def _close_filesystem(request: dict[str, Any]) -> bool:
    """Leave only programs, libraries and our code readable; inside bubblewrap there is nothing else."""
    package = Path(__file__).resolve().parents[2]
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    readable = [package, package.parent / "infra", *map(Path, sorted(folders))]
    return confinement.close_filesystem(readable) or request["wrapped"]


def _task(request: dict[str, Any], limits: ParseLimits, answers: _Answers, granted: dict[str, bool]) -> None:
    if request["task"] == "guarantees":
        answers.send({"guarantees": {**granted, "closed_filesystem": _close_filesystem(request)}})
        return
    # Blocking writes to the memory file are sealed by the parent; this only reads it.
    _refuse_unless(granted["resource_limits"] and (granted["no_network"] or granted["no_sockets"]))
    with os.fdopen(request["descriptor"], "rb") as file:
        match request["task"]:
            case "render":
                _render(request, limits, answers, file)
            case "recognise":
                _recognise(request, limits, answers, file)
            case _:
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
    if media_type in CONVERTED_FIRST:
        answers.send({"convert": media_type})
        return
    load_parser(media_type)
    _refuse_unless(_close_filesystem(request))
    if media_type in PAGED:
        supplied = _supplied(request)
        try:
            document = _paged(media_type).parse(file, limits, answers.progress, supplied)
        except NeedsRecognition as needed:
            answers.send({"recognise": {"pages": needed.pages, "total": needed.total}})
            return
    else:
        document = parse(media_type, file, limits, answers.progress)
    for block in document.blocks:
        answers.block(block.as_dict(), len(block.text))
    done = {"title": document.title, "pages": document.pages, "media_type": document.media_type or media_type}
    answers.send({"done": {**done, "unread": document.unread}})


def _supplied(request: dict[str, Any]) -> dict[int, PrintedPage] | None:
    """Return the pages that other children have recognised."""
    if "recognised" not in request:
        return None
    with os.fdopen(request["recognised"], "rb") as lines:
        lines.seek(0)
        return dict(scanned.from_dict(json.loads(line)["page"]) for line in lines)


def _recognise(request: dict[str, Any], limits: ParseLimits, answers: _Answers, file: BinaryIO) -> None:
    media_type = detect.detect(file, request["name"])
    module = _paged(media_type)
    _refuse_unless(_close_filesystem(request))
    for number, page in module.recognise(file, limits, request["pages"]):
        answers.send({"page": scanned.as_dict(number, page)})


def _render(request: dict[str, Any], limits: ParseLimits, answers: _Answers, file: BinaryIO) -> None:
    media_type = detect.detect(file, request["name"])
    if media_type not in PAGED:
        raise UnreadableFile("unsupported_type", "Only pages of a PDF or an image can be shown as pictures.")
    # Pillow loads its PNG writer on first use, so that is imported before the file system closes.
    from PIL import PngImagePlugin

    del PngImagePlugin
    module = _paged(media_type)
    _refuse_unless(_close_filesystem(request))
    png = module.render_page(file, request["page"], request["scale"], limits)
    answers.send({"png": base64.b64encode(png).decode()})


def _paged(media_type: str) -> Any:
    """Import and return the module of a format whose pages can be recognised and shown as pictures."""
    if media_type not in PAGED:
        raise UnreadableFile("unsupported_type", "This type of file has no pages.")
    return import_module("ingest.parse.pages.pdf" if media_type == detect.PDF else "ingest.parse.pages.image")


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
