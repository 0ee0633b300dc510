"""What a request for a new conversation may hold."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import InvalidInput


class NewConversation(BaseModel):
    """The request body of `POST /v1/conversations`; stock clients send the title as `metadata.title`."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = Field(None, max_length=1000)
    metadata: dict[str, str] | None = None
    items: list[Any] | None = None

    def wanted_title(self) -> str:
        """Return the title, or nothing when the first question shall become it.

        Raises InvalidInput for items, which only questions and answers here can add, and for metadata that
        would be lost.
        """
        if self.items:
            raise InvalidInput("A conversation begins empty.", param="items")
        named = self.metadata or {}
        if set(named) - {"title"}:
            raise InvalidInput("Only a title can be kept with a conversation.", param="metadata")
        return self.title if self.title is not None else named.get("title", "")
