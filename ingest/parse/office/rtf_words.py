"""The words of RTF: how the bytes fall into control words, groups and text, and what the words mean.

The tables are striprtf's (which groups hold no text, what stands for a character, which code page a font is
in), corrected for what people read. The words are those of the Rich Text Format Specification 1.9.1
(Microsoft, 2008).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from striprtf.striprtf import charset_map, destinations, specialchars

DEFAULT_HALF_POINTS: Final = 24
_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)"
)
# Groups that are read, though striprtf leaves them out: those of shapes, objects and fields hold text.
_READ: Final = frozenset("shp shpgrp shpinst object result".split())
# Groups whose text is a story of its own, beside the paragraph in which they stand.
STORIES: Final = {
    "footnote": "note",
    "annotation": "comment",
    "shptxt": "box",
    **dict.fromkeys("header headerl headerr headerf".split(), "header"),
    **dict.fromkeys("footer footerl footerr footerf".split(), "footer"),
}
# Groups that describe the document; the reader looks into them for what it needs.
TABLES: Final = frozenset("fonttbl colortbl stylesheet info".split())
_NOT_READ: Final = (frozenset(destinations) - _READ - STORIES.keys() - TABLES) | frozenset(
    "pict fldinst shprslt objdata listtext bkmkstart bkmkend atrfstart atrfend nonesttables".split()
)
CHARACTERS: Final = {
    word: text
    for word, text in specialchars.items()
    if word.isalpha() and word not in {"par", "sect", "page", "row", "cell", "nestcell"}
}
SYMBOLS: Final = {"~": "\xa0", "_": "\u2011", "{": "{", "}": "}", "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Token:
    """One of: a control `word` with its `number`, a `symbol`, a `brace`, or bytes of text.

    `coded` says that the bytes were written as a hexadecimal code.
    """

    word: str = ""
    number: int | None = None
    symbol: str = ""
    brace: str = ""
    text: bytes = b""
    coded: bool = False


def tokens(raw: bytes) -> Iterator[Token]:
    """Yield the tokens of a file; what `\\bin` announces is passed over, and so are lone backslashes."""
    at = 0
    while at < len(raw):
        match = _TOKEN.match(raw, at)
        if match is None:
            at += 1
            continue
        at = match.end()
        word, number, code, symbol, brace, text = match.groups()
        if word:
            value = int(number) if number else None
            if word == b"bin":
                at += max(value or 0, 0)
            yield Token(word=word.decode("ascii").lower(), number=value)
        elif code:
            yield Token(text=bytes.fromhex(code.decode("ascii")), coded=True)
        elif symbol:
            yield Token(symbol=symbol.decode("latin-1"))
        elif brace:
            yield Token(brace=brace.decode("ascii"))
        elif text:
            yield Token(text=text)


def begins_unread_group(word: str, *, starred: bool) -> bool:
    """Say whether nobody reads the text of the group that `word` begins; a starred one may be unknown."""
    if word in STORIES or word in _READ or word in TABLES:
        return False
    return starred or word in _NOT_READ


def codec_of(charset: int | None, otherwise: str) -> str:
    """Return the Python codec of a font's character set; `otherwise` where it has none of its own."""
    return known_codec(charset_map.get(charset, otherwise) if charset is not None else otherwise)


def known_codec(wanted: str) -> str:
    """Return `wanted` if Python has such a codec, else that of Western Windows."""
    try:
        return codecs.lookup(wanted).name
    except LookupError:
        return "cp1252"
