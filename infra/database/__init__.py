"""The database: the truth about people, documents, jobs and the record."""

from infra.database.engine import Database

__all__ = ["Database"]
