"""Check a log from nothing but its leaves, a signed checkpoint and a public key.

This module reads no database and no settings: an auditor runs it alone, on a copy, on another machine.
It streams, in memory that grows with the logarithm of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

from infra.audit.checkpoint import (
    Checkpoint,
    NoteUnreadable,
    NoteUntrusted,
    SignatureWrong,
    VerifierKey,
    read_checkpoint,
    verify_checkpoint,
)
from infra.audit.leaf import Leaf, LeafInvalid, LeafTooLarge, parse
from infra.audit.merkle import EMPTY_ROOT, CompactRange, Node, leaf_hash
from infra.audit.proofs.tlog_proof import ProofWrong
from infra.errors import StrongroomError

StoredNode = Callable[[int, int], bytes | None]
"""The stored hash of the complete subtree (level, index), or None where there is none."""


class Verdict(IntEnum):
    """The result of a check; its number is the exit code of the command."""

    SOUND = 0
    """Every record is what was signed."""
    TAMPERED = 1
    """Something was changed, added, moved or removed."""
    INCOMPLETE = 2
    """Records or contents that were signed for are not here."""
    UNTRUSTED_KEY = 3
    """The checkpoint was not signed by the key that was given."""
    UNREADABLE = 4
    """The checkpoint, the key or a record is in no known format."""


class ContentState(Enum):
    """What became of the encrypted content that a record points to."""

    MATCHES = "matches"
    DIFFERS = "differs"
    ERASED = "erased"  # the record says that it was erased or pruned
    MISSING = "missing"  # content or key is gone, and no record says why


Inspect = Callable[[Leaf], ContentState | None]
"""Judges a record's content; None where it has none. Raises Finding for anything else that is wrong."""


class Finding(Exception):
    """The first thing that is wrong. A source of leaves may raise it too, e.g. for a gap."""

    def __init__(self, verdict: Verdict, sentence: str, first_bad: int | None = None) -> None:
        super().__init__(sentence)
        self.verdict = verdict
        self.sentence = sentence
        self.first_bad = first_bad


def verdict_of(error: StrongroomError) -> Verdict:
    """Return the verdict on a note or a proof that was refused with `error`."""
    if isinstance(error, (SignatureWrong, ProofWrong)):
        return Verdict.TAMPERED
    return Verdict.UNTRUSTED_KEY if isinstance(error, NoteUntrusted) else Verdict.UNREADABLE


@dataclass(frozen=True)
class Report:
    """What a check found. Counts are of what was looked at before it ended."""

    verdict: Verdict
    sentence: str
    """The result, for a person."""
    first_bad: int | None
    """The record that is not sound, or the first of the range that `sentence` names; None if none is."""
    size: int
    """Records that the checkpoint speaks for."""
    checked: int
    """Records that were looked at."""
    checkpoints: int
    """Earlier checkpoints whose signature and root were checked."""
    root: bytes | None
    """Root that the checkpoint states, 32 bytes."""
    contents_matched: int = 0
    contents_erased: int = 0
    unsealed: int = 0
    """Records that are durable and wait for their index; no checkpoint speaks for them yet."""
    minimum: int = 0
    """Records before this one were pruned; only the hashes that stand for them were looked at."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict is Verdict.SOUND


def verify_log(
    leaves: Iterable[bytes],
    checkpoint_note: str,
    verifier_key: str,
    *,
    earlier_notes: Iterable[str] = (),
    stored_node: StoredNode | None = None,
    inspect: Inspect | None = None,
    pruned: CompactRange | None = None,
) -> Report:
    """Check `leaves`, in order, against a checkpoint signed by `verifier_key` (`name+id+base64`).

    `earlier_notes` are older checkpoints of the same log, in ascending size; each must agree.
    `stored_node` compares stored subtree hashes, which also tells which record was changed.
    `inspect` looks at every readable record and judges its content, if it has one.
    `pruned` stands for the records before the first of `leaves` that were removed on purpose: their subtree
    hashes. Checkpoints of sizes within it are checked for their signature only; `weigh_kept` says what that
    means for one that an auditor kept. What is wrong with the
    log is returned, not raised; only errors of the sources themselves pass through.
    """
    check = _Check(pruned)
    try:
        key = VerifierKey.parse(verifier_key)
        check.checkpoint = verify_checkpoint(checkpoint_note, key)
        check.stream(leaves, _heads(earlier_notes, key), stored_node, inspect)
    except Finding as finding:
        return check.report(finding.verdict, finding.sentence, finding.first_bad)
    except SignatureWrong as error:
        return check.report(Verdict.TAMPERED, f"A checkpoint was changed: {error.message}")
    except NoteUntrusted as error:
        return check.report(Verdict.UNTRUSTED_KEY, error.message)
    except NoteUnreadable as error:
        return check.report(Verdict.UNREADABLE, error.message)
    return check.report(Verdict.SOUND, f"All {check.tree.size} records are as they were signed.")


def weigh_kept(report: Report, kept_note: str) -> Report:
    """Return `report`, or INCOMPLETE where the checkpoint that an auditor kept lies among pruned records.

    `kept_note` was one of the earlier notes of a check. Nothing that is left shows whether the records that
    it speaks for were those that were pruned, so a sound log is not known to be the same one. Raises
    NoteUnreadable for what is no checkpoint.
    """
    if not report.is_sound:
        return report
    kept = read_checkpoint(kept_note).size
    if not 0 < kept < report.minimum:
        return report
    sentence = (
        f"The checkpoint that was kept speaks for {kept} records and cannot be compared any more: the "
        f"records before {report.minimum} were pruned."
    )
    return replace(report, verdict=Verdict.INCOMPLETE, sentence=sentence)


def _heads(notes: Iterable[str], key: VerifierKey) -> Iterator[Checkpoint]:
    return (verify_checkpoint(note, key) for note in notes)


class _Check:
    """One pass over a log."""

    def __init__(self, pruned: CompactRange | None) -> None:
        self.checkpoint: Checkpoint | None = None
        self.tree = CompactRange(pruned.size, list(pruned.peaks)) if pruned else CompactRange()
        self.begin = self.tree.size
        self.counts = dict.fromkeys(ContentState, 0)
        self.checkpoints = 0
        self.agreed = self.begin
        """Records that an earlier checkpoint already vouched for."""
        self.first_missing: int | None = None
        self.first_unreadable: int | None = None

    def report(self, verdict: Verdict, sentence: str, first_bad: int | None = None) -> Report:
        return Report(
            verdict=verdict,
            sentence=sentence,
            first_bad=first_bad,
            size=self.checkpoint.size if self.checkpoint else 0,
            checked=self.tree.size - self.begin,
            checkpoints=self.checkpoints,
            root=self.checkpoint.root if self.checkpoint else None,
            contents_matched=self.counts[ContentState.MATCHES],
            contents_erased=self.counts[ContentState.ERASED],
            minimum=self.begin,
        )

    def stream(
        self,
        leaves: Iterable[bytes],
        heads: Iterator[Checkpoint],
        stored_node: StoredNode | None,
        inspect: Inspect | None,
    ) -> None:
        if self.checkpoint is None:
            raise Finding(Verdict.UNREADABLE, "There is no checkpoint.")
        due = self._next_head(heads)
        for data in leaves:
            if self.tree.size == self.checkpoint.size:
                raise Finding(
                    Verdict.TAMPERED, "There are records after the last one signed for.", self.tree.size
                )
            completed = self.tree.append(leaf_hash(data))
            if stored_node is not None:
                _compare(completed, stored_node)
            if due is not None and due.size == self.tree.size:
                self._agree(due)
                due = self._next_head(heads)
            self._look_inside(data, inspect)
        self._close(self.checkpoint, due)

    def _next_head(self, heads: Iterator[Checkpoint]) -> Checkpoint | None:
        """Take the next earlier checkpoint of a size that is still to come; others are judged at once."""
        for head in heads:
            self.checkpoints += 1
            if head.size < self.begin:
                continue
            if head.size < self.tree.size:
                raise Finding(Verdict.UNREADABLE, "The earlier checkpoints are not in order of size.")
            if head.size > self.tree.size:
                return head
            if head.size > 0:
                self._agree(head)
            elif head.root != EMPTY_ROOT:
                raise Finding(Verdict.TAMPERED, "A checkpoint of the empty log has a wrong root.")
        return None

    def _agree(self, head: Checkpoint) -> None:
        if self.tree.root() != head.root and head.size == self.begin > 0:
            # No record of it is left to be named.
            sentence = f"The hashes that stand for the {head.size} pruned records are not what was signed."
            raise Finding(Verdict.TAMPERED, sentence)
        if self.tree.root() != head.root:
            raise Finding(
                Verdict.TAMPERED,
                f"Among the records {self.agreed} to {head.size - 1} at least one was changed, moved or "
                "replaced: they are not those that were signed.",
                self.agreed if self.first_unreadable is None else self.first_unreadable,
            )
        self.agreed = head.size

    def _look_inside(self, data: bytes, inspect: Inspect | None) -> None:
        index = self.tree.size - 1
        try:
            leaf = parse(data)
        except (LeafInvalid, LeafTooLarge):
            # It may only be newer than this program. The root decides whether it was changed.
            if self.first_unreadable is None:
                self.first_unreadable = index
            return
        state = inspect(leaf) if inspect is not None else None
        if state is None:
            return
        self.counts[state] += 1
        if state is ContentState.DIFFERS:
            raise Finding(Verdict.TAMPERED, f"The content of record {index} was changed.", index)
        if state is ContentState.MISSING and self.first_missing is None:
            self.first_missing = index

    def _close(self, checkpoint: Checkpoint, due: Checkpoint | None) -> None:
        """Draw the conclusion at the end of the log, the gravest first."""
        size = self.tree.size
        if size < checkpoint.size:
            raise Finding(
                Verdict.INCOMPLETE, f"{checkpoint.size} records were signed and only {size} are here.", size
            )
        self._agree(checkpoint)
        if due is not None:
            raise Finding(
                Verdict.INCOMPLETE,
                f"A checkpoint that was kept speaks for {due.size} records and only {size} are here.",
                size,
            )
        if self.first_unreadable is not None:
            raise Finding(
                Verdict.UNREADABLE,
                f"Record {self.first_unreadable} is as it was signed, but in no format known here.",
                self.first_unreadable,
            )
        if self.first_missing is not None:
            raise Finding(
                Verdict.INCOMPLETE,
                f"The content of record {self.first_missing} cannot be read any more, and no record says "
                "that it was erased or pruned.",
                self.first_missing,
            )


def _compare(completed: list[Node], stored_node: StoredNode) -> None:
    """Compare what the leaves give with what is stored; the lowest difference names the record."""
    for node in completed:
        stored = stored_node(node.level, node.index)
        if stored == node.hash:
            continue
        first, last = node.index << node.level, (node.index + 1 << node.level) - 1
        what = f"Record {first}" if first == last else f"One of the records {first} to {last}"
        reason = "has no stored hash" if stored is None else "does not agree with its stored hash"
        raise Finding(Verdict.TAMPERED, f"{what} {reason}.", first)
