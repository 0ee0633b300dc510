"""The leaf format: one spelling, read strictly, never larger than 16 KiB."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import rfc8785

from infra.audit.event_types import Stage
from infra.audit.leaf import (
    AI,
    LARGEST_INTEGER,
    LARGEST_LEAF,
    SYSTEM,
    Actor,
    Authz,
    ContentRef,
    Leaf,
    LeafInvalid,
    LeafTooLarge,
    Resource,
    Retrieved,
    Tokens,
    ToolUse,
    canonical,
    parse,
)

ID = "01936d2e-7c00-7abc-8def-0123456789ab"
HASH = "ab" * 32

FULL = Leaf(
    id=ID,
    type="answer.finished",
    stage=Stage.END,
    corr="req-1",
    time=1_795_000_000_000,
    src="local",
    actor=Actor(sub="s-1", kind="user", auth="session", sess="cd" * 32, pset=HASH),
    res=Resource(type="answer", id="a-1", ver="1"),
    authz=Authz(decision="allow", policy=HASH, epoch=7),
    outcome="answered",
    ai=AI(
        model="sha256:" + HASH,
        prompt=HASH,
        params={"temperature": "0.2", "max_tokens": 220},
        tokens=Tokens(read=512, written=48),
        tools=(ToolUse(name="search", verdict="ran"),),
    ),
    ret=(Retrieved(doc="d", ver="v", chunk="c", hash=HASH, rank=1, cited=1),),
    content=ContentRef(sha256=HASH, commit=HASH, key="k-1", len=42),
)
SMALL = Leaf(id=ID, type="server.start", stage=Stage.SINGLE, corr="boot", time=0, src="local", actor=SYSTEM)


def edited(change: object, *path: str | int) -> bytes:
    """Return FULL's document with one member set, or removed when `change` is ..."""
    document = json.loads(canonical(FULL))
    target = document
    for step in path[:-1]:
        target = target[step]
    if change is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = change
    return rfc8785.dumps(document)


@pytest.mark.parametrize("leaf", [FULL, SMALL])
def test_a_leaf_survives_its_bytes(leaf: Leaf) -> None:
    """What is written is what is read, with every field and with the fewest."""
    assert parse(canonical(leaf)) == leaf


def test_the_bytes_of_version_1_never_change() -> None:
    """The exact bytes of a full leaf, written out: this test failing means the format was broken."""
    h, c = HASH, "cd" * 32
    assert canonical(FULL).decode() == (
        f'{{"actor":{{"auth":"session","kind":"user","pset":"{h}","sess":"{c}","sub":"s-1"}},'
        f'"ai":{{"model":"sha256:{h}","params":{{"max_tokens":220,"temperature":"0.2"}},"prompt":"{h}",'
        '"tokens":{"in":512,"out":48},"tools":[{"name":"search","verdict":"ran"}]},'
        f'"authz":{{"decision":"allow","epoch":7,"policy":"{h}"}},'
        f'"content":{{"commit":"{h}","key":"k-1","len":42,"sha256":"{h}"}},'
        f'"corr":"req-1","id":"{ID}","outcome":"answered","res":{{"id":"a-1","type":"answer","ver":"1"}},'
        f'"ret":[{{"chunk":"c","cited":1,"doc":"d","hash":"{h}","rank":1,"ver":"v"}}],'
        '"src":"local","stage":"end","time":1795000000000,"type":"answer.finished","v":1}'
    )


def test_what_is_absent_is_left_out() -> None:
    """A leaf without optional parts has neither nulls nor empty lists."""
    assert set(json.loads(canonical(SMALL))) == {"v", "id", "type", "stage", "corr", "time", "src", "actor"}


def test_a_later_event_type_is_read() -> None:
    """The registry grows: a name that this version lacks is no reason to refuse a leaf."""
    assert parse(edited("retention.applied", "type")).type == "retention.applied"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (2, ("v",)),
        (True, ("v",)),
        (..., ("v",)),
        (..., ("actor",)),
        (..., ("actor", "sub")),
        ("x", ("unknown",)),
        ("x", ("actor", "email")),
        ("x", ("ret", 0, "score")),
        ("0193", ("id",)),
        ("01936d2e-7c00-4abc-8def-0123456789ab", ("id",)),
        ("Answer", ("type",)),
        ("a" * 65, ("type",)),
        ("middle", ("stage",)),
        ("", ("corr",)),
        ("x" * 37, ("corr",)),
        ('a"b', ("corr",)),
        ("1795000000000", ("time",)),
        (-1, ("time",)),
        (1.5, ("time",)),
        (None, ("outcome",)),
        ("", ("outcome",)),
        (True, ("authz", "epoch")),
        (0.2, ("ai", "params", "temperature")),
        ([1], ("ai", "params", "stop")),
        (None, ("ai", "params", "seed")),
        ({}, ("ai", "params")),
        ([], ("ai", "tools")),
        ([], ("ret",)),
        ({}, ("ret",)),
        (2, ("ret", 0, "cited")),
        ("AB" * 32, ("ret", 0, "hash")),
        ("ab" * 31, ("content", "sha256")),
        ("x", ("actor",)),
    ],
)
def test_anything_outside_the_format_is_refused(change: object, path: tuple[str | int, ...]) -> None:
    """Unknown fields and versions, wrong types and empty parts are refused, each by itself."""
    with pytest.raises(LeafInvalid):
        parse(edited(change, *path))


@pytest.mark.parametrize(
    "spell",
    [
        lambda data: b" " + data,
        lambda data: data + b"\n",
        lambda data: data.replace(b'"v":1', b'"v":1.0'),
        lambda data: data.replace(b'"v":1', b'"v": 1'),
        lambda data: data.replace(b'"v":1', b'"v":1,"v":1'),
        lambda data: data.replace(b"req-1", b"req\\u002d1"),
        lambda data: data.replace(b'"time":1795000000000', b'"time":1795e9'),
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.decode().encode("utf-16"),
        lambda data: data[:-1],
        lambda data: b"\xff" + data,
        lambda data: b"[" * 10_000,
        lambda data: b'{"v":' + b"9" * 6000 + b"}",
        lambda data: b"null",
        lambda data: b"",
    ],
)
def test_only_the_canonical_spelling_is_read(spell: Callable[[bytes], bytes]) -> None:
    """The same document spelled differently is not the same leaf, and broken bytes are no leaf."""
    with pytest.raises(LeafInvalid):
        parse(spell(canonical(FULL)))


@pytest.mark.parametrize("time", [LARGEST_INTEGER + 1, -1])
def test_integers_stay_within_what_json_keeps_exactly(time: int) -> None:
    """Beyond 2**53-1 other readers would see another number."""
    assert parse(canonical(dataclasses.replace(SMALL, time=LARGEST_INTEGER))).time == LARGEST_INTEGER
    with pytest.raises(LeafInvalid):
        canonical(dataclasses.replace(SMALL, time=time))


def test_a_lone_surrogate_is_no_text() -> None:
    """What UTF-8 cannot spell cannot be recorded."""
    with pytest.raises(LeafInvalid):
        canonical(dataclasses.replace(SMALL, outcome="\ud800"))


def test_a_leaf_has_at_most_16_kib() -> None:
    """Exactly 16 KiB is written and read; one byte more is refused on both ways."""
    empty = len(canonical(dataclasses.replace(SMALL, outcome="x"))) - 1
    largest = dataclasses.replace(SMALL, outcome="x" * (LARGEST_LEAF - empty))
    data = canonical(largest)
    assert len(data) == LARGEST_LEAF
    assert parse(data) == largest
    with pytest.raises(LeafTooLarge):
        canonical(dataclasses.replace(largest, outcome=f"{largest.outcome}x"))
    with pytest.raises(LeafTooLarge):
        parse(data.replace(b'"outcome":"', b'"outcome":"x'))
