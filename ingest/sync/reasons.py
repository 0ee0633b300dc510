"""Why a file was not taken in, or why a look stopped, in words for the people who watch over a source."""

from __future__ import annotations

from typing import Final, NamedTuple


class Reason(NamedTuple):
    """A reason in words, and what helps."""

    message: str
    hint: str


_CONTENT: Final = "The content, not the name, decides what a file is."
STOPPED: Final = {
    "unreachable": Reason(
        "The folder or bucket cannot be reached.", "Check that it is mounted, or that its server runs."
    ),
    "refused": Reason("The folder or bucket may not be listed.", "Check permissions, or the bucket's key."),
    "no_bucket": Reason("There is no bucket of this name.", "Check its name in STRONGROOM_SOURCES."),
    "empty": Reason(
        "The folder or bucket is empty all of a sudden; nothing was removed.",
        "Mount it again, or confirm with `strongroom sync NAME --accept-deletions`.",
    ),
    "many_missing": Reason(
        "More than half of the files are missing; nothing was removed.",
        "Bring them back, or confirm with `strongroom sync NAME --accept-deletions`.",
    ),
    "incomplete": Reason(
        "A part of the folder cannot be listed; nothing was removed.", "Check the folders' permissions."
    ),
    "no_owner": Reason(
        "The account that shall own the documents is not there, or is closed.", "Check `owner`."
    ),
    "no_collection": Reason(
        "The owner may not put files into the collection, or there is none.", "Check `collection`."
    ),
    "address_refused": Reason(
        "The bucket's address is outside the private network.", "Check `endpoint` and STRONGROOM_MODEL_HOSTS."
    ),
    "storage_full": Reason("There is no room left to store files.", "Free space on the data folder's disk."),
    "audit_unavailable": Reason(
        "The record takes no records, so nothing is taken in.", "It goes on by itself when the record does."
    ),
    "database_busy": Reason("The database is busy.", "It goes on by itself."),
}
"""Reasons why a whole look stopped, or removed nothing."""

SKIPPED: Final = {
    "empty": Reason("The file is empty.", "It is taken in when something is written into it."),
    "encrypted": Reason("The file is protected with a password.", "Store it without one."),
    "damaged": Reason("The file is damaged.", "Save it anew in the program that made it."),
    "mislabelled": Reason("The name promises another kind of file.", _CONTENT),
    "unsupported_type": Reason("Files of this kind are not read.", _CONTENT),
    "too_large": Reason("The file is larger than the limit.", "The limit is STRONGROOM_UPLOAD_MAX_BYTES."),
    "bad_name": Reason("The name is too long or does not print.", "Rename the file."),
    "name_taken": Reason(
        "The owner has another document of this name.", "Rename one, or give the source a collection."
    ),
    "not_permitted": Reason("The owner may not read their document of this name.", "Check its access list."),
    "not_readable": Reason("The file cannot be read.", "Check its permissions; it is tried again."),
}
"""Reasons why one file was left aside while the others went on."""

_UNKNOWN: Final = Reason("Something went wrong.", "The server's log has the details.")


def why_stopped(code: str) -> Reason:
    """Return why a look stopped, in words."""
    return STOPPED.get(code, _UNKNOWN)


def why_skipped(code: str) -> Reason:
    """Return why a file was left aside, in words."""
    return SKIPPED.get(code, _UNKNOWN)
