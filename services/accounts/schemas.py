"""Request shapes of the account endpoints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from infra.access import EVERY_SCOPE, KeyScope, Role
from infra.sharing import MAX_CLEARANCE, MAX_COMPARTMENTS


class SignIn(BaseModel):
    """Credentials of a local account, or of one in the LDAP directory called `directory`.

    A directory may know people by another name than their e-mail address; `email` is then that name.
    """

    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)
    directory: str | None = Field(None, max_length=32)


class PasswordChange(BaseModel):
    """The password that holds now, and the one that shall."""

    current: str = Field(max_length=1024)
    new: str = Field(max_length=1024)


class Acceptance(BaseModel):
    """What somebody who was invited fills in."""

    token: str = Field(max_length=200)
    name: str = Field(max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


class InvitationRequest(BaseModel):
    """Which roles the new account shall have, and whose e-mail address it is for, if that is known."""

    roles: list[Role] = Field(min_length=1, max_length=4)
    email: str | None = Field(None, max_length=320)


class AccountPatch(BaseModel):
    """What shall be different about an account; what is left out, or null, stays."""

    # A misspelt field must not look like a change that was made.
    model_config = ConfigDict(extra="forbid")

    roles: list[Role] | None = Field(None, min_length=1, max_length=4)
    clearance: int | None = Field(None, ge=0, le=MAX_CLEARANCE)
    compartments: list[str] | None = Field(None, max_length=MAX_COMPARTMENTS)
    disabled: bool | None = None


class KeyRequest(BaseModel):
    """A name to tell keys apart by, what the key is for, and when it shall stop working."""

    name: str = Field(max_length=200)
    scopes: list[KeyScope] = Field(sorted(EVERY_SCOPE), min_length=1, max_length=len(KeyScope))
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class ServiceKeyRequest(KeyRequest):
    """The same for a program, whose scopes have to be said."""

    scopes: list[KeyScope] = Field(min_length=1, max_length=len(KeyScope))


class ServiceAccountRequest(BaseModel):
    """A new account for a program."""

    name: str = Field(max_length=200)
    roles: list[Role] = Field([Role.EMPLOYEE], min_length=1, max_length=2)


class GroupRequest(BaseModel):
    """A new group's name."""

    name: str = Field(max_length=200)
