"""Request shapes of the collection endpoints: OpenAI's, of which some fields have no meaning here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from infra.collections import MAX_NAME_CHARS
from infra.errors import InvalidInput
from services.documents.schemas import Clearance, Compartments

MAX_FILES_AT_ONCE = 500

Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]


class _NeverExpiring(BaseModel):
    """Fields of OpenAI's that are accepted: metadata, description and chunking strategy are not kept."""

    expires_after: dict[str, Any] | None = None

    def refuse_expiry(self) -> None:
        """Raise InvalidInput for a wish that would be forgotten: files stay until somebody deletes them."""
        if self.expires_after is not None:
            raise InvalidInput("Collections do not expire.", param="expires_after")


class NewCollection(_NeverExpiring):
    """A collection's name, and own files to put into it."""

    name: Name = "Collection"
    file_ids: Annotated[list[str], Field(max_length=MAX_FILES_AT_ONCE)] = []


class CollectionChange(_NeverExpiring):
    """A new name, or none."""

    name: Name | None = None


class FilePlacement(BaseModel):
    """The file to put into a collection."""

    file_id: Annotated[str, Field(max_length=36)]


class Label(BaseModel):
    """What readers of a collection need; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    clearance: Clearance | None = None
    compartments: Compartments | None = None
