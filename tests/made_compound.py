"""Compound files (MS-CFB) and Outlook messages within them (MS-OXMSG), as Windows programs write them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
SECTOR, MINI, CUTOFF = 512, 64, 4096
Folder = Mapping[str, "bytes | Folder"]


@dataclass
class _Entry:
    name: str
    kind: int
    start: int = END
    size: int = 0
    child: int = FREE
    right: int = FREE


@dataclass
class _File:
    sectors: list[bytes] = field(default_factory=list)
    chain: list[int] = field(default_factory=list)
    small: bytes = b""
    small_chain: list[int] = field(default_factory=list)
    entries: list[_Entry] = field(default_factory=list)

    def put(self, content: bytes) -> int:
        """Store whole sectors and return the first one's number."""
        if not content:
            return END
        first = len(self.sectors)
        pieces = [content[at : at + SECTOR].ljust(SECTOR, b"\0") for at in range(0, len(content), SECTOR)]
        self.sectors += pieces
        self.chain += [*range(first + 1, first + len(pieces)), END]
        return first

    def put_small(self, content: bytes) -> int:
        """Store a short stream and return its first mini sector's number."""
        first = len(self.small_chain)
        count = -(-len(content) // MINI)
        self.small += content.ljust(count * MINI, b"\0")
        self.small_chain += [*range(first + 1, first + count), END]
        return first

    def add(self, folder: Folder, into: int) -> None:
        """Add a folder's contents below the entry `into`, as a list of siblings."""
        before = None
        for name, content in folder.items():
            at = len(self.entries)
            if before is None:
                self.entries[into].child = at
            else:
                self.entries[before].right = at
            before = at
            if isinstance(content, bytes):
                short = len(content) < CUTOFF
                start = (self.put_small(content) if short else self.put(content)) if content else END
                self.entries.append(_Entry(name, 2, start, len(content)))
            else:
                self.entries.append(_Entry(name, 1, 0))
                self.add(content, at)


def compound_of(folder: Folder) -> bytes:
    """Return a compound file with these streams (bytes) and folders. For files of some 50 KiB at most."""
    file = _File(entries=[_Entry("Root Entry", 5)])
    file.add(folder, 0)
    root = file.entries[0]
    root.start, root.size = file.put(file.small), len(file.small)
    mini_fat = b"".join(struct.pack("<I", at) for at in file.small_chain)
    mini_start = file.put(mini_fat.ljust(-(-len(mini_fat) // SECTOR) * SECTOR, b"\xff"))
    directory = file.put(b"".join(map(_packed, file.entries)))
    table_at = len(file.sectors)
    table = b"".join(struct.pack("<I", at) for at in [*file.chain, FAT]).ljust(SECTOR, b"\xff")
    assert len(table) == SECTOR, "one table of sectors is enough for a test"
    header = struct.pack(
        "<8s16sHHHHH6xIIIIIIIII",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, directory, 0, CUTOFF),
        *(mini_start, -(-len(mini_fat) // SECTOR), END, 0),
    )
    header += struct.pack("<I", table_at).ljust(436, b"\xff")
    return b"".join([header, *file.sectors, table])


def _packed(entry: _Entry) -> bytes:
    name = (entry.name + "\0").encode("utf-16-le")
    return struct.pack(
        "<64sHBBIII16sI8s8sIQ",
        *(name, len(name), entry.kind, 1, FREE, entry.right, entry.child, b"", 0, b"", b""),
        *(entry.start if entry.size or entry.kind == 2 else END, entry.size),
    )


def message_of(
    subject: str,
    body: str,
    *,
    sender: str = "Ada Byrne",
    recipients: tuple[str, ...] = ("Ben Cole",),
    attached: Mapping[str, bytes] | None = None,
    enclosed: Mapping[str, Folder] | None = None,
) -> Folder:
    """Return an Outlook message as a folder; `enclosed` are messages within it, by their shown names."""
    folder = _properties({0x37: subject, 0x1000: body, 0x0C1A: sender}, 24)
    for number, name in enumerate(recipients):
        folder[f"__recip_version1.0_#{number:08X}"] = _properties({0x3001: name, 0x0C15: 1}, 8)
    for number, (name, content) in enumerate((attached or {}).items()):
        folder[f"__attach_version1.0_#{number:08X}"] = _properties({0x3707: name, 0x3701: content}, 8)
    for number, (name, inner) in enumerate((enclosed or {}).items(), start=len(attached or {})):
        attachment = _properties({0x3001: name}, 8)
        folder[f"__attach_version1.0_#{number:08X}"] = {**attachment, "__substg1.0_3701000D": inner}
    return folder


def msg_of(message: Folder) -> bytes:
    """Return the message as a file; its outermost properties have a longer header."""
    properties = message["__properties_version1.0"]
    assert isinstance(properties, bytes)
    return compound_of({**message, "__properties_version1.0": b"\0" * 8 + properties})


def _properties(values: Mapping[int, str | bytes | int], header: int) -> dict[str, bytes | Folder]:
    table = b"\0" * header
    streams: dict[str, bytes | Folder] = {}
    for key, value in values.items():
        if isinstance(value, int):
            table += struct.pack("<HHIQ", 0x0003, key, 6, value)
            continue
        kind = 0x001F if isinstance(value, str) else 0x0102
        raw = value.encode("utf-16-le") if isinstance(value, str) else value
        table += struct.pack("<HHIII", kind, key, 6, len(raw), 0)
        streams[f"__substg1.0_{key:04X}{kind:04X}"] = raw
    return {"__properties_version1.0": table, **streams}
