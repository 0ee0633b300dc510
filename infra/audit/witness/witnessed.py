"""Require that witnesses cosigned a checkpoint. Pure: notes and keys only."""

from __future__ import annotations

from collections.abc import Iterable

from infra.audit.checkpoint import NoteUntrusted, SignatureWrong
from infra.audit.verify import Finding, Verdict
from infra.audit.witness.cosignature import verify_cosignature


def require_cosignatures(note: str, witness_keys: Iterable[str]) -> None:
    """Check that each of `witness_keys` (`name+id+base64`) cosigned the checkpoint in `note`.

    Raises Finding UNTRUSTED_KEY for a cosignature that is missing, and TAMPERED for one that is not over
    this checkpoint; NoteUnreadable for what is no key.
    """
    for key in witness_keys:
        try:
            verify_cosignature(note, key)
        except SignatureWrong:
            raise
        except NoteUntrusted as error:
            raise Finding(Verdict.UNTRUSTED_KEY, error.message) from error
