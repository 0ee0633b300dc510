"""Where a witness answers, and the key that its cosignatures must have."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from infra.errors import StrongroomError


class WitnessAddress(BaseModel):
    """One entry of the setting `witnesses`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """Where it answers, without `/add-checkpoint`; in the private network."""
    key: str
    """Its verifier key, as `strongroom witness key` prints it."""
    ca_file: Path | None = None
    """A private authority's certificate in PEM, for an `https://` address."""

    @field_validator("key")
    @classmethod
    def _is_witness_key(cls, key: str) -> str:
        # Imported here, because settings are read by commands that need no cryptography.
        from infra.audit.witness.cosignature import WitnessKey

        try:
            return str(WitnessKey.parse(key))
        except StrongroomError as error:
            raise ValueError(error.message) from error

    @field_validator("url")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        return url.rstrip("/")

    @property
    def name(self) -> str:
        """The witness's name, which its key begins with."""
        return self.key.partition("+")[0]
