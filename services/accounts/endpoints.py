"""Everything about people, as one router: a key needs the scope `read` to look and `admin` to change."""

from __future__ import annotations

from fastapi import APIRouter

from services.accounts import (
    directory_endpoints,
    group_endpoints,
    key_endpoints,
    people_endpoints,
    session_endpoints,
)

router = APIRouter()
for _endpoints in (session_endpoints, directory_endpoints, people_endpoints, key_endpoints, group_endpoints):
    # Each has prefix and tag of its own: a request's `route` knows nothing of what an outer router adds,
    # and a key's scope is decided by the route's tag.
    router.include_router(_endpoints.router)
