"""Show each witness the newest checkpoint, and keep what it says about it.

A thread for each witness, so that one that is slow or gone holds up nobody: neither answers nor the other
witnesses. A witness that cannot be reached is asked again, less and less often. One that refuses a
checkpoint as no continuation of what it saw is the alarm that witnesses are there for: it is logged as an
error each time, recorded, and shown in the server's status until the witness cosigns again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Literal

import httpx2

from infra.audit.checkpoint import LARGEST_NOTE, NoteUnreadable, NoteUntrusted, read_checkpoint
from infra.audit.event_types import EventType
from infra.audit.leaf import Resource
from infra.audit.ledger import Ledger
from infra.audit.merkle import consistency_proof
from infra.audit.proofs.tlog_proof import ConsistencyProof
from infra.audit.state_record import StateRecord
from infra.audit.stored_log import latest_note, stored_nodes
from infra.audit.witness.address import WitnessAddress
from infra.audit.witness.cosignature import WitnessKey, cosignature_lines, verify_cosignature
from infra.audit.witness.cosignature_store import cosigned_size, store_cosignature
from infra.errors import AddressRefused, ConfigurationError
from infra.logs import get_logger
from infra.network import check_private_url, private_sync_client

INTERVAL_S: Final = 1.0
"""A witness is shown a new checkpoint at most this often, in seconds."""
LONGEST_PAUSE_S: Final = 60.0
TIMEOUT_S: Final = 5.0
ATTEMPTS: Final = 3
"""Requests in one round: the first, one from the size that the witness names, one more for a race."""

State = Literal["new", "reached", "unreachable", "refused"]


@dataclass(frozen=True)
class WitnessStatus:
    """How it stands with one witness."""

    name: str
    state: State = "new"
    reason: str = ""
    """Why it is unreachable or refuses, in a few words."""
    size: int = 0
    """Records of the largest checkpoint that it has cosigned."""


class Witnessing:
    """Keeps every witness up to date while the server runs."""

    def __init__(
        self,
        ledger: Ledger,
        addresses: Sequence[WitnessAddress],
        *,
        allowed_hosts: Collection[str] = (),
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Ask the witnesses at `addresses`; `allowed_hosts` are names beyond private addresses.

        `timeout_s` is the longest wait for an answer, and so for `stop` as well.
        Raises ConfigurationError for an address outside the private network, or two witnesses of one name.
        """
        for address in addresses:
            _check(address, allowed_hosts)
        if len({address.name for address in addresses}) != len(addresses):
            raise ConfigurationError("STRONGROOM_WITNESSES names one witness twice.")
        self._watched = [
            _Watched(
                ledger,
                WitnessConversation(ledger, address, allowed_hosts, timeout_s=timeout_s),
                interval_s=interval_s,
            )
            for address in addresses
        ]

    def start(self) -> None:
        """Begin to show checkpoints to the witnesses."""
        for watched in self._watched:
            watched.start()

    def stop(self) -> None:
        """Stop; what was not cosigned by now is cosigned after the next start."""
        for watched in self._watched:
            watched.ask_to_stop()
        for watched in self._watched:
            watched.join()

    def statuses(self) -> list[WitnessStatus]:
        """Return how it stands with each witness, in the order of the settings."""
        return [watched.status for watched in self._watched]


def _check(address: WitnessAddress, allowed_hosts: Collection[str]) -> None:
    try:
        check_private_url(address.url, allowed_hosts)
    except AddressRefused as error:
        raise ConfigurationError(
            f"STRONGROOM_WITNESSES is refused for {address.name}. {error.message}", hint=error.hint
        ) from error


class _Watched:
    """One witness, and the thread that talks to it."""

    def __init__(self, ledger: Ledger, conversation: WitnessConversation, *, interval_s: float) -> None:
        self.status = WitnessStatus(conversation.witness)
        self._conversation = conversation
        self._interval_s = interval_s
        self._pause_s = interval_s
        what = Resource("witness", conversation.witness)
        self._changes = StateRecord(ledger, EventType.CHECKPOINT_COSIGNED, what)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="witness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        self._stopping.set()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()
        self._conversation.close()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._round()
            self._stopping.wait(self._pause_s)

    def _round(self) -> None:
        status = self._ask()
        if status.state == "reached":
            self._pause_s = self._interval_s
        else:
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            log = get_logger().error if status.state == "refused" else get_logger().warning
            log("witness.not_cosigned", witness=status.name, state=status.state, reason=status.reason)
        self.status = status
        self._changes.note(status.state, status.reason)

    def _ask(self) -> WitnessStatus:
        try:
            return self._conversation.bring_up_to_date()
        except Exception as error:  # noqa: BLE001
            # The edge of the thread: whatever happened here, the next round tries again.
            return replace(self.status, state="unreachable", reason=type(error).__name__)


class WitnessConversation:
    """What is said to one witness, and what is made of its answers."""

    def __init__(
        self,
        ledger: Ledger,
        address: WitnessAddress,
        allowed_hosts: Collection[str],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Talk to the witness at `address`; `allowed_hosts` are names beyond private addresses."""
        self.witness = address.name
        self._ledger = ledger
        self._key = WitnessKey.parse(address.key)
        self._url = f"{address.url}/add-checkpoint"
        self._client = private_sync_client(allowed_hosts, timeout_s=timeout_s, ca_file=address.ca_file)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def bring_up_to_date(self) -> WitnessStatus:
        """Have the newest checkpoint cosigned, unless it is already; returns how it went."""
        with self._ledger.database.read() as session:
            seen = done = cosigned_size(session, self._key.name)
        for _ in range(ATTEMPTS):
            result = self._show_newest(seen, done)
            if isinstance(result, WitnessStatus):
                return result
            seen = result
        return self._status("unreachable", "the witness keeps moving on", done)

    def _show_newest(self, seen: int, done: int) -> WitnessStatus | int:
        """Show the newest checkpoint to a witness that has `seen` records and cosigned `done`.

        Returns how it went, or the size that the witness has seen instead.
        """
        request = self._request(seen)
        if request is None:
            return self._status("refused", "the witness has seen more records than there are", done)
        size = read_checkpoint(request.note).size if request.note else 0
        if size == done:
            return self._status("reached", "", done)
        try:
            answer = self._send(request)
        except (httpx2.HTTPError, AddressRefused) as error:
            return self._status("unreachable", type(error).__name__, done)
        if answer.status == HTTPStatus.OK:
            return self._keep(request.note, size, answer.text, done)
        elsewhere = answer.names_size()
        # To name the very size that was asked from is to say that its history was another one.
        return elsewhere if elsewhere not in (None, seen) else self._refused(answer, done)

    def _request(self, seen: int) -> ConsistencyProof | None:
        """Return what leads from `seen` records to the newest checkpoint; None when there are fewer."""
        with self._ledger.database.read() as session:
            note = latest_note(session)
            size = read_checkpoint(note).size if note else 0
            if size < seen:
                return None
            path = consistency_proof(seen, size, stored_nodes(session))
        return ConsistencyProof(seen, tuple(path), note or "")

    def _send(self, request: ConsistencyProof) -> _Answer:
        with self._client.stream("POST", self._url, content=request.text.encode()) as response:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > LARGEST_NOTE:
                    break
            media_type = response.headers.get("content-type", "")
            return _Answer(response.status_code, media_type, bytes(body).decode("utf-8", "replace"))

    def _keep(self, note: str, size: int, lines: str, done: int) -> WitnessStatus:
        """Store the cosignature if it is one by this witness over this checkpoint."""
        try:
            verify_cosignature(note + lines, self._key)
            line = cosignature_lines(note + lines, self._key)[0]
        except (NoteUnreadable, NoteUntrusted) as error:
            return self._status("refused", error.code, done)
        with self._ledger.database.write() as session:
            store_cosignature(session, size, self._key.name, line)
        return self._status("reached", "", size)

    def _refused(self, answer: _Answer, done: int) -> WitnessStatus:
        reason = _REASONS.get(answer.status)
        if reason is None:
            return self._status("unreachable", f"status {answer.status}", done)
        return self._status("refused", reason, done)

    def _status(self, state: State, reason: str, size: int) -> WitnessStatus:
        return WitnessStatus(self._key.name, state, reason, size)


_REASONS: Final[dict[int, str]] = {
    HTTPStatus.BAD_REQUEST: "the witness does not understand the request",
    HTTPStatus.FORBIDDEN: "the witness expects another key of this log",
    HTTPStatus.NOT_FOUND: "the witness does not watch this log",
    HTTPStatus.CONFLICT: "the witness has seen another history",
    HTTPStatus.UNPROCESSABLE_ENTITY: "the witness has seen another history",
}


@dataclass(frozen=True)
class _Answer:
    """A witness's answer, as far as it was read."""

    status: int
    media_type: str
    text: str

    def names_size(self) -> int | None:
        """Return the size that the witness has seen, if that is what it says."""
        is_size = self.media_type.partition(";")[0].strip() == "text/x.tlog.size"
        digits = self.text.strip()
        if self.status != HTTPStatus.CONFLICT or not is_size or not digits.isascii() or not digits.isdigit():
            return None
        return int(digits[:19])
