"""What every table stands on. Times are UTC milliseconds since 1970; ids are text."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase

# SQLite gives automatic row ids to INTEGER only.
BigInt = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The metadata that migrations are checked against."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
