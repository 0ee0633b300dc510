"""The accounts of one run: who plants, who has to find, and who must not. All of them go at its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.orm import Session

from infra import accounts, canaries
from infra.access import Principal, Role
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.clock import now_ms
from infra.database.tables import User
from infra.epoch import raise_epoch
from infra.errors import Conflict
from infra.sharing import MAX_CLEARANCE
from ingest.index import remove_document
from services.access.leak_test.plan import Plan, make_plan
from services.parts import Parts

LONGEST_MS: Final = 3_600_000
"""The keys of a run stop working after an hour; what is older was left by a run that was cut short."""


@dataclass(frozen=True)
class Player:
    """One account of a run, and the key that it acts with."""

    name: str
    principal: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Cast:
    """Everybody in a run. `everybody` is a group of insider and outsiders, `outside` one of outsiders."""

    owner: Player
    insider: Player
    outsiders: dict[Role, Player]
    everybody: str
    outside: str


def enter(parts: Parts, run_id: str, asked_by: Principal | None) -> tuple[Plan, Cast]:
    """Make a plan and the accounts that it needs, with who asked for it on the record.

    Raises Conflict while another run has its accounts, on this server or on another.
    """
    with parts.database.write() as session:
        # Two servers at once could both find none; the epoch's row makes one of them wait for the other.
        raise_epoch(session)
        if canaries.canary_accounts(session):
            raise Conflict("A leak test is running.", hint="Wait for its end.")
        actor = parts.ledger.actor_for(session, asked_by) if asked_by is not None else SYSTEM
        what = Resource("leak_test", run_id)
        begun = Event(EventType.ACCESS_TESTED, Stage.SINGLE, run_id, actor, res=what, outcome="begun")
        parts.ledger.record_in(session, begun)
        plan = make_plan(session, run_id)
        return plan, _Casting(session, parts, plan).cast()


@dataclass(frozen=True)
class _Casting:
    session: Session
    parts: Parts
    plan: Plan

    def cast(self) -> Cast:
        plan = self.plan
        everything = {plan.compartment, *plan.compartments}
        # A curator may name groups that they are not in, as the owner must to share canaries with them.
        owner = self._account(
            "owner",
            clearance=MAX_CLEARANCE,
            compartments=everything,
            roles=(Role.EMPLOYEE, Role.CURATOR),
        )
        insider = self._account("insider", clearance=MAX_CLEARANCE, compartments=everything)
        outsiders = {role: self._outsider(role) for role in Role}
        everybody = self._group("everybody", [insider, *outsiders.values()])
        outside = self._group("outsiders", outsiders.values())
        self._join(insider, plan.group_ids)
        return Cast(owner, insider, outsiders, everybody, outside)

    def _outsider(self, role: Role) -> Player:
        return self._account(
            f"outsider ({role})",
            roles={Role.EMPLOYEE, role},
            clearance=self.plan.outside_clearance,
            compartments={self.plan.compartment},
            # As an administrator it would count as the one who is left when the last real one goes.
            kind="service" if role is Role.ADMIN else "user",
        )

    def _account(
        self,
        name: str,
        *,
        clearance: int,
        compartments: set[str],
        roles: Iterable[Role] = (Role.EMPLOYEE,),
        kind: str = "user",
    ) -> Player:
        user, key = canaries.create_canary_account(
            self.session,
            name,
            roles=roles,
            kind=kind,
            clearance=clearance,
            compartments=compartments,
            expires_at=now_ms() + LONGEST_MS,
        )
        self._record(EventType.ACCOUNT_CREATED, "account", user.id)
        return Player(name, f"{kind}:{user.id}", key)

    def _group(self, name: str, members: Iterable[Player]) -> str:
        group = accounts.create_group(self.session, f"{canaries.NAME} {self.plan.run_id} {name}")
        self._record(EventType.GROUP_CREATED, "group", group.id)
        for member in members:
            self._join(member, [group.id])
        return group.id

    def _join(self, member: Player, group_ids: Iterable[str]) -> None:
        wanted = list(group_ids)
        canaries.join_groups(self.session, member.principal.partition(":")[2], wanted)
        for group_id in wanted:
            self._record(EventType.GROUP_CHANGED, "group", group_id)

    def _record(self, event: EventType, kind: str, identifier: str) -> None:
        _record(self.parts, self.session, self.plan.run_id, event, kind, identifier)


# --- the end --------------------------------------------------------------------------------------


def leave(parts: Parts, corr: str, *, older_than_ms: int = 0) -> int:
    """Remove every account of a leak test and all that it owns; returns how many accounts there were.

    It may be repeated after a crash: accounts go last, and everything else is found by them. Accounts that
    are younger than `older_than_ms` are left to the server that runs their test.
    """
    limit = now_ms() - older_than_ms
    with parts.database.write() as session:
        leaving = [user for user in canaries.canary_accounts(session) if user.created_at <= limit]
        open_ones = [user for user in leaving if user.disabled_at is None]
        canaries.close(session, open_ones)
        for user in open_ones:
            _record(parts, session, corr, EventType.ACCOUNT_DISABLED, "account", user.id)
    if leaving:
        _remove_documents(parts, corr, leaving)
        _remove_the_rest(parts, corr, leaving)
    return len(leaving)


def _remove_documents(parts: Parts, corr: str, leaving: list[User]) -> None:
    with parts.database.write() as session:
        doomed = canaries.documents_of(session, leaving)
        for document in doomed:
            document.deleted_at = document.deleted_at or now_ms()
            _record(parts, session, corr, EventType.FILE_DELETED, "file", document.id)
    for document in doomed:
        remove_document(parts.database, parts.index, parts.files, document.id)


def _remove_the_rest(parts: Parts, corr: str, leaving: list[User]) -> None:
    with parts.database.write() as session:
        users = [session.merge(user, load=False) for user in leaving]
        conversations = canaries.conversations_of(session, users)
        collections = canaries.collections_of(session, users)
        groups = canaries.canary_groups(session, users)
        for event, kind, gone in (
            (EventType.CONVERSATION_DELETED, "conversation", conversations),
            (EventType.COLLECTION_DELETED, "collection", collections),
            (EventType.GROUP_DELETED, "group", groups),
        ):
            for each in gone:
                _record(parts, session, corr, event, kind, each.id)
        canaries.remove_what_they_kept(session, conversations, collections)
        canaries.remove_accounts(session, users, groups)


def _record(parts: Parts, session: Session, corr: str, event: EventType, kind: str, identifier: str) -> None:
    what = Resource(kind, identifier)
    parts.ledger.record_in(session, Event(event, Stage.SINGLE, corr, SYSTEM, res=what, outcome="ok"))
