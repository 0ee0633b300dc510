"""Who may reach which operation of the HTTP interface. A new operation belongs here before it is served.

To reach an operation is to get past identification, role and key scope. What somebody may then read or
change is another matter, which the leak tests look after.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Caller(StrEnum):
    """Somebody who knocks. People are signed in and have one role; both keys are an administrator's."""

    NOBODY = "nobody"
    EMPLOYEE = "employee"
    CURATOR = "curator"
    AUDITOR = "auditor"
    ADMIN = "admin"
    FULL_KEY = "key with every scope"
    READ_KEY = "key with read alone"
    SCIM_KEY = "service key with scim"


PUBLIC: Final = frozenset(Caller)
PEOPLE: Final = frozenset({Caller.EMPLOYEE, Caller.CURATOR, Caller.AUDITOR, Caller.ADMIN})
"""Signed in, as for what a key must not do: it could outlive its own withdrawal."""
WITH_KEYS: Final = PEOPLE | {Caller.FULL_KEY}
READING: Final = WITH_KEYS | {Caller.READ_KEY}
AUDITORS: Final = frozenset({Caller.AUDITOR})
ADMINS: Final = frozenset({Caller.ADMIN, Caller.FULL_KEY})
OVERSEERS: Final = ADMINS | AUDITORS
ADMINS_READING: Final = ADMINS | {Caller.READ_KEY}
STEWARDS: Final = ADMINS_READING | {Caller.CURATOR}
SIGNED_IN_ADMINS: Final = frozenset({Caller.ADMIN})
DIRECTORIES: Final = frozenset({Caller.SCIM_KEY})

_OPERATIONS: Final[tuple[tuple[frozenset[Caller], str], ...]] = (
    (
        PUBLIC,
        """
        GET /healthz
        GET /readyz
        POST /v1/session
        POST /v1/invitations/accept
        GET /v1/directories
        GET /v1/directories/{name}/sign-in
        GET /v1/directories/{name}/callback
        """,
    ),
    (
        PEOPLE,
        """
        GET /v1/sessions
        DELETE /v1/sessions
        POST /v1/me/password
        POST /v1/keys
        """,
    ),
    (
        WITH_KEYS,
        """
        DELETE /v1/session
        DELETE /v1/keys/{key_id}
        POST /v1/files
        DELETE /v1/files/{file_id}
        PUT /v1/files/{file_id}/access
        PUT /v1/files/{file_id}/shares/{principal}
        DELETE /v1/files/{file_id}/shares/{principal}
        POST /v1/access/import
        POST /v1/vector_stores
        POST /v1/vector_stores/{collection_id}
        DELETE /v1/vector_stores/{collection_id}
        PATCH /v1/vector_stores/{collection_id}/label
        PUT /v1/vector_stores/{collection_id}/shares/{principal}
        DELETE /v1/vector_stores/{collection_id}/shares/{principal}
        POST /v1/vector_stores/{collection_id}/files
        DELETE /v1/vector_stores/{collection_id}/files/{file_id}
        POST /v1/jobs/{job_id}/cancel
        POST /v1/jobs/{job_id}/retry
        POST /v1/jobs/{job_id}/discard
        POST /v1/batches
        POST /v1/batches/{batch_id}/cancel
        POST /v1/batches/{batch_id}/retry
        POST /v1/uploads
        PATCH /v1/uploads/{upload_id}
        DELETE /v1/uploads/{upload_id}
        GET /v1/models
        POST /v1/chat/completions
        POST /v1/feedback
        GET /v1/answers/{answer_id}/receipt
        POST /v1/conversations
        GET /v1/conversations
        GET /v1/conversations/{conversation_id}
        DELETE /v1/conversations/{conversation_id}
        GET /v1/conversations/{conversation_id}/items
        GET /v1/conversations/{conversation_id}/export
        PUT /v1/conversations/{conversation_id}/shares/{principal}
        DELETE /v1/conversations/{conversation_id}/shares/{principal}
        """,
    ),
    (
        READING,
        """
        GET /v1/me
        GET /v1/keys
        GET /v1/groups
        GET /v1/principals
        GET /v1/files
        GET /v1/files/{file_id}
        GET /v1/files/{file_id}/content
        GET /v1/files/{file_id}/hidden
        GET /v1/files/{file_id}/access
        GET /v1/vector_stores
        GET /v1/vector_stores/{collection_id}
        GET /v1/vector_stores/{collection_id}/files
        GET /v1/vector_stores/{collection_id}/files/{file_id}
        POST /v1/vector_stores/{collection_id}/search
        GET /v1/jobs
        GET /v1/jobs/{job_id}
        GET /v1/jobs/{job_id}/events
        GET /v1/batches/{batch_id}
        HEAD /v1/uploads/{upload_id}
        GET /v1/sources/{citation_id}
        GET /v1/sources/{citation_id}/page.png
        POST /v1/search
        GET /v1/suggestions
        POST /mcp
        """,
    ),
    (
        AUDITORS,
        """
        GET /v1/audit/events
        GET /v1/audit/events/{event_id}/content
        GET /v1/audit/answers/{answer_id}
        GET /v1/audit/documents/{document_id}/reach
        GET /v1/audit/documents/{document_id}/people
        GET /v1/audit/content-permissions
        POST /v1/audit/content-permissions
        POST /v1/audit/content-permissions/{permission_id}/approve
        GET /v1/audit/checkpoint
        GET /v1/audit/consistency
        GET /v1/audit/checkpoints
        POST /v1/audit/export
        POST /v1/audit/verify
        GET /v1/holds
        POST /v1/holds
        DELETE /v1/holds/{hold_id}
        """,
    ),
    (
        OVERSEERS,
        """
        GET /v1/erasures
        GET /v1/erasures/{erasure_id}
        """,
    ),
    (
        ADMINS,
        """
        POST /v1/erasures
        POST /v1/invitations
        DELETE /v1/service-accounts/{account_id}/keys/{key_id}
        POST /v1/groups
        DELETE /v1/groups/{group_id}
        PUT /v1/groups/{group_id}/members/{user_id}
        DELETE /v1/groups/{group_id}/members/{user_id}
        GET /v1/access/explain
        GET /v1/access/leak-test
        POST /v1/access/leak-test
        GET /v1/choices/{name}
        PUT /v1/choices/{name}
        POST /v1/sources/{name}/sync
        """,
    ),
    (
        ADMINS_READING,
        """
        GET /v1/users
        GET /v1/service-accounts
        """,
    ),
    (
        STEWARDS,
        """
        GET /v1/sources
        """,
    ),
    (
        SIGNED_IN_ADMINS,
        """
        PATCH /v1/users/{user_id}
        POST /v1/service-accounts
        POST /v1/service-accounts/{account_id}/keys
        """,
    ),
    (
        DIRECTORIES,
        """
        GET /scim/v2/Users
        POST /scim/v2/Users
        GET /scim/v2/Users/{user_id}
        PUT /scim/v2/Users/{user_id}
        PATCH /scim/v2/Users/{user_id}
        DELETE /scim/v2/Users/{user_id}
        GET /scim/v2/Groups
        POST /scim/v2/Groups
        GET /scim/v2/Groups/{group_id}
        PUT /scim/v2/Groups/{group_id}
        PATCH /scim/v2/Groups/{group_id}
        DELETE /scim/v2/Groups/{group_id}
        GET /scim/v2/ServiceProviderConfig
        GET /scim/v2/ResourceTypes
        GET /scim/v2/ResourceTypes/{type_id}
        GET /scim/v2/Schemas
        GET /scim/v2/Schemas/{schema_id}
        """,
    ),
)

_PAGES_AND_THE_REST: Final = """
    GET /
    GET /documents
    GET /people
    GET /record
    GET /account
    GET /api-docs
    GET /sources/{citation_id}
    GET /sign-in
    GET /join
    GET /openapi.json
    HEAD /openapi.json
    OPTIONS /v1/uploads
    GET /scim/v2/{path}
    POST /scim/v2/{path}
    PUT /scim/v2/{path}
    PATCH /scim/v2/{path}
    DELETE /scim/v2/{path}
"""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


HIDDEN: Final = frozenset(_lines(_PAGES_AND_THE_REST))
"""What the OpenAPI document leaves out: pages, itself, what tus is asked first, SCIM's answer elsewhere."""


def _matrix() -> dict[str, frozenset[Caller]]:
    matrix: dict[str, frozenset[Caller]] = {}
    for callers, operations in _OPERATIONS:
        for operation in _lines(operations):
            if operation in matrix:
                raise ValueError(f"{operation} stands here twice")
            matrix[operation] = callers
    return matrix


MATRIX: Final = _matrix()
"""`METHOD path` as in the OpenAPI document -> who reaches it. Everybody else is refused."""
CHECKING_SECRETS: Final = frozenset({"POST /v1/session", "POST /v1/invitations/accept"})
"""Everybody reaches these, and is told `not authenticated` when the secret in the body is no good."""
BY_CONTENT: Final = frozenset({"POST /v1/invitations"})
"""Whoever reaches these by a key is refused some bodies: a key invites neither admins nor auditors."""
