"""Receipts: what they cover follows from what was signed, and nothing else passes for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.audit.checkpoint import Signer
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Event, Resource, Tokens, ToolUse
from infra.audit.ledger import Ledger
from infra.audit.proofs.receipt import verify_receipt
from infra.audit.proofs.receipts import AnswerRecords
from infra.audit.proofs.tlog_proof import InclusionProof
from infra.audit.verify import Verdict
from infra.errors import NotFound
from tests.made_record import ASKER, fill, made_ledger

ANSWER = "answer-3"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A record with sixteen answers that no test changes."""
    with made_ledger(tmp_path_factory.mktemp("made") / "ledger.sqlite3") as made:
        fill(made, 96)
        yield made


def receipt_of(ledger: Ledger, answer: str) -> dict[str, Any]:
    with ledger.database.read() as session:
        return AnswerRecords(session, answer).receipt(ledger.verifier_key)


@pytest.fixture(scope="module")
def original(ledger: Ledger) -> dict[str, Any]:
    """The receipt of one answer."""
    return receipt_of(ledger, ANSWER)


@pytest.fixture
def receipt(original: dict[str, Any]) -> dict[str, Any]:
    """A copy to spoil."""
    return copy.deepcopy(original)


def verdict(receipt: object, ledger: Ledger | None = None) -> Verdict:
    key = ledger.verifier_key if ledger else None
    return verify_receipt(json.dumps(receipt).encode(), key=key).verdict


def test_a_receipt_proves_every_record_of_its_answer(ledger: Ledger, receipt: dict[str, Any]) -> None:
    """Asked, retrieved, generated, finished: each with a proof that public tools can check."""
    report = verify_receipt(json.dumps(receipt).encode(), key=ledger.verifier_key)
    assert (report.verdict, report.answer, report.records, report.size) == (Verdict.SOUND, ANSWER, 5, 96)
    leaves = [json.loads(entry["leaf"]) for entry in receipt["records"]]
    assert [leaf["type"] for leaf in leaves] == [
        "answer.asked",
        "answer.retrieved",
        "answer.generated",
        "answer.generated",
        "answer.finished",
    ]
    for entry in receipt["records"]:
        proof = InclusionProof.parse(entry["tlog_proof"])
        proof.verify(entry["leaf"].encode(), ledger.signer.verifier_key)


def test_it_says_what_it_covers(receipt: dict[str, Any]) -> None:
    """Identity, scope, passages, model and prompt digests."""
    covers = receipt["covers"]
    assert covers["identity"] == {"subject": ASKER.sub, "kind": "user", "auth": "session"}
    assert covers["scope"] == ASKER.pset
    assert covers["policies"] == [{"policy": "acl-v1", "epoch": 3}]
    assert [passage["hash"] for passage in covers["passages"]] == ["ab" * 32] * 2
    assert covers["models"] == [
        {
            "model": "sha256:" + "ef" * 32,
            "prompt": "12" * 32,
            "params": {"max_tokens": 220, "temperature": "0.2"},
            "tokens": {"in": 512, "out": 48},
            "outcome": "ok",
        }
    ]
    assert covers["outcome"] == "answered"


def test_the_records_end_is_the_receipts_own(ledger: Ledger, receipt: dict[str, Any]) -> None:
    """The fields for one record are those of the record that the answer ended with."""
    own = ledger.proofs.receipt(receipt["id"])
    assert {name: receipt[name] for name in own} == own


def test_without_a_key_the_sentence_says_what_that_is_worth(receipt: dict[str, Any]) -> None:
    """The receipt's own key shows that it agrees with itself."""
    report = verify_receipt(json.dumps(receipt).encode())
    assert (report.verdict, report.own_key) == (Verdict.SOUND, True)
    assert "came with the receipt" in report.sentence


def test_an_answer_that_never_ended_has_none(tmp_path: Path) -> None:
    """Nor has one that was never asked; the two look the same."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        about = Resource("answer", "begun")
        ledger.record(Event(EventType.ANSWER_ASKED, Stage.START, "begun", ASKER, res=about))
        ledger.sealer.seal_all()
        for answer in ("begun", "never"):
            with ledger.database.read() as session, pytest.raises(NotFound, match="no such answer"):
                AnswerRecords(session, answer)


def test_an_answer_that_a_crash_ended_is_its_askers(tmp_path: Path) -> None:
    """The server writes the end, and the receipt is still for whoever asked."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 2)
        ledger.sealer.recover()
        with ledger.database.read() as session:
            assert AnswerRecords(session, "answer-0").asker == ASKER.sub
        receipt = receipt_of(ledger, "answer-0")
        assert receipt["covers"]["outcome"] == "unknown"
        assert len(receipt["covers"]["passages"]) == 2
        assert verdict(receipt, ledger) is Verdict.SOUND


def test_other_records_of_the_request_are_left_out(tmp_path: Path) -> None:
    """A request may keep a conversation as well; that is nobody's receipt."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, 6)
        ledger.record(Event(EventType.CONVERSATION_KEPT, Stage.SINGLE, "answer-0", ASKER))
        ledger.sealer.seal_all()
        assert len(receipt_of(ledger, "answer-0")["records"]) == 5


# --- the model calls ------------------------------------------------------------------------------

CALLED = AI("sha256:" + "ef" * 32, "12" * 32, {"max_tokens": 220}, Tokens(read=9, written=5))


def receipt_of_calls(
    ledger: Ledger, calls: Sequence[AI], told: Sequence[AI], *, released: int = 0, segments: int = 0
) -> dict[str, Any]:
    """Record an answer with `calls` and `released`, whose end tells of `told` and `segments`; its receipt."""
    about = Resource("answer", "called")
    steps: list[tuple[EventType, Stage, dict[str, Any]]] = [(EventType.ANSWER_ASKED, Stage.START, {})]
    for call in calls:
        steps.append((EventType.ANSWER_GENERATED, Stage.START, {"ai": replace(call, tokens=None)}))
        steps.append((EventType.ANSWER_GENERATED, Stage.END, {"ai": call, "outcome": "ok"}))
    steps += [(EventType.ANSWER_SEGMENT, Stage.SEGMENT, {})] * released
    ending = {"calls": tuple(told), "segments": segments, "outcome": "answered"}
    steps.append((EventType.ANSWER_FINISHED, Stage.END, ending))
    for kind, stage, fields in steps:
        ledger.record(Event(kind, stage, "called", ASKER, res=about, **fields))
    ledger.sealer.seal_all()
    return receipt_of(ledger, "called")


def without_calls(receipt: dict[str, Any]) -> dict[str, Any]:
    """Cut the records of model calls out, and let everything else agree with what is left."""
    kept = [entry for entry in receipt["records"] if '"answer.generated"' not in entry["leaf"]]
    return {**receipt, "records": kept, "covers": {**receipt["covers"], "models": []}}


def test_a_receipt_without_its_model_calls_is_incomplete(ledger: Ledger, receipt: dict[str, Any]) -> None:
    """Its other records are genuine, and agree with each other; its end tells of the call."""
    report = verify_receipt(json.dumps(without_calls(receipt)).encode(), key=ledger.verifier_key)
    assert report.verdict is Verdict.INCOMPLETE
    assert "model call" in report.sentence


def test_an_answer_without_a_model_says_so(tmp_path: Path) -> None:
    """Quotes need none: nothing is missing, and the sentence tells it."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        receipt = receipt_of_calls(ledger, [], [])
        report = verify_receipt(json.dumps(receipt).encode(), key=ledger.verifier_key)
    assert (report.verdict, receipt["covers"]["models"]) == (Verdict.SOUND, [])
    assert "No language model was called" in report.sentence


def test_several_calls_are_all_told(tmp_path: Path) -> None:
    """Two calls agree with an end that repeats both; without the records of one, it is incomplete."""
    other = replace(CALLED, model="another", tokens=None)
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        receipt = receipt_of_calls(ledger, [CALLED, other], [CALLED, other])
        assert verdict(receipt, ledger) is Verdict.SOUND
        assert "No language model" not in verify_receipt(json.dumps(receipt).encode()).sentence
        del receipt["records"][3:5]
        receipt["covers"]["models"].pop()
        assert verdict(receipt, ledger) is Verdict.INCOMPLETE


@pytest.mark.parametrize(
    "told",
    [
        [],
        [replace(CALLED, model="another")],
        [replace(CALLED, prompt="34" * 32)],
        [replace(CALLED, params={"max_tokens": 221})],
        [replace(CALLED, tokens=Tokens(read=9, written=6))],
        [replace(CALLED, tools=(ToolUse("search", "ran"),))],
    ],
)
def test_an_end_that_tells_of_another_call_is_refused(tmp_path: Path, told: list[AI]) -> None:
    """The records of the call are signed, and so is the end; one of them is not the truth."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        assert verdict(receipt_of_calls(ledger, [CALLED], told), ledger) is Verdict.TAMPERED


def test_the_end_tells_how_many_segments_were_released(tmp_path: Path) -> None:
    """A receipt that lacks one is incomplete; one with more than the end tells of is not the truth."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        receipt = receipt_of_calls(ledger, [], [], released=3, segments=3)
        assert (verdict(receipt, ledger), receipt["covers"]["segments"]) == (Verdict.SOUND, 3)
        del receipt["records"][2]
        receipt["covers"]["segments"] = 2
        assert verdict(receipt, ledger) is Verdict.INCOMPLETE
    with made_ledger(tmp_path / "more.sqlite3") as ledger:
        assert verdict(receipt_of_calls(ledger, [], [], released=2, segments=1), ledger) is Verdict.TAMPERED


@pytest.mark.parametrize(("records", "calls"), [(3, 1), (4, 1)])
def test_the_end_after_a_crash_tells_of_the_calls_too(tmp_path: Path, records: int, calls: int) -> None:
    """The next start writes it, from what the record has: a call that ended, or one that did not."""
    with made_ledger(tmp_path / "l.sqlite3") as ledger:
        fill(ledger, records)
        ledger.sealer.recover()
        receipt = receipt_of(ledger, "answer-0")
        assert len(receipt["covers"]["models"]) == calls
        assert verdict(receipt, ledger) is Verdict.SOUND
        assert verdict(without_calls(receipt), ledger) is Verdict.INCOMPLETE


def test_another_key_is_not_trusted(receipt: dict[str, Any]) -> None:
    """A key that somebody kept decides, whatever key the receipt brought."""
    other = str(Signer("log.example/made", b"\x09" * 32).verifier_key)
    data = json.dumps(receipt).encode()
    assert verify_receipt(data, key=other).verdict is Verdict.UNTRUSTED_KEY
    assert verify_receipt(data, key="x").verdict is Verdict.UNREADABLE


def test_a_receipt_signed_anew_is_not_trusted(ledger: Ledger, tmp_path: Path) -> None:
    """A forger's own log convinces nobody who kept the key."""
    with made_ledger(tmp_path / "l.sqlite3", seed=b"\x07" * 32) as forger:
        fill(forger, 24)
        forged = receipt_of(forger, ANSWER)
    assert verdict(forged) is Verdict.SOUND
    assert verdict(forged, ledger) is Verdict.UNTRUSTED_KEY


Spoil = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda r: r["covers"].update(outcome="abstained"), Verdict.TAMPERED),
        (lambda r: r["covers"]["passages"].pop(), Verdict.TAMPERED),
        (lambda r: r["covers"]["models"][0].update(model="another"), Verdict.TAMPERED),
        (lambda r: r.update(answer="answer-4"), Verdict.TAMPERED),
        (lambda r: r.update(index=0), Verdict.TAMPERED),
        (lambda r: r.update(leaf_hash="00" * 32), Verdict.TAMPERED),
        (lambda r: r.update(note="x"), Verdict.TAMPERED),
        (lambda r: r["records"].reverse(), Verdict.TAMPERED),
        (lambda r: r["records"].append(r["records"][0]), Verdict.TAMPERED),
        (lambda r: r["records"].pop(0), Verdict.INCOMPLETE),
        (lambda r: r["records"].pop(1), Verdict.INCOMPLETE),
        (lambda r: r["records"].pop(), Verdict.INCOMPLETE),
        (lambda r: r["records"].clear(), Verdict.INCOMPLETE),
        (lambda r: r["records"].pop(2), Verdict.INCOMPLETE),
        (lambda r: r["records"].pop(3), Verdict.INCOMPLETE),
        (
            lambda r: r["records"][4].update(leaf=r["records"][4]["leaf"].replace("answered", "released")),
            Verdict.TAMPERED,
        ),
        (lambda r: r["records"][4].update(tlog_proof=r["records"][3]["tlog_proof"]), Verdict.TAMPERED),
        (lambda r: r.update(checkpoint=r["checkpoint"].replace("\n96\n", "\n97\n")), Verdict.TAMPERED),
        (lambda r: r.update(sealed=False), Verdict.INCOMPLETE),
        (lambda r: r["records"][0].update(tlog_proof="x"), Verdict.UNREADABLE),
        (lambda r: r["records"][0].update(leaf="\ud800"), Verdict.UNREADABLE),
        (lambda r: r["records"][0].update(leaf=1), Verdict.UNREADABLE),
        (lambda r: r.update(records={}), Verdict.UNREADABLE),
        (lambda r: r.update(records=None), Verdict.UNREADABLE),
        (lambda r: r.update(format="another"), Verdict.UNREADABLE),
        (lambda r: r.update(answer=1), Verdict.UNREADABLE),
        (lambda r: r.update(verifier_key=None), Verdict.UNREADABLE),
    ],
)
def test_a_spoiled_receipt_has_its_verdict(
    ledger: Ledger, receipt: dict[str, Any], spoil: Spoil, expected: Verdict
) -> None:
    """Changed is tampered with, cut is incomplete, nonsense is unreadable; nothing is a traceback."""
    spoil(receipt)
    assert verdict(receipt, ledger) is expected


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.update(index=float(r["index"])),
        lambda r: r.update(size=float(r["size"])),
        lambda r: r["covers"]["passages"][0].update(rank=True),
        lambda r: r["covers"].update(segments=False),
        lambda r: r["covers"]["policies"][0].update(epoch=3.0),
    ],
)
def test_a_value_of_another_kind_is_another_value(
    ledger: Ledger, receipt: dict[str, Any], spoil: Spoil
) -> None:
    """3.0 is not 3, and true is not 1, although they compare as equal."""
    spoil(receipt)
    assert verdict(receipt, ledger) is Verdict.TAMPERED


@pytest.mark.parametrize(
    ("written", "forged"),
    [
        ('{"format"', '{"covers": {"outcome": "refused"}, "format"'),
        ('"covers": {', '"covers": {"outcome": "refused", '),
        ('"records": [{', '"records": [{"leaf": "{}", '),
    ],
)
def test_a_receipt_that_says_one_thing_twice_is_refused(
    ledger: Ledger, receipt: dict[str, Any], written: str, forged: str
) -> None:
    """Another program may read the first of the two, which nothing vouches for."""
    text = json.dumps(receipt)
    assert text.count(written) == 1
    report = verify_receipt(text.replace(written, forged).encode(), key=ledger.verifier_key)
    assert report.verdict is Verdict.TAMPERED
    assert "twice" in report.sentence


@pytest.mark.parametrize("depth", range(100, 1200, 50))
def test_a_deeply_nested_receipt_is_no_failure(ledger: Ledger, receipt: dict[str, Any], depth: int) -> None:
    """It may be read and yet be too deep to be written again."""
    text = json.dumps(receipt).replace('{"format"', f'{{"extra": {"[" * depth}{"]" * depth}, "format"', 1)
    report = verify_receipt(text.encode(), key=ledger.verifier_key)
    assert report.verdict in (Verdict.TAMPERED, Verdict.UNREADABLE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("verifier_key", Verdict.UNREADABLE),
        ("checkpoint", Verdict.TAMPERED),
        ("answer", Verdict.TAMPERED),
        ("id", Verdict.TAMPERED),
    ],
)
def test_half_a_character_is_no_failure(
    ledger: Ledger, receipt: dict[str, Any], name: str, expected: Verdict
) -> None:
    """JSON can hold half a surrogate pair, which no signature is over."""
    receipt[name] = "\ud800" + receipt[name]
    assert verdict(receipt, ledger) is expected
    assert verdict(receipt) is expected


def test_half_a_character_in_every_proof_is_no_failure(ledger: Ledger, receipt: dict[str, Any]) -> None:
    """Also where the note is the same in all of them."""
    for holder in (receipt, *receipt["records"]):
        for name in ("checkpoint", "tlog_proof"):
            if name in holder:
                holder[name] = holder[name].replace("log.example/made\n", "log.example/made\ud800\n", 1)
    assert "\ud800" in receipt["checkpoint"]
    assert verdict(receipt, ledger) is Verdict.UNREADABLE


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\xff", b"[]", b"{}", b"null", b"[" * 100_000, b'{"format": 1}']
)
def test_what_is_no_receipt_is_unreadable(data: bytes) -> None:
    """Whatever file is given by mistake."""
    assert verify_receipt(data).verdict is Verdict.UNREADABLE
