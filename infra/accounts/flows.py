"""Sign-ins that have begun at a company directory and wait for the browser to come back.

A flow is found by the hash of its state, holds what the answer is checked against under a seal, and is used
once: taking it removes it, whatever happens afterwards. It belongs to the browser that began it, which shows
a secret of its own (RFC 9700, section 4.7: an answer brought by another browser signs somebody in as the
attacker).
"""

from __future__ import annotations

import hmac
import json
from dataclasses import asdict, dataclass, field
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from infra.accounts.tokens import hash_secret
from infra.clock import now_ms
from infra.database.tables import SignInFlow
from infra.errors import DirectoryRefused
from infra.keys import SealBroken, seal, unseal

FLOW_S: Final = 600
"""How long somebody may take at the directory, in seconds."""
MAX_FLOWS: Final = 10_000
"""Flows kept at once. Beyond them the oldest goes: whoever floods us hurts who is slow, not everybody."""


@dataclass(frozen=True)
class BegunFlow:
    """What the directory's answer is checked against, and where the person wanted to go."""

    directory: str
    redirect_uri: str
    after: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    browser_hash: str = field(repr=False)

    def check(self, *, directory: str, browser: str) -> None:
        """Raise DirectoryRefused (`other_directory`, `other_browser`) for an answer to somebody else."""
        if self.directory != directory:
            # One provider's answer at another's address: the mix-up of RFC 9700, section 4.4.
            raise DirectoryRefused("other_directory")
        if not hmac.compare_digest(self.browser_hash, hash_secret(browser)):
            raise DirectoryRefused("other_browser")


def keep_flow(session: Session, key: bytes, state: str, flow: BegunFlow) -> None:
    """Keep a flow for `FLOW_S` seconds under its state; `key` seals it (32 bytes)."""
    now, state_hash = now_ms(), hash_secret(state)
    _make_room(session, now)
    sealed = seal(key, json.dumps(asdict(flow)).encode(), context=_context(state_hash))
    session.add(
        SignInFlow(
            state_hash=state_hash,
            directory=flow.directory,
            sealed=sealed,
            expires_at=now + FLOW_S * 1000,
        )
    )


def take_flow(session: Session, key: bytes, state: str) -> BegunFlow | None:
    """Remove and return the flow of a state; None for one that is unknown, expired or was taken before.

    Commit before anything is checked against it, so that a failed check uses it up as well.
    """
    state_hash = hash_secret(state)
    taken = session.execute(
        delete(SignInFlow)
        .where(SignInFlow.state_hash == state_hash)
        .returning(SignInFlow.sealed, SignInFlow.expires_at)
    ).one_or_none()
    if taken is None or taken.expires_at <= now_ms():
        return None
    try:
        return BegunFlow(**json.loads(unseal(key, taken.sealed, context=_context(state_hash))))
    except SealBroken:
        return None


def _make_room(session: Session, now: int) -> None:
    """Remove what has expired, and the oldest flow of a full table."""
    session.execute(delete(SignInFlow).where(SignInFlow.expires_at <= now))
    kept = session.scalar(select(func.count()).select_from(SignInFlow)) or 0
    if kept < MAX_FLOWS:
        return
    oldest = select(SignInFlow.state_hash).order_by(SignInFlow.expires_at).limit(kept - MAX_FLOWS + 1)
    session.execute(delete(SignInFlow).where(SignInFlow.state_hash.in_(oldest)))


def _context(state_hash: str) -> str:
    return f"sign-in flow {state_hash}"
