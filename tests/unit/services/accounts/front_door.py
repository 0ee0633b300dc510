"""The account endpoints and the refusals, mounted alone, and browsers that talk to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.testclient import TestClient

from infra import accounts
from infra.access import Role
from infra.audit.event_types import EventType
from infra.audit.leaf import Leaf
from infra.audit.ledger import Ledger
from infra.database import Database
from infra.database.tables import AccessEpoch, Base, Throttle
from infra.keys import MasterKey
from infra.settings import Settings
from infra.stores import open_ledger
from services import errors, on_record
from services.accounts import endpoints
from services.requests import RequestFrame
from services.web import pages

PASSWORD = "a long enough password"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHED = CHEAP.hash(PASSWORD)
SAME_SITE = {"sec-fetch-site": "same-origin"}


@dataclass
class FrontDoor:
    """The endpoints, their database, and their record."""

    app: FastAPI
    client: TestClient
    database: Database
    ledger: Ledger

    @classmethod
    def open(cls, folder: Path) -> FrontDoor:
        """Open it on an empty folder."""
        settings = Settings(data_dir=folder)
        database = Database(settings.resolved_database_url)
        Base.metadata.create_all(database.engine)
        with database.write() as session:
            session.add(AccessEpoch(id=1, epoch=1))
        ledger = open_ledger(settings, database, MasterKey(bytes(32)))
        app = FastAPI(docs_url=None, redoc_url=None)
        app.include_router(endpoints.router)
        errors.install(app, pages.mount(app))
        on_record.install(app)
        app.add_middleware(RequestFrame)
        app.state.parts = SimpleNamespace(
            settings=settings, database=database, ledger=ledger, index=NoIndex()
        )
        return cls(app, TestClient(app, base_url="https://testserver"), database, ledger)

    def close(self) -> None:
        """Close the record and the database."""
        self.ledger.close()
        self.database.close()

    def join(self, name: str, *roles: Role) -> str:
        """Make a local account with PASSWORD; returns its id."""
        with self.database.write() as session:
            token, _ = accounts.invite(session, roles or {Role.EMPLOYEE}, created_by=None)
            user = accounts.accept_invitation(
                session, token, name=name, email=f"{name}@example.org", password_hash=HASHED
            )
            return user.id

    def sign_in(self, name: str, password: str = PASSWORD, **headers: str) -> Any:
        """Try to sign somebody in."""
        body = {"email": f"{name}@example.org", "password": password}
        return self.client.post("/v1/session", json=body, headers=headers)

    def browser(self, name: str) -> dict[str, str]:
        """Sign somebody in; returns the headers that their browser sends from then on."""
        answer = self.sign_in(name)
        assert answer.status_code == 200, answer.text
        self.client.cookies.clear()
        return {"cookie": answer.headers["set-cookie"].split(";")[0], **SAME_SITE}

    def key(self, user_id: str, *scopes: str) -> dict[str, str]:
        """Make a key; returns the headers of a program that uses it."""
        with self.database.write() as session:
            wanted = {"scopes": scopes} if scopes else {}
            _, secret = accounts.create_key(session, user_id, "test", **wanted)
        return {"authorization": f"Bearer {secret}"}

    def events(self, *types: EventType) -> list[Leaf]:
        """Return what is on the record, oldest first."""
        self.ledger.sealer.seal_all()
        found = [event.leaf for event in self.ledger.reader.events(limit=1000)]
        return [leaf for leaf in found if leaf is not None and (not types or leaf.type in types)]

    def later(self, seconds: float) -> None:
        """Let the waits of everybody who is held up pass by."""
        with self.database.write() as session:
            for row in session.query(Throttle):
                row.blocked_until -= int(seconds * 1000)


class NoIndex:
    """An index without documents."""

    def set_access(self, _access: object) -> None:
        """Do nothing: there is nothing to change."""
