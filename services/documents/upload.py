"""Read a multipart upload as it arrives, straight into encrypted storage.

Starlette's own form parser spools large files to a temporary file in clear; here plaintext never
touches a disk, and memory stays at one piece whatever arrives.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from infra.errors import InvalidInput

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELDS_BYTES: Final = 64 * 1024
MAX_PARTS: Final = 64
"""An upload's form fields: how many at most, and how long all of them together."""
HEAD_BYTES: Final = 8 * 1024
MAX_NAME_CHARS: Final = 255
MAX_ENDING_CHARS: Final = 20
UNNAMED: Final = "unnamed"


class Writer(Protocol):
    """Where the file's bytes go."""

    def write(self, data: bytes) -> None:
        """Take the next piece."""
        ...


@dataclass
class Upload:
    """What an upload held besides the bytes of its one file. `head` is the beginning of the file."""

    filename: str = ""
    head: bytes = b""
    fields: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)


async def receive(content_type: str, stream: AsyncIterator[bytes], writer: Writer) -> Upload:
    """Read the request body; the file's bytes go to `writer`, the small fields are returned.

    Raises InvalidInput for anything but multipart/form-data with exactly one part named `file`, and
    passes on what `writer` raises, e.g. TooLarge.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidInput("Send the file as multipart/form-data, in a part named “file”.")
    reader = _Reader()
    parser = MultipartParser(options[b"boundary"], reader.callbacks())
    try:
        async for piece in stream:
            parser.write(piece)
            for data in reader.drain():
                await anyio.to_thread.run_sync(writer.write, data)
        parser.finalize()
    except MultipartParseError as error:
        raise InvalidInput("The upload is not valid multipart/form-data.") from error
    if not reader.ended:
        raise InvalidInput("The upload broke off before its end.", hint="Send it again.")
    if not reader.upload.filename:
        raise InvalidInput("There is no part named “file” in the upload.", param="file")
    return reader.upload


class _Reader:
    """Turns the parser's callbacks into fields and pieces of the file."""

    def __init__(self) -> None:
        self.upload = Upload()
        self.ended = False
        self._part = _Part()
        self._header = (bytearray(), bytearray())
        self._pieces: list[bytes] = []
        self._parts = 0
        self._field_bytes = 0

    def drain(self) -> list[bytes]:
        """Return the pieces of the file that have arrived since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._finish,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._part = _Part()
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidInput(f"An upload has at most {MAX_PARTS} parts.")

    def _header_end(self) -> None:
        name, value = self._header
        self._part.headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition", b""))
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        self._part.is_file = b"filename" in options
        if not self._part.is_file:
            return
        if self._part.name != "file" or self.upload.filename:
            raise InvalidInput("Send one file per upload, in a part named “file”.", param=self._part.name)
        self.upload.filename = clean_filename(options[b"filename"].decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._part.is_file:
            if len(self.upload.head) < HEAD_BYTES:
                self.upload.head += piece[: HEAD_BYTES - len(self.upload.head)]
            self._pieces.append(piece)
            return
        self._field_bytes += len(piece)
        if self._field_bytes > MAX_FIELDS_BYTES:
            raise InvalidInput("The form fields are too long.", param=self._part.name)
        self._part.data.extend(piece)

    def _finish(self) -> None:
        if not self._part.is_file:
            value = self._part.data.decode("utf-8", "replace")
            if "\0" in value:
                raise InvalidInput("A form field holds a zero character.", param=self._part.name)
            self.upload.fields.setdefault(self._part.name, []).append(value)

    def _end(self) -> None:
        self.ended = True


def clean_filename(name: str) -> str:
    """Return a client's file name as it is kept; what holds no usable name becomes “unnamed”."""
    return file_name_in(name) or UNNAMED


def file_name_in(path: str) -> str:
    """Return the last part of a client's path, of Unix or of Windows, as a file name; empty without one.

    It has at most MAX_NAME_CHARS characters and keeps its ending; control and formatting characters, which
    could turn the reading direction around, are gone; equal names are equal strings (Unicode NFC).
    """
    last = PurePosixPath(path.replace("\\", "/")).name
    visible = "".join(char for char in last if unicodedata.category(char)[0] != "C")
    cleaned = re.sub(r"\s+", " ", unicodedata.normalize("NFC", visible)).strip()
    if cleaned in {".", ".."}:
        return ""
    if len(cleaned) <= MAX_NAME_CHARS:
        return cleaned
    stem, dot, suffix = cleaned.rpartition(".")
    ending = dot + suffix if stem and len(suffix) <= MAX_ENDING_CHARS else ""
    return cleaned[: MAX_NAME_CHARS - len(ending)].rstrip() + ending
