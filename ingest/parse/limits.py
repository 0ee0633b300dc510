"""How much one parsing child may use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from infra.errors import UnreadableFile

if TYPE_CHECKING:
    from infra.settings import Settings

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """Limits of one child: bytes, seconds, counts. `max_ratio` is expanded over compressed size.

    `recognised_pages` is how many scanned pages one child reads; further ones go to further children.
    """

    memory_bytes: int = 2048 * MIB
    cpu_s: int = 60
    wall_s: float = 120.0
    max_pages: int = 5000
    max_expanded_bytes: int = 1024 * MIB
    max_ratio: int = 100
    max_text_chars: int = 20_000_000
    recognised_pages: int = 8

    @classmethod
    def from_settings(cls, settings: Settings) -> ParseLimits:
        """Take the limits an operator can change from the settings."""
        return cls(
            memory_bytes=settings.parse_memory_bytes,
            cpu_s=settings.parse_cpu_s,
            wall_s=float(settings.parse_wall_s),
            max_pages=settings.parse_max_pages,
            max_expanded_bytes=settings.parse_max_expanded_bytes,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the limits as JSON values."""
        return asdict(self)


def too_much_text(limits: ParseLimits) -> UnreadableFile:
    """Return the error for a document with more text than one document may have."""
    return UnreadableFile(
        "too_complex",
        f"This document holds more than {limits.max_text_chars:,} characters of text.",
        hint="Split it into several files.",
    )
