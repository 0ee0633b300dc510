"""The receipt of an answer: its records, the proof that each is in the log, and what they cover.

Pure: a receipt is checked offline, with nothing but the file and a key. What it covers is derived from the
records, so a receipt cannot say anything that the log does not.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from infra.audit.checkpoint import (
    NoteUnreadable,
    NoteUntrusted,
    VerifierKey,
    read_checkpoint,
)
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Leaf, LeafInvalid, LeafTooLarge, parse
from infra.audit.merkle import leaf_hash
from infra.audit.model_calls import begun_and_ended, segments_of
from infra.audit.proofs.tlog_proof import InclusionProof, ProofWrong
from infra.audit.verify import Finding, Verdict, verdict_of

FORMAT: Final = "strongroom-receipt/1"
SELF_CONSISTENT: Final = (
    "The key came with the receipt: this shows that the receipt agrees with itself, and not who signed it."
)
LARGEST_RECEIPT: Final = 64 * 1024 * 1024
"""Bytes of a receipt that is looked at."""
PARTS: Final = (
    EventType.ANSWER_ASKED,
    EventType.ANSWER_RETRIEVED,
    EventType.ANSWER_GENERATED,
    EventType.ANSWER_SEGMENT,
    EventType.ANSWER_FINISHED,
)
"""The records of an answer."""


@dataclass(frozen=True)
class ReceiptReport:
    """What the check of a receipt found."""

    verdict: Verdict
    sentence: str
    """The result, for a person."""
    answer: str | None = None
    """Id of the answer that it is for."""
    records: int = 0
    """Records of the answer whose proof was checked."""
    size: int = 0
    """Records that its checkpoint speaks for."""
    own_key: bool = False
    """Whether the only key was the receipt's own."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict is Verdict.SOUND


def is_part(leaf: Leaf, answer: str) -> bool:
    """Tell whether a record is one of the answer's own."""
    return leaf.corr == answer and leaf.type in PARTS


def is_end(leaf: Leaf) -> bool:
    """Tell whether a record says how an answer ended."""
    return leaf.type == EventType.ANSWER_FINISHED and leaf.stage is Stage.END


def write_receipt(
    answer: str, records: Sequence[tuple[bytes, InclusionProof]], verifier_key: str
) -> dict[str, Any]:
    """Return the receipt of a sealed answer, ready for JSON.

    `records` are the answer's, in the order of the log, each with its proof against one checkpoint. The last
    one that says how the answer ended is the receipt's own.
    """
    leaves = [parse(raw) for raw, _ in records]
    ends = [place for place, leaf in enumerate(leaves) if is_end(leaf)]
    raw, proof = records[ends[-1]]
    return {
        "format": FORMAT,
        "answer": answer,
        **_own(leaves[ends[-1]].id, raw, proof),
        "verifier_key": verifier_key,
        "covers": covers(leaves),
        "records": [{"leaf": raw.decode(), "tlog_proof": proof.text} for raw, proof in records],
    }


def _own(record_id: str, raw: bytes, proof: InclusionProof) -> dict[str, Any]:
    return {
        "id": record_id,
        "leaf_hash": leaf_hash(raw).hex(),
        "sealed": True,
        "index": proof.index,
        "size": read_checkpoint(proof.note).size,
        "proof": [b64encode(hashed).decode() for hashed in proof.path],
        "checkpoint": proof.note,
        "tlog_proof": proof.text,
    }


def covers(leaves: Sequence[Leaf]) -> dict[str, Any]:
    """Return what an answer's records say, from the first of them to the last.

    `identity` (random subject id, kind, how they were identified), `scope` (hash of what they could read
    then), `passages` (ids, hashes, rank, cited), `models` (digest, prompt-template hash, parameters, tokens,
    outcome of each call; empty when no model was called), `segments` released, `outcome`, and when it began
    and ended.
    """
    ends = [leaf for leaf in leaves if is_end(leaf)]
    retrieved = [leaf for leaf in leaves if leaf.type == EventType.ANSWER_RETRIEVED]
    begun, ended = leaves[0], ends[-1]
    # Only the end knows what was cited; an answer that a crash ended names its passages where it chose them.
    passages = next((leaf.ret for leaf in (ended, *reversed(retrieved)) if leaf.ret), ())
    return {
        "identity": {"subject": begun.actor.sub, "kind": begun.actor.kind, "auth": begun.actor.auth},
        "scope": begun.actor.pset,
        "policies": [
            {"policy": leaf.authz.policy, "epoch": leaf.authz.epoch} for leaf in retrieved if leaf.authz
        ],
        "passages": [vars(passage) for passage in passages],
        "models": list(_calls(leaves)),
        "segments": segments_of(leaves),
        "outcome": ended.outcome,
        "asked_at": begun.time,
        "finished_at": ended.time,
    }


def _calls(leaves: Sequence[Leaf]) -> Iterator[dict[str, Any]]:
    """Yield each model call as its end says it, which knows more than its begin."""
    for leaf in leaves:
        if leaf.type == EventType.ANSWER_GENERATED and leaf.stage is Stage.END and leaf.ai is not None:
            yield _call(leaf.ai, leaf.outcome)


def _call(ai: AI, outcome: str | None) -> dict[str, Any]:
    tokens = {"in": ai.tokens.read, "out": ai.tokens.written} if ai.tokens else None
    return {
        "model": ai.model,
        "prompt": ai.prompt,
        "params": dict(ai.params),
        "tokens": tokens,
        "outcome": outcome,
    }


# --- checking -------------------------------------------------------------------------------------


def verify_receipt(data: bytes, *, key: str | None = None) -> ReceiptReport:
    """Check a receipt against `key` (`name+id+base64`), or against its own key without one.

    Whatever is wrong is returned, not raised.
    """
    answer, own_key = None, key is None
    try:
        document = _document(data)
        answer = document["answer"]
        trusted = VerifierKey.parse(key if key is not None else document["verifier_key"])
        records, size = _check(document, trusted)
    except Finding as finding:
        return ReceiptReport(finding.verdict, finding.sentence, answer, own_key=own_key)
    except (NoteUnreadable, NoteUntrusted, ProofWrong) as error:
        return ReceiptReport(verdict_of(error), error.message, answer, own_key=own_key)
    sentence = f"The {records} records of this answer are in the log as they were signed."
    if not document["covers"]["models"]:
        sentence += " No language model was called for it."
    if own_key:
        sentence += (
            " The key came with the receipt: this shows that it agrees with itself, and not who signed it."
        )
    return ReceiptReport(Verdict.SOUND, sentence, answer, records, size, own_key)


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data, object_pairs_hook=_once) if len(data) <= LARGEST_RECEIPT else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Finding(Verdict.UNREADABLE, "This is not a receipt.")
    if not isinstance(document.get("answer"), str):
        raise Finding(Verdict.UNREADABLE, "The receipt does not say for which answer it is.")
    if document.get("sealed") is not True:
        sentence = "The answer had no place in the log when the receipt was taken; take it again."
        raise Finding(Verdict.INCOMPLETE, sentence)
    if not isinstance(document.get("verifier_key"), str):
        raise Finding(Verdict.UNREADABLE, "The receipt comes without a key.")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: programs differ on which of the two counts (RFC 8259, section 4)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Finding(Verdict.TAMPERED, "The receipt says one thing twice.")
    return members


def _check(document: dict[str, Any], key: VerifierKey) -> tuple[int, int]:
    """Check the records, and that the rest follows from them; returns their number and the log's size."""
    if VerifierKey.parse(document["verifier_key"]) != key:
        raise NoteUntrusted("The receipt came with another key than the one that was given.")
    records = [_record(entry) for entry in _list(document.get("records"))]
    leaves = []
    last = -1
    for raw, proof in records:
        if proof.note != document.get("checkpoint") or proof.index <= last:
            raise ProofWrong("The proofs are not of one checkpoint, in the order of the log.")
        proof.verify(raw, key)
        leaf = _leaf(raw)
        if not is_part(leaf, document["answer"]):
            raise Finding(Verdict.TAMPERED, "The receipt holds a record of something else.")
        leaves.append(leaf)
        last = proof.index
    _require_whole(leaves)
    expected = write_receipt(document["answer"], records, document["verifier_key"])
    if not _is_same(document, expected):
        raise Finding(Verdict.TAMPERED, "The receipt says something that its records do not.")
    return len(records), int(expected["size"])


def _is_same(document: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Compare as text: to Python 3, 3.0 and, for 1, true are equal, and a reader would see another value."""
    try:
        return json.dumps(document, sort_keys=True) == json.dumps(expected, sort_keys=True)
    except RecursionError:
        # No receipt is nested that deeply.
        return False


def _record(entry: object) -> tuple[bytes, InclusionProof]:
    if not isinstance(entry, dict) or not all(
        isinstance(entry.get(name), str) for name in ("leaf", "tlog_proof")
    ):
        raise Finding(Verdict.UNREADABLE, "A record of the receipt is in no format known here.")
    try:
        raw = entry["leaf"].encode()
    except UnicodeEncodeError as error:
        raise Finding(Verdict.UNREADABLE, "A record of the receipt is no text.") from error
    return raw, InclusionProof.parse(entry["tlog_proof"])


def _leaf(raw: bytes) -> Leaf:
    try:
        return parse(raw)
    except (LeafInvalid, LeafTooLarge) as error:
        sentence = "A record is as it was signed, but in no format known here."
        raise Finding(Verdict.UNREADABLE, sentence) from error


def _require_whole(leaves: list[Leaf]) -> None:
    """Refuse a receipt that lacks a record which the others speak of."""
    types = {leaf.type for leaf in leaves}
    ends = [leaf for leaf in leaves if is_end(leaf)]
    needed = {EventType.ANSWER_ASKED, EventType.ANSWER_FINISHED}
    if any(leaf.ret for leaf in ends):
        needed.add(EventType.ANSWER_RETRIEVED)
    if not ends or not needed <= types or leaves[0].type != EventType.ANSWER_ASKED:
        raise Finding(Verdict.INCOMPLETE, "A record of the answer is missing from the receipt.")
    _require_calls(leaves, ends[-1].calls)
    _require_segments(leaves, ends[-1].segments)


def _require_calls(leaves: list[Leaf], told: tuple[AI, ...]) -> None:
    """Refuse a receipt whose records of model calls are not those that the end of the answer tells of."""
    begun, ended = begun_and_ended(leaves)
    if min(len(begun), len(ended)) < len(told):
        sentence = "The answer's end tells of a model call whose records are missing from the receipt."
        raise Finding(Verdict.INCOMPLETE, sentence)
    if _as_text(ended) != _as_text(told) or _as_text(_asked_for(begun)) != _as_text(_asked_for(told)):
        sentence = "The answer's end tells of other model calls than its records do."
        raise Finding(Verdict.TAMPERED, sentence)


def _require_segments(leaves: list[Leaf], told: int) -> None:
    found = segments_of(leaves)
    if found < told:
        sentence = "The answer's end tells of more released segments than the receipt has records of."
        raise Finding(Verdict.INCOMPLETE, sentence)
    if found > told:
        raise Finding(Verdict.TAMPERED, "The receipt has more segments than the answer's end tells of.")


def _asked_for(calls: Sequence[AI]) -> list[AI]:
    """Return the calls as their begins say them: tokens and tools are known at the end."""
    return [replace(call, tokens=None, tools=()) for call in calls]


def _as_text(calls: Sequence[AI]) -> list[str]:
    # Without their order, which a clock that was set back may turn round.
    return sorted(json.dumps(asdict(call), sort_keys=True) for call in calls)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Finding(Verdict.UNREADABLE, "The receipt holds no list of records.")
    return value
