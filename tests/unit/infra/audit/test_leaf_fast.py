"""The quick way of writing a record accepts and writes exactly what RFC 8785's own library does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.audit import leaf as leaves
from infra.audit.event_types import Stage
from infra.audit.leaf import (
    AI,
    LARGEST_INTEGER,
    SYSTEM,
    Leaf,
    LeafInvalid,
    LeafTooLarge,
    Resource,
    canonical,
    parse,
)

ID = "01936d2e-7c00-7abc-8def-0123456789ab"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NEAR_ASCII = st.text(st.sampled_from('\x00\x08\t\n\x0c\r\x1f "\\/aZ09\x7f\x80é\uffff😀'), max_size=12)
ESCAPE = "\\" + "u"
SETTINGS = st.one_of(TEXTS, NEAR_ASCII, st.integers(-LARGEST_INTEGER, LARGEST_INTEGER))
PARAMS = st.dictionaries(st.one_of(TEXTS, NEAR_ASCII), SETTINGS, max_size=5)


def a_leaf(outcome: str, params: dict[str, Any]) -> Leaf:
    return Leaf(
        id=ID,
        type="refused",
        stage=Stage.SINGLE,
        corr="r",
        time=0,
        src="s",
        actor=SYSTEM,
        res=Resource("a", outcome or "x"),
        ai=AI(model="m", params=params),
    )


def slow_parse(data: bytes) -> Leaf:
    """Read a leaf as `parse` does, with the library alone for the comparison of spellings."""
    if len(data) > leaves.LARGEST_LEAF:
        raise LeafTooLarge("too long")
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LeafInvalid("no JSON") from error
    found = leaves._leaf(document)
    try:
        written = rfc8785.dumps(leaves._as_json(found))  # type: ignore[arg-type]  # JSON, by `_leaf`
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise LeafInvalid("not canonical") from error
    if written != data:
        raise LeafInvalid("not canonical")
    return found


def outcome_of(read: Any, data: bytes) -> object:
    try:
        return read(data)
    except (LeafInvalid, LeafTooLarge) as error:
        return type(error)


@given(st.one_of(TEXTS, NEAR_ASCII), PARAMS)
@settings(max_examples=200, deadline=None)
def test_the_same_bytes_are_written(outcome: str, params: dict[str, Any]) -> None:
    """Whatever text and names a record holds."""
    made = a_leaf(outcome, params)
    expected = rfc8785.dumps(leaves._as_json(made))  # type: ignore[arg-type]  # JSON, by construction
    assert canonical(made) == expected
    assert parse(expected) == made


@given(st.one_of(TEXTS, NEAR_ASCII), PARAMS, st.data())
@settings(max_examples=300, deadline=None)
def test_the_same_spellings_are_read(outcome: str, params: dict[str, Any], data: st.DataObject) -> None:
    """Respelled, reordered, cut or changed in a byte: both ways accept it, or both refuse it alike."""
    document = leaves._as_json(a_leaf(outcome, params))
    spelled = data.draw(
        st.sampled_from(
            [
                lambda: json.dumps(document).encode(),
                lambda: json.dumps(document, sort_keys=True, separators=(",", ":")).encode(),
                lambda: json.dumps(
                    document, sort_keys=True, separators=(",", ":"), ensure_ascii=False
                ).encode(),
                lambda: rfc8785.dumps(document),  # type: ignore[arg-type]  # JSON, by construction
            ]
        )
    )()
    position = data.draw(st.integers(0, len(spelled)))
    added = data.draw(
        st.sampled_from([b"", b" ", b"0", b"-", b"\\u0041", b'"', b"\x7f", b"\xff", b",", b"\\ud800"])
    )
    cut = data.draw(st.integers(0, 2))
    changed = spelled[:position] + added + spelled[position + cut :]
    assert outcome_of(parse, changed) == outcome_of(slow_parse, changed)


@pytest.mark.parametrize(
    ("spelled", "is_read"),
    [
        (r'"params":{"a":-0}', False),
        (r'"params":{"a":0}', True),
        (r'"params":{"a":1E2}', False),
        (r'"params":{"A":1}', True),
        (rf'"params":{{"{ESCAPE}0041":1}}', False),
        (r'"params":{"\b":1}', True),
        (rf'"params":{{"{ESCAPE}0008":1}}', False),
        (r'"params":{"\/":1}', False),
        (r'"params":{"\ud800":1}', False),
        (r'"params":{"a":1,"a":1}', False),
        (r'"params":{"b":1,"a":1}', False),
        (r'"params":{"a":9007199254740992}', False),
        (r'"params":{"a":true}', False),
        ('"params":{"\ufb33":1,"\U0001f600":2}', False),
        ('"params":{"\U0001f600":2,"\ufb33":1}', True),
    ],
)
def test_spellings_of_one_value(spelled: str, is_read: bool) -> None:
    """The corners where two JSON encoders could differ, one by one."""
    made = canonical(a_leaf("x", {"PLACE": 1})).decode().replace('"params":{"PLACE":1}', spelled)
    assert (outcome_of(parse, made.encode()) is not LeafInvalid) is is_read
    assert outcome_of(parse, made.encode()) == outcome_of(slow_parse, made.encode())
