"""Require that witnesses cosigned a checkpoint, and tell when. Pure: notes and keys only."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from infra.audit.checkpoint import NoteUntrusted, SignatureWrong, read_checkpoint
from infra.audit.verify import Finding, Verdict
from infra.audit.witness.cosignature import WitnessKey, verify_cosignature

OLDEST_S: Final = 65 * 60
"""Most seconds since a record in use was cosigned. A quiet server signs every hour (`ledger.alive`); the
minutes beyond are for the way to the witness and for clocks that differ."""


@dataclass(frozen=True)
class Cosigned:
    """What a witness vouches for: this many records, as they were at this time, and nothing later."""

    witness: str
    """Its name."""
    size: int
    """Records of the checkpoint that it cosigned."""
    at_s: int
    """When it did, by its clock, in seconds since 1970."""

    @property
    def at(self) -> str:
        """The time in UTC (RFC 3339), or the seconds where no calendar reaches."""
        try:
            return datetime.datetime.fromtimestamp(self.at_s, datetime.UTC).isoformat(timespec="seconds")
        except (OverflowError, ValueError, OSError):
            return f"second {self.at_s}"

    def __str__(self) -> str:
        """Say what is covered, for a person."""
        return f"{self.witness} cosigned {self.size} records at {self.at}; later records are not covered"


def require_cosignatures(note: str, witness_keys: Iterable[str]) -> tuple[Cosigned, ...]:
    """Return what each of `witness_keys` (`name+id+base64`) cosigned of the checkpoint in `note`.

    Raises Finding UNTRUSTED_KEY for a cosignature that is missing, and TAMPERED for one that is not over
    this checkpoint; NoteUnreadable for what is no key.
    """
    return tuple(_cosigned(note, WitnessKey.parse(key)) for key in witness_keys)


def require_recent(cosigned: Iterable[Cosigned], *, now_s: int) -> None:
    """Check that a record in use was cosigned lately; raises Finding UNTRUSTED_KEY.

    A record that was put back as a whole to an earlier state still has the cosignatures of that time.
    """
    for found in cosigned:
        if found.at_s < now_s - OLDEST_S:
            sentence = (
                f"The witness {found.witness} saw this record last at {found.at}, with {found.size} records, "
                "more than an hour ago: later records are not covered, or it was put back to that time."
            )
            raise Finding(Verdict.UNTRUSTED_KEY, sentence)


def _cosigned(note: str, key: WitnessKey) -> Cosigned:
    try:
        at_s = verify_cosignature(note, key)
    except SignatureWrong:
        raise
    except NoteUntrusted as error:
        raise Finding(Verdict.UNTRUSTED_KEY, error.message) from error
    return Cosigned(key.name, read_checkpoint(note).size, at_s)
