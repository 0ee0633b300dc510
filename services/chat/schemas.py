"""What a chat completion request may hold; unknown OpenAI fields are accepted and have no effect."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.events import Turn
from infra.errors import InvalidInput, TooLarge

ASSISTANT = "strongroom"
QUOTES = "strongroom-quote"
MODELS = {ASSISTANT: "Answers from your documents, checked, with citations", QUOTES: "Verbatim quotes only"}


class TextPart(BaseModel):
    """A text part of a message's content."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message; content is a text or a list of text parts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    def text(self) -> str:
        """Return the content as one text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """Whether the last chunk tells token counts."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The request body of `POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="ignore")

    model: str = ASSISTANT
    messages: list[Message] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: Literal[1] | None = None
    tools: list[Any] | None = None
    x_evidence: Literal["content", "field"] = "content"
    x_conversation: str | None = Field(None, min_length=1, max_length=36)

    def turns(self, max_chars: int) -> tuple[str, tuple[Turn, ...]]:
        """Return the question and the turns before it.

        Raises InvalidInput when the last message is not a question, TooLarge beyond `max_chars` in all.
        Messages of the roles system and developer are left out: the instructions are ours. Of a kept
        conversation only the last message counts: the server knows what was said before.
        """
        messages = self.messages[-1:] if self.x_conversation else self.messages
        if sum(len(message.text()) for message in messages) > max_chars:
            raise TooLarge(
                f"The conversation is longer than {max_chars:,} characters.",
                param="messages",
                hint="Start a new conversation, or upload long texts as files and ask about them.",
            )
        spoken = [Turn(m.role, m.text().strip()) for m in messages if m.role in {"user", "assistant"}]
        if not spoken or spoken[-1].role != "user" or not spoken[-1].text:
            raise InvalidInput("The last message must be a question from the user.", param="messages")
        return spoken[-1].text, tuple(spoken[:-1])
