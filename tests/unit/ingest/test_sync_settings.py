"""What an operator may say about watched folders and buckets, and what stops the start with a clear word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from infra.settings import Settings
from infra.sources import WatchedBucket, WatchedFolder
from ingest.sync.source import is_usable_name, is_watched

FOLDER: dict[str, Any] = {"kind": "folder", "name": "share", "path": "/srv/share", "owner": "ada@example.org"}
BUCKET: dict[str, Any] = {
    "kind": "bucket",
    "name": "shelf",
    "endpoint": "http://10.0.0.5:9000",
    "bucket": "shelf",
    "access_key": "reader",
    "secret_key": "top secret",
    "owner": "service:0199f0a0-0000-7000-8000-000000000000",
}


def settings(*sources: dict[str, Any], **others: Any) -> Settings:
    """Return settings with these sources."""
    return Settings(**{"data_dir": Path("/srv/data"), "sources": list(sources)} | others)


def test_folders_and_buckets_are_understood() -> None:
    """The kind decides about the shape, and a secret does not show."""
    folder, bucket = settings(FOLDER, BUCKET).sources
    assert isinstance(folder, WatchedFolder)
    assert isinstance(bucket, WatchedBucket)
    assert (folder.every_s, folder.include, folder.exclude, folder.collection) == (60, ("*",), (), None)
    assert "top secret" not in repr(bucket)


def test_a_listed_host_may_be_named() -> None:
    """A name on the list passes here; its addresses are checked at each connection."""
    named = {**BUCKET, "endpoint": "http://store:9000"}
    assert settings(named, model_hosts=["store"]).sources


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([{**BUCKET, "endpoint": "https://192.0.2.1"}], "outside the private network"),
        ([{**BUCKET, "endpoint": "https://s3.example.org"}], "not on the list of private hosts"),
        ([{**BUCKET, "endpoint": "http://169.254.169.254"}], "outside the private network"),
        ([{**BUCKET, "endpoint": "ftp://10.0.0.5"}], "http:// or https://"),
        ([{**BUCKET, "secret_key": None}], "either secret_key or secret_key_file"),
        ([{**BUCKET, "secret_key_file": "/run/secrets/s3"}], "either secret_key or secret_key_file"),
        ([{**BUCKET, "secret_key": ""}], "must not be empty"),
        ([{**FOLDER, "path": "srv/share"}], "path must begin with /"),
        ([{**FOLDER, "path": "/srv/data/files"}], "must not contain each other"),
        ([{**FOLDER, "path": "/srv"}], "must not contain each other"),
        ([{**FOLDER, "name": "upload"}], "is not `upload`"),
        ([{**FOLDER, "name": "Share"}], "a-z"),
        ([{**FOLDER, "owner": "Ada"}], "e-mail address"),
        ([{**FOLDER, "every_s": 0}], "greater than or equal to 1"),
        ([{**FOLDER, "include": []}], "at least one pattern"),
        ([{**FOLDER, "glob": "*"}], "Extra inputs"),
        ([FOLDER, {**FOLDER, "path": "/srv/other"}], "a name of its own"),
    ],
)
def test_what_cannot_be_meant_stops_the_start(sources: list[dict[str, Any]], said: str) -> None:
    """The message says what is wrong, and repeats no secret."""
    with pytest.raises(ValidationError, match=said) as refused:
        settings(*sources)
    assert "top secret" not in str(refused.value.errors(include_input=False))


NO_NAMES = ["", "a//b", "../a", "a/./b", "a\nb", "a\u202eb", "\udcff", "x" * 501]


@pytest.mark.parametrize("name", NO_NAMES)
def test_some_names_are_no_names_of_documents(name: str) -> None:
    """They could not be stored, shown, or told apart."""
    assert not is_usable_name(name)


def test_names_in_other_scripts_are() -> None:
    """Spaces and letters of any script are fine."""
    assert is_usable_name("Ärzte & Pfleger/Dienstplan – Süd/七月.xlsx")


def test_excluding_wins() -> None:
    """A name that both lists match is not watched, and neither is what is hidden."""
    assert is_watched("a/b.md", ["*.md"], [])
    assert not is_watched("a/b.md", ["*"], ["a/*"])
    assert not is_watched("a/.b.md", ["*"], [])
    assert not is_watched("$RECYCLE.BIN/b.md", ["*"], [])
