"""Request and response shapes of the account endpoints."""

from __future__ import annotations

from pydantic import BaseModel, Field

from infra.access import Role


class SignIn(BaseModel):
    """Credentials of a local account."""

    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


class Acceptance(BaseModel):
    """What somebody who was invited fills in."""

    token: str = Field(max_length=200)
    name: str = Field(max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


class InvitationRequest(BaseModel):
    """Which roles the new account shall have."""

    roles: list[Role] = Field(min_length=1, max_length=4)


class KeyRequest(BaseModel):
    """A name to tell keys apart by, and when it shall stop working."""

    name: str = Field(max_length=200)
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class GroupRequest(BaseModel):
    """A new group's name."""

    name: str = Field(max_length=200)
