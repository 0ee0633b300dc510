"""Documents that kept answers rest on, stored without a file."""

from __future__ import annotations

from typing import Any

from infra import documents
from infra.clock import new_id
from infra.database.tables import Chunk, Document
from infra.keys import MasterKey

KEY = MasterKey(b"\x17" * 32)
TEXT = "The gate closes at ten."


def stored_passage(session: Any, document: Document) -> str:
    """Give a document a version with one passage; returns the passage's id."""
    version_id, chunk_id = new_id(), new_id()
    key, wrapped = documents.new_version_key(KEY, version_id)
    documents.add_version(
        session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=wrapped
    )
    document.version_id = version_id
    content = {"text": TEXT, "title": "", "heading": "", "place": {}, "lines": []}
    session.add(
        Chunk(
            id=chunk_id,
            version_id=version_id,
            document_id=document.id,
            ordinal=0,
            sha256=documents.passage_hash(TEXT),
            sealed=documents.seal_passage(key, chunk_id, content),
        )
    )
    session.flush()
    return chunk_id
