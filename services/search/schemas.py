"""What the search requests may hold."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from infra.errors import InvalidInput
from services.search.service import MAX_RESULTS

MAX_QUERY_CHARS: Final = 4000
MAX_QUERIES: Final = 8

Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]


class SearchRequest(BaseModel):
    """The request body of `POST /v1/search`."""

    query: Query
    limit: int = Field(10, ge=1, le=MAX_RESULTS)
    collection: str | None = Field(None, max_length=36)


class VectorStoreSearchRequest(BaseModel):
    """The request body of `POST /v1/vector_stores/{id}/search`; unknown OpenAI fields have no effect."""

    model_config = ConfigDict(extra="ignore")

    query: Query | Annotated[list[Query], Field(min_length=1, max_length=MAX_QUERIES)]
    max_num_results: int = Field(10, ge=1, le=MAX_RESULTS)
    filters: dict[str, Any] | None = None
    ranking_options: dict[str, Any] | None = None
    rewrite_query: bool | None = None

    def queries(self) -> list[str]:
        """Return what to search for.

        Raises InvalidInput for fields that would change the result elsewhere and have no effect here:
        somebody who narrows a search must not get an unnarrowed one.
        """
        for name in ("filters", "ranking_options", "rewrite_query"):
            if getattr(self, name):
                raise InvalidInput(f"`{name}` is not supported.", hint="Leave it out.", param=name)
        return [self.query] if isinstance(self.query, str) else self.query
