"""The check of a log whose beginning was pruned: what a checkpoint before, at and after the cut shows."""

from __future__ import annotations

import pytest

from infra.audit.checkpoint import Checkpoint, NoteUnreadable, Signer, sign_checkpoint
from infra.audit.event_types import Stage
from infra.audit.leaf import SYSTEM, Leaf, canonical
from infra.audit.merkle import CompactRange, leaf_hash
from infra.audit.verify import Report, Verdict, verify_log, weigh_kept

SIGNER = Signer("log.example/pruned", b"\x01" * 32)
MINIMUM = 256
SIZE = 300


def make_leaf(number: int, salt: str) -> bytes:
    return canonical(
        Leaf(
            id=f"01936d2e-7c00-7000-8000-{number:012x}",
            type="search.performed",
            stage=Stage.SINGLE,
            corr=f"request-{salt}{number}",
            time=1_795_000_000_000 + number,
            src="one",
            actor=SYSTEM,
        )
    )


class PrunedLog:
    """A log in memory whose first records are gone; `salt` makes another history, under the same key."""

    def __init__(self, salt: str = "") -> None:
        self.leaves = [make_leaf(number, salt) for number in range(SIZE)]

    def tree(self, size: int) -> CompactRange:
        """Return the tree over the first `size` records."""
        tree = CompactRange()
        for leaf in self.leaves[:size]:
            tree.append(leaf_hash(leaf))
        return tree

    def note(self, size: int) -> str:
        """Return the signed checkpoint of the first `size` records."""
        return sign_checkpoint(Checkpoint(SIGNER.verifier_key.name, size, self.tree(size).root()), SIGNER)

    def check(self, *earlier: str, minimum: int = MINIMUM) -> Report:
        """Check what pruning left, with `earlier` checkpoints."""
        return verify_log(
            self.leaves[minimum:],
            self.note(SIZE),
            str(SIGNER.verifier_key),
            earlier_notes=earlier,
            pruned=self.tree(minimum),
        )


LOG = PrunedLog()
OTHER = PrunedLog("another-")


def test_a_checkpoint_of_just_what_was_pruned_agrees() -> None:
    """One that stands at the cut is compared with the hashes that are left, and later ones follow."""
    report = LOG.check(*map(LOG.note, (100, MINIMUM, MINIMUM + 1, 280)))
    assert (report.verdict, report.checkpoints, report.checked) == (Verdict.SOUND, 4, SIZE - MINIMUM)
    assert report.minimum == MINIMUM


def test_two_checkpoints_at_the_cut_agree() -> None:
    """A kept one comes beside the stored one of the same size, there and later."""
    assert LOG.check(*map(LOG.note, (MINIMUM, MINIMUM, 280, 280))).is_sound


def test_a_checkpoint_at_the_cut_shows_another_history() -> None:
    """What was pruned was not what that checkpoint was signed for; no record is left to be named."""
    report = LOG.check(OTHER.note(MINIMUM))
    assert (report.verdict, report.first_bad) == (Verdict.TAMPERED, None)


def test_a_kept_checkpoint_among_pruned_records_cannot_be_compared() -> None:
    """Another history of the same key passes the check, so it proves nothing about the one that was kept."""
    kept = LOG.note(200)
    passed = OTHER.check(kept)
    assert passed.is_sound
    weighed = weigh_kept(passed, kept)
    assert weighed.verdict is Verdict.INCOMPLETE
    assert "cannot be compared any more" in weighed.sentence


@pytest.mark.parametrize("size", [0, MINIMUM, MINIMUM + 1, SIZE])
def test_a_kept_checkpoint_that_was_compared_leaves_the_report(size: int) -> None:
    """One of the empty log, at the cut or after it."""
    kept = LOG.note(size)
    report = LOG.check(kept) if size < SIZE else LOG.check()
    assert report.is_sound
    assert weigh_kept(report, kept) is report


def test_what_is_wrong_with_a_log_stays_what_is_said_about_it() -> None:
    """A log that was tampered with is not called incomplete, whatever was kept of it."""
    report = LOG.check(OTHER.note(280))
    assert report.verdict is Verdict.TAMPERED
    assert weigh_kept(report, LOG.note(200)) is report


def test_no_checkpoint_is_told_apart() -> None:
    """Only a sound report asks what was kept, and then it must be a checkpoint."""
    with pytest.raises(NoteUnreadable):
        weigh_kept(LOG.check(), "x")
