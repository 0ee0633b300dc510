"""What a directory says is checked before it becomes a principal."""

from __future__ import annotations

import pytest

from infra.directories.claims import (
    MAX_GROUP_CHARS,
    MAX_GROUPS,
    directory_group,
    directory_groups,
    directory_person,
)
from infra.errors import DirectoryRefused, NotAuthenticated


def test_a_group_is_named_by_its_directory():
    """The same id from two directories gives two principals."""
    assert directory_group("sso", "8f1c") == "group:sso:8f1c"
    assert directory_group("ldap", "8f1c") == "group:ldap:8f1c"


def test_the_longest_group_fits_its_column():
    """32 characters of directory and 160 of id stay within the 200 characters of a principal."""
    longest = directory_group("a" * 32, "x" * MAX_GROUP_CHARS)
    assert len(longest) == 199


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x" * (MAX_GROUP_CHARS + 1),
        "two words",
        "line\nbreak",
        "nul\x00",
        "no-break\u00a0space",
        "turned\u202eround",
        "zero\u200bwidth",
        "group:local:everyone",
        "GROUP:local:everyone",
        "user:1",
        "service:1",
        None,
        7,
        ["g"],
    ],
)
def test_what_is_no_immutable_id_is_refused(value):
    """Empty, long, spaced, invisible, foreign and non-text ids are refused with a typed error."""
    with pytest.raises(DirectoryRefused) as refusal:
        directory_group("sso", value)
    assert refusal.value.reason == "group_refused"
    assert isinstance(refusal.value, NotAuthenticated)


def test_the_most_groups_pass_and_one_more_does_not():
    """A list is taken whole or not at all."""
    most = [f"g{number}" for number in range(MAX_GROUPS)]
    assert len(directory_groups("sso", most)) == MAX_GROUPS
    with pytest.raises(DirectoryRefused) as refusal:
        directory_groups("sso", [*most, "one-more"])
    assert refusal.value.reason == "too_many_groups"


@pytest.mark.parametrize("subject", [None, "", 5, "x" * 256, "a b", "a\x00b"])
def test_nobody_is_let_in_without_a_usable_subject(subject):
    """The subject is what identifies a person."""
    with pytest.raises(DirectoryRefused) as refusal:
        directory_person("sso", subject=subject, name="N", email=None, groups=[])
    assert refusal.value.reason == "subject_refused"


def test_a_name_is_fit_to_be_shown():
    """Control and direction-changing characters do not reach a page."""
    person = directory_person("sso", subject="s", name=" Amira\x00\u202e  Haddad ", email="", groups=[])
    assert (person.name, person.email) == ("Amira Haddad", None)


def test_without_a_name_the_address_or_the_subject_stands_in():
    """Every person can be called something."""
    assert (
        directory_person("sso", subject="s", name=None, email="a@b.internal", groups=[]).name
        == "a@b.internal"
    )
    assert directory_person("sso", subject="s", name=5, email="no address", groups=[]).name == "s"


def test_no_word_on_groups_is_not_an_empty_list():
    """Whoever reads the person can tell the two apart."""
    said = directory_person("sso", subject="s", name="N", email=None, groups=[])
    silent = directory_person("sso", subject="s", name="N", email=None, groups=None)
    assert (said.groups_known, silent.groups_known) == (True, False)
