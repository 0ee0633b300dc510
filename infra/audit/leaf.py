"""One record of the ledger: its fields, and its one and only byte form.

A leaf is canonical JSON (RFC 8785) of at most 16 KiB that holds strings and integers only. Version 1
is final: a change of meaning is a new `v`, and readers refuse a `v` they do not know. What is absent
is left out, never null and never an empty list, so that one leaf has exactly one spelling.
`docs/ledger-format.md` describes the same fields for people who do not read code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import rfc8785

from infra.audit.event_types import EventType, Stage
from infra.errors import StrongroomError, TooLarge

VERSION: Final = 1
LARGEST_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8785 §3.2.2.3, RFC 7493 §2.2)."""
LARGEST_LEAF: Final = 16 * 1024
"""Bytes of one canonical leaf."""

_T = TypeVar("_T")


class LeafInvalid(StrongroomError):
    """Bytes or values that are no leaf of a version known here."""

    code = "leaf_invalid"


class LeafTooLarge(TooLarge):
    """A record that would need more than 16 KiB; content belongs into the encrypted part."""

    code = "leaf_too_large"


@dataclass(frozen=True)
class Actor:
    """Who did it."""

    sub: str
    """Random subject id; the row that maps it to a person can be destroyed."""
    kind: str
    """`user`, `service`, `system` or `anonymous`."""
    auth: str
    """How they were identified, e.g. `password`, `session`, `key`, `none`."""
    sess: str | None = None
    """Hash of the session or key they used."""
    pset: str | None = None
    """SHA-256 of the principals, clearance and compartments that decided what they could read."""


SYSTEM: Final = Actor(sub="system", kind="system", auth="none")
"""The server itself."""
ANONYMOUS: Final = Actor(sub="anonymous", kind="anonymous", auth="none")
"""Nobody known: a failed sign-in, a request without a key."""


@dataclass(frozen=True)
class Resource:
    """What it was done to."""

    type: str
    """`document`, `answer`, `account`, `group`, `key`, `job`, `source` …"""
    id: str
    """Its id; never a name."""
    ver: str | None = None
    """Its version, where it has versions."""


@dataclass(frozen=True)
class Authz:
    """Why it was allowed, or not."""

    decision: str
    """`allow` or `deny`."""
    policy: str
    """Hash or name of the rule that decided."""
    epoch: int
    """State of the access list that was used; it grows with every change of that list."""


@dataclass(frozen=True)
class Tokens:
    """How much text the model read and wrote, in its tokens."""

    read: int
    """Tokens of the prompt; `in` in the leaf."""
    written: int
    """Tokens of the answer; `out` in the leaf."""


@dataclass(frozen=True)
class ToolUse:
    """One tool that the model asked for."""

    name: str
    """Name of the tool."""
    verdict: str
    """What was decided about it, e.g. `ran`, `refused`."""


@dataclass(frozen=True)
class AI:
    """Which model did it, and how it was called."""

    model: str
    """Digest of the model's weights, or its name where a server keeps the weights to itself."""
    prompt: str | None = None
    """Digest of the prompt template."""
    params: Mapping[str, str | int] = field(default_factory=dict)
    """Generation parameters. JSON floats have no single spelling, so 0.2 is the string `0.2`."""
    tokens: Tokens | None = None
    """Token counts, once they are known."""
    tools: tuple[ToolUse, ...] = ()
    """Tools the model asked for, in order."""


@dataclass(frozen=True)
class Retrieved:
    """One passage that was given to the model, or quoted."""

    doc: str
    """Document id."""
    ver: str
    """Document version id."""
    chunk: str
    """Passage id; also its citation id."""
    hash: str
    """SHA-256 of the passage's text, 64 hex digits."""
    rank: int
    """Its place in the result list, from 1."""
    cited: int = -1
    """1 when the answer cites it, 0 when not, -1 while that is not known."""


@dataclass(frozen=True)
class ContentRef:
    """What proves the encrypted content without revealing it."""

    sha256: str
    """SHA-256 of the sealed bytes (nonce, ciphertext and tag), 64 hex digits."""
    commit: str
    """SHA-256 of salt (32 bytes) and plaintext, 64 hex digits; the salt is inside the sealed bytes."""
    key: str
    """Id of the subject's key."""
    len: int
    """Length of the plaintext, in bytes."""


@dataclass(frozen=True)
class Event:
    """What a caller has to say; the ledger adds version, id, time and source."""

    type: EventType
    stage: Stage
    corr: str
    actor: Actor
    res: Resource | None = None
    authz: Authz | None = None
    outcome: str | None = None
    ai: AI | None = None
    calls: tuple[AI, ...] = ()
    segments: int = 0
    ret: tuple[Retrieved, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """One record as it stands in the log."""

    id: str
    """UUIDv7 (RFC 9562): unique, and roughly in order of time."""
    type: str
    """A name from `EventType`, or a later one."""
    stage: Stage
    """Where it stands in what it tells about."""
    corr: str
    """Request id, 1 to 36 of `A-Z a-z 0-9 . _ : + / = @ -`; ties the records of one request together."""
    time: int
    """UTC, milliseconds since 1970."""
    src: str
    """Name of the server that wrote it."""
    actor: Actor
    res: Resource | None = None
    authz: Authz | None = None
    outcome: str | None = None
    ai: AI | None = None
    calls: tuple[AI, ...] = ()
    """At the end of an answer: every model call that was made for it; without any, none was made."""
    segments: int = 0
    """At the end of an answer: how many of its segments are on the record."""
    ret: tuple[Retrieved, ...] = ()
    """Passages that were used, in order."""
    content: ContentRef | None = None
    v: int = VERSION
    """Version of this format."""


def canonical(leaf: Leaf) -> bytes:
    """Return the leaf's only byte form (RFC 8785).

    Raises LeafInvalid for a value outside the format and LeafTooLarge above 16 KiB. What is written
    was read back first, so nothing enters the log that `parse` would refuse.
    """
    document = _as_json(leaf)
    if _leaf(document) != leaf:
        raise LeafInvalid("A field is empty where it should be left out.")
    return _within_limit(_dumps(document))


def parse(data: bytes) -> Leaf:
    """Read a leaf strictly.

    Raises LeafInvalid for an unknown version or field, a wrong type, or any spelling but the
    canonical one; LeafTooLarge above 16 KiB.
    """
    _within_limit(data)
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LeafInvalid("The record is not JSON in UTF-8.") from error
    leaf = _leaf(document)
    if _dumps(_as_json(leaf)) != data:
        raise LeafInvalid("The record is not in canonical form (RFC 8785).")
    return leaf


def _within_limit(data: bytes) -> bytes:
    if len(data) > LARGEST_LEAF:
        raise LeafTooLarge(f"A record is {len(data)} bytes long; {LARGEST_LEAF} are allowed.")
    return data


def _dumps(document: dict[str, object]) -> bytes:
    """Return the canonical form of a document that `_leaf` has admitted.

    For text in ASCII, Python's own encoder writes what RFC 8785 asks for: names in ASCII sort alike by
    character and by UTF-16 unit (§3.2.3), and both escape strings alike (§3.2.2.2) and write integers
    alike. It is written in C; without it, checking a million records takes several times as long.
    """
    written = _ASCII_FORM.encode(document)
    if written.isascii():
        return written.encode("ascii")
    return _dumps_unicode(document)


_ASCII_FORM: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def _dumps_unicode(document: dict[str, object]) -> bytes:
    try:
        # rfc8785 types its argument as a recursive union, which a dict of objects cannot satisfy;
        # `_leaf` has admitted strings, integers, lists and objects of them, and nothing else.
        return rfc8785.dumps(document)  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        # Half of a surrogate pair in a name ends in the latter: it is sorted before it is looked at.
        raise LeafInvalid("A value cannot be written as canonical JSON.") from error


# --- values to JSON -------------------------------------------------------------------------------


def _as_json(leaf: Leaf) -> dict[str, object]:
    return _present(
        {
            "v": leaf.v,
            "id": leaf.id,
            "type": str(leaf.type),
            "stage": str(leaf.stage),
            "corr": leaf.corr,
            "time": leaf.time,
            "src": leaf.src,
            "actor": _present(vars(leaf.actor)),
            "res": leaf.res and _present(vars(leaf.res)),
            "authz": leaf.authz and _present(vars(leaf.authz)),
            "outcome": leaf.outcome,
            "ai": leaf.ai and _ai_as_json(leaf.ai),
            "calls": [_ai_as_json(call) for call in leaf.calls] or None,
            "segments": leaf.segments or None,
            "ret": [_present(vars(passage)) for passage in leaf.ret] or None,
            "content": leaf.content and _present(vars(leaf.content)),
        }
    )


def _ai_as_json(ai: AI) -> dict[str, object]:
    return _present(
        {
            "model": ai.model,
            "prompt": ai.prompt,
            "params": dict(ai.params) or None,
            "tokens": ai.tokens and {"in": ai.tokens.read, "out": ai.tokens.written},
            "tools": [_present(vars(tool)) for tool in ai.tools] or None,
        }
    )


def _present(members: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


# --- JSON to values -------------------------------------------------------------------------------

_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TYPE: Final = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_CORR: Final = re.compile(r"[A-Za-z0-9._:+/=@-]{1,36}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class _Members:
    """The members of one JSON object, taken one by one; `end` refuses what nobody took."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise LeafInvalid(f"{where} is not an object.")
        self._left = dict(value)
        self._where = where

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self._left.pop(name, None)
        if not isinstance(value, str) or not value or (pattern and not pattern.fullmatch(value)):
            raise self._wrong(name)
        return value

    def maybe_text(self, name: str, pattern: re.Pattern[str] | None = None) -> str | None:
        return self.text(name, pattern) if name in self._left else None

    def integer(self, name: str, *, least: int = 0) -> int:
        value = self._left.pop(name, None)
        if not _is_integer(value) or not least <= value <= LARGEST_INTEGER:
            raise self._wrong(name)
        return int(value)

    def maybe_count(self, name: str) -> int:
        return self.integer(name, least=1) if name in self._left else 0

    def maybe(self, name: str, read: Callable[[object, str], _T]) -> _T | None:
        return read(self._left.pop(name), name) if name in self._left else None

    def many(self, name: str, read: Callable[[object, str], _T]) -> tuple[_T, ...]:
        value = self._left.pop(name, [])
        if not isinstance(value, list):
            raise self._wrong(name)
        return tuple(read(member, name) for member in value)

    def end(self) -> None:
        if self._left:
            raise LeafInvalid(f"{self._where} has a field that version {VERSION} does not know.")

    def _wrong(self, name: str) -> LeafInvalid:
        return LeafInvalid(f"{self._where}.{name} is missing or is not what the format asks for.")


def _is_integer(value: object) -> bool:
    # True and False are integers to Python and not to JSON.
    return isinstance(value, int) and not isinstance(value, bool)


def _leaf(document: object) -> Leaf:
    members = _Members(document, "leaf")
    if members.integer("v") != VERSION:
        raise LeafInvalid("The record has a version that is not known here.")
    stage = members.text("stage")
    if stage not in set(Stage):
        raise LeafInvalid("leaf.stage is not one of start, segment, end, single.")
    actor = members.maybe("actor", _actor)
    if actor is None:
        raise LeafInvalid("leaf.actor is missing.")
    leaf = Leaf(
        id=members.text("id", _UUID7),
        type=members.text("type", _TYPE),
        stage=Stage(stage),
        corr=members.text("corr", _CORR),
        time=members.integer("time"),
        src=members.text("src"),
        actor=actor,
        res=members.maybe("res", _resource),
        authz=members.maybe("authz", _authz),
        outcome=members.maybe_text("outcome"),
        ai=members.maybe("ai", _ai),
        calls=members.many("calls", _ai),
        segments=members.maybe_count("segments"),
        ret=members.many("ret", _retrieved),
        content=members.maybe("content", _content),
    )
    members.end()
    return leaf


def _actor(value: object, where: str) -> Actor:
    members = _Members(value, where)
    actor = Actor(
        sub=members.text("sub"),
        kind=members.text("kind"),
        auth=members.text("auth"),
        sess=members.maybe_text("sess"),
        pset=members.maybe_text("pset", _SHA256),
    )
    members.end()
    return actor


def _resource(value: object, where: str) -> Resource:
    members = _Members(value, where)
    resource = Resource(type=members.text("type"), id=members.text("id"), ver=members.maybe_text("ver"))
    members.end()
    return resource


def _authz(value: object, where: str) -> Authz:
    members = _Members(value, where)
    authz = Authz(
        decision=members.text("decision"), policy=members.text("policy"), epoch=members.integer("epoch")
    )
    members.end()
    return authz


def _ai(value: object, where: str) -> AI:
    members = _Members(value, where)
    ai = AI(
        model=members.text("model"),
        prompt=members.maybe_text("prompt"),
        params=members.maybe("params", _params) or {},
        tokens=members.maybe("tokens", _tokens),
        tools=members.many("tools", _tool),
    )
    members.end()
    return ai


def _params(value: object, where: str) -> dict[str, str | int]:
    if not isinstance(value, dict):
        raise LeafInvalid(f"{where} is not an object.")
    for name, setting in value.items():
        exact = _is_integer(setting) and abs(setting) <= LARGEST_INTEGER
        if not isinstance(name, str) or not (isinstance(setting, str) or exact):
            raise LeafInvalid(f"{where} holds something other than strings and integers.")
    return value


def _tokens(value: object, where: str) -> Tokens:
    members = _Members(value, where)
    tokens = Tokens(read=members.integer("in"), written=members.integer("out"))
    members.end()
    return tokens


def _tool(value: object, where: str) -> ToolUse:
    members = _Members(value, where)
    tool = ToolUse(name=members.text("name"), verdict=members.text("verdict"))
    members.end()
    return tool


def _retrieved(value: object, where: str) -> Retrieved:
    members = _Members(value, where)
    passage = Retrieved(
        doc=members.text("doc"),
        ver=members.text("ver"),
        chunk=members.text("chunk"),
        hash=members.text("hash", _SHA256),
        rank=members.integer("rank"),
        cited=members.integer("cited", least=-1),
    )
    members.end()
    if passage.cited > 1:
        raise LeafInvalid("ret.cited is not -1, 0 or 1.")
    return passage


def _content(value: object, where: str) -> ContentRef:
    members = _Members(value, where)
    content = ContentRef(
        sha256=members.text("sha256", _SHA256),
        commit=members.text("commit", _SHA256),
        key=members.text("key"),
        len=members.integer("len"),
    )
    members.end()
    return content
