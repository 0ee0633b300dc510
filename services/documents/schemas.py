"""Request shapes of the file endpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from infra.sharing import MAX_CLEARANCE, MAX_COMPARTMENTS, MAX_LINES, Restriction

PrincipalId = Annotated[str, Field(max_length=200)]
Clearance = Annotated[int, Field(ge=0, le=MAX_CLEARANCE)]
Compartments = Annotated[list[str], Field(max_length=MAX_COMPARTMENTS)]


class FileAccess(BaseModel):
    """A file's whole restriction. Every field must be sent: one that was forgotten would widen it."""

    model_config = ConfigDict(extra="forbid")

    only: Annotated[list[PrincipalId], Field(max_length=MAX_LINES)] | None
    deny: Annotated[list[PrincipalId], Field(max_length=MAX_LINES)]
    clearance: Clearance
    compartments: Compartments

    def restriction(self) -> Restriction:
        """Return it as the access rule knows it."""
        return Restriction(
            only=frozenset(self.only) if self.only is not None else None,
            deny=frozenset(self.deny),
            clearance=self.clearance,
            compartments=frozenset(self.compartments),
        )
