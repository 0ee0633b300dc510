"""How an operator describes a folder or a bucket to watch. Plain shapes: no storage library is imported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from infra.errors import StrongroomError

RESERVED_NAMES: Final = frozenset({"upload"})
"""Names that no source may take: it is what places of uploaded files say (`infra.places`)."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,31}")
_OWNER: Final = re.compile(r"(user|service):[0-9a-f-]{36}|[^@\s]+@[^@\s]+")
_BUCKET: Final = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


def _source_name(name: str) -> str:
    if _NAME.fullmatch(name) is None or name in RESERVED_NAMES:
        raise ValueError("name has 2 to 32 of a-z, 0-9 and -, starts with a letter, and is not `upload`")
    return name


def _owner(owner: str) -> str:
    if _OWNER.fullmatch(owner) is None:
        raise ValueError("owner is an account's e-mail address, or its id such as `service:…`")
    return owner


class _Watched(BaseModel):
    """What folders and buckets have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_source_name)]
    owner: Annotated[str, AfterValidator(_owner)]
    collection: str | None = Field(None, min_length=1, max_length=36)
    every_s: float = Field(60.0, ge=1, le=86_400)
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    @field_validator("include")
    @classmethod
    def _includes_something(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if not patterns:
            raise ValueError("include must name at least one pattern, or nothing would be watched")
        return patterns


class WatchedFolder(_Watched):
    """A folder of this machine, with everything below it."""

    kind: Literal["folder"]
    path: Path

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError(
                "path must begin with /, because it means the same wherever a worker was started"
            )
        return path


class WatchedBucket(_Watched):
    """A bucket of a server that speaks S3 in the private network, or what begins with `prefix` in it."""

    kind: Literal["bucket"]
    endpoint: str = Field(min_length=1, max_length=500)
    bucket: str = Field(pattern=_BUCKET)
    prefix: str = Field("", max_length=500)
    access_key: str = Field(min_length=1)
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    region: str = Field("us-east-1", min_length=1)
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if (self.secret_key is None) == (self.secret_key_file is None):
            raise ValueError("a bucket takes either secret_key or secret_key_file")
        if self.secret_key is not None and not self.secret_key.get_secret_value():
            raise ValueError("secret_key must not be empty")
        return self


WatchedSource = Annotated[WatchedFolder | WatchedBucket, Field(discriminator="kind")]


def check_sources(
    sources: list[WatchedFolder | WatchedBucket], data_dir: Path, allowed_hosts: list[str]
) -> None:
    """Raise ValueError for sources that share a name, watch our own data, or lie outside the network."""
    names = [source.name for source in sources]
    if len(names) != len(set(names)):
        raise ValueError("each watched folder or bucket needs a name of its own")
    for source in sources:
        if isinstance(source, WatchedFolder):
            _check_apart(source.path, data_dir)
        else:
            _check_address(source.endpoint, allowed_hosts)


def _check_apart(path: Path, data_dir: Path) -> None:
    watched, ours = path.resolve(), data_dir.resolve()
    if watched.is_relative_to(ours) or ours.is_relative_to(watched):
        raise ValueError("a watched folder and the data folder must not contain each other")


def _check_address(endpoint: str, allowed_hosts: list[str]) -> None:
    # Imported here, because settings are read by commands that need no network.
    from infra.network import check_private_url

    try:
        check_private_url(endpoint, allowed_hosts)
    except StrongroomError as error:
        raise ValueError(f"endpoint: {error.message.rstrip('.')}") from error
