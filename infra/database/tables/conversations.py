"""What people keep: conversations, choices and judgements."""

from __future__ import annotations

from sqlalchemy import ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database.tables.base import Base, BigInt


class Conversation(Base):
    """A conversation that its owner keeps. `wrapped_key` opens its title and its turns."""

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_title: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)
    updated_at: Mapped[int] = mapped_column(BigInt)


class ConversationTurn(Base):
    """What was said, by whom (`role`), and in `sealed` also the citations it rests on."""

    __tablename__ = "conversation_turns"
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInt)


class ConversationShare(Base):
    """Who else may look at a conversation; its citations are checked again for each viewer."""

    __tablename__ = "conversation_shares"
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    principal: Mapped[str] = mapped_column(String(200), primary_key=True, index=True)


class Choice(Base):
    """Something that administrators choose while the server runs, by name."""

    __tablename__ = "choices"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[int] = mapped_column(BigInt)


class Feedback(Base):
    """What the asker thought of an answer; the comment is sealed like the question."""

    __tablename__ = "feedback"
    answer_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    principal: Mapped[str] = mapped_column(String(200), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int] = mapped_column(BigInt)
