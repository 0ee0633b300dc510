"""A checkpoint that an auditor kept and brings to a check: it must be one of this log's own."""

from __future__ import annotations

from typing import Final

from infra.audit.checkpoint import (
    LARGEST_NOTE,
    NoteUnreadable,
    NoteUntrusted,
    VerifierKey,
    read_checkpoint,
    verify_checkpoint,
)
from infra.errors import InvalidInput, StrongroomError

LONGEST: Final = LARGEST_NOTE
"""Characters of a checkpoint with its signatures."""
ANOTHER_LOG: Final = "another_log"
"""Code of the refusal of a checkpoint of some other log."""


class CheckpointRefused(InvalidInput):
    """A kept checkpoint that is none, is not signed by this log's key, or is of another log.

    It tells nothing about this log, so no verdict is given. `code` says which: `note_unreadable`,
    `note_untrusted`, `signature_wrong` or `another_log`.
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message, hint=hint, param="checkpoint")
        self.code = code


def own_checkpoint(text: str, key: VerifierKey) -> tuple[str, int]:
    """Return a kept checkpoint as a signed note, and its number of records; raises CheckpointRefused.

    A final newline may be missing: shells drop it when they put a file's text into a request.
    """
    note = text if text.endswith("\n") else f"{text}\n"
    try:
        if read_checkpoint(note).origin != key.name:
            raise CheckpointRefused(
                ANOTHER_LOG,
                "The checkpoint is of another log than this server's.",
                f"This one is {key.name}; the first line of a checkpoint names its log.",
            )
        return note, verify_checkpoint(note, key).size
    except (NoteUnreadable, NoteUntrusted) as error:
        raise _refused(error) from error


def _refused(error: StrongroomError) -> CheckpointRefused:
    hint = "Send the whole text as it was kept: three lines or more, an empty line, and the signatures."
    if isinstance(error, NoteUntrusted):
        hint = "Is it the text that was kept, unchanged, and of this server? If so, ask who changed the key."
    return CheckpointRefused(error.code, error.message, hint)
