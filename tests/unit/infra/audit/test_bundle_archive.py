"""A bundle in its tar archive: checked as it came, without trusting a byte of it."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.audit.bundles.bundle import verify_bundle
from infra.audit.bundles.bundle_archive import LONGEST_PADDING
from infra.audit.verify import Verdict
from services.audit.export_archive import END_OF_ARCHIVE, member
from tests.made_record import export, fill, made_ledger

ROOT = "strongroom-record-0-299"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 300 records that no test changes."""
    place = tmp_path_factory.mktemp("made")
    with made_ledger(place / "ledger.sqlite3") as ledger:
        fill(ledger, 300)
        return export(ledger, place / "bundle")


@pytest.fixture(scope="module")
def sent(folder: Path) -> bytes:
    """The archive as the server sends it."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    pieces = [piece for name in names for piece in member(f"{ROOT}/{name}", folder / name)]
    return b"".join(pieces) + END_OF_ARCHIVE


@pytest.fixture
def check(tmp_path: Path) -> Callable[[bytes], Verdict]:
    """Check bytes as an archive."""

    def _check(archive: bytes) -> Verdict:
        (tmp_path / "bundle.tar").write_bytes(archive)
        return verify_bundle(tmp_path / "bundle.tar").verdict

    return _check


Check = Callable[[bytes], Verdict]


def added(archive: bytes, *entries: tarfile.TarInfo | bytes) -> bytes:
    """Return an archive with more entries at its end."""
    more = b"".join(
        entry if isinstance(entry, bytes) else entry.tobuf(tarfile.GNU_FORMAT) for entry in entries
    )
    return archive.removesuffix(END_OF_ARCHIVE) + more + END_OF_ARCHIVE


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def test_an_archive_says_what_its_folder_says(folder: Path, sent: bytes, tmp_path: Path) -> None:
    """The same report, and nothing is written anywhere."""
    (tmp_path / "bundle.tar").write_bytes(sent)
    report = verify_bundle(tmp_path / "bundle.tar")
    assert report == verify_bundle(folder)
    assert (report.verdict, report.checked) == (Verdict.SOUND, 300)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.tar"]


@pytest.mark.parametrize("words", [("-C", "{parent}", "bundle"), ("-C", "{folder}", ".")])
def test_an_archive_that_somebody_else_made_is_read(
    folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """GNU tar, with folders, padding, and with or without the folder around it."""
    inner = [word.format(parent=folder.parent, folder=folder) for word in words]
    subprocess.run(["tar", "cf", tmp_path / "own.tar", *inner], check=True)
    assert verify_bundle(tmp_path / "own.tar").verdict is Verdict.SOUND


def test_each_edit_of_a_file_is_found(check: Check, sent: bytes) -> None:
    """Within the archive as within a folder."""
    with tarfile.open(fileobj=io.BytesIO(sent)) as opened:
        files = [found for found in opened.getmembers() if found.size]
    dice = random.Random(7)
    for found in dice.sample(files, 12):
        place = found.offset_data + dice.randrange(found.size)
        spoiled = sent[:place] + bytes([sent[place] ^ 1]) + sent[place + 1 :]
        assert check(spoiled) is not Verdict.SOUND, found.name


def test_a_file_too_few_or_too_many_is_found(check: Check, folder: Path, tmp_path: Path, sent: bytes) -> None:
    """What is missing makes it incomplete; what does not belong there was added."""
    copy = Path(shutil.copytree(folder, tmp_path / ROOT))
    (copy / "tile/0/000").unlink()
    with tarfile.open(tmp_path / "less.tar", "w", format=tarfile.USTAR_FORMAT) as made:
        made.add(copy, ROOT)
    assert verify_bundle(tmp_path / "less.tar").verdict is Verdict.INCOMPLETE
    assert check(added(sent, entry(f"{ROOT}/more"))) is Verdict.TAMPERED
    assert check(added(sent, entry("beside"))) is Verdict.UNREADABLE


@pytest.mark.parametrize(
    "evil",
    [
        entry("/etc/passwd"),
        entry("../escape"),
        entry(f"{ROOT}/../../escape"),
        entry(f"{ROOT}/./key.vkey"),
        entry(f"{ROOT}/key.vkey"),
        entry(f"{ROOT}/link", tarfile.SYMTYPE, "/etc/passwd"),
        entry(f"{ROOT}/link", tarfile.LNKTYPE, f"{ROOT}/key.vkey"),
        entry(f"{ROOT}/pipe", tarfile.FIFOTYPE),
        entry(f"{ROOT}/device", tarfile.CHRTYPE),
        entry(f"{ROOT}/sparse", tarfile.GNUTYPE_SPARSE),
        entry(f"{ROOT}/extended", tarfile.XHDTYPE),
        entry("x" * 200),
        entry(f"{ROOT}/folder", tarfile.DIRTYPE, size=512),
        entry(f"{ROOT}/negative", size=-512),
    ],
    ids=lambda made: f"{made.type.decode()}-{made.name[-12:]}",
)
def test_what_no_export_holds_is_refused(check: Check, sent: bytes, evil: tarfile.TarInfo) -> None:
    """Ways out of the folder, links, devices, two files of one name, headers that change others."""
    assert check(added(sent, evil)) is Verdict.UNREADABLE


def test_a_file_that_claims_to_be_huge_is_not_believed(check: Check, sent: bytes) -> None:
    """What is not there was cut off."""
    assert check(added(sent, entry(f"{ROOT}/huge", size=1 << 62))) is Verdict.INCOMPLETE


def test_an_archive_that_was_cut_off_is_incomplete(check: Check, sent: bytes) -> None:
    """Anywhere: a download that broke off is never sound, and is told from nonsense."""
    dice = random.Random(11)
    cuts = [len(sent) - 1, len(sent) - 512, len(sent) - 1024, *dice.sample(range(512, len(sent) - 1024), 25)]
    assert {check(sent[:cut]) for cut in cuts} == {Verdict.INCOMPLETE}


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"x", b"PK\x03\x04" * 500, b"\x1f\x8b" * 600, b"\xff" * 2048, bytes(1024)],
    ids=["empty", "byte", "zip", "gzip", "ones", "no files"],
)
def test_what_is_no_archive_is_unreadable(check: Check, nonsense: bytes) -> None:
    """Nothing of it is guessed at."""
    assert check(nonsense) is Verdict.UNREADABLE


def test_something_after_the_end_is_refused(check: Check, sent: bytes) -> None:
    """A second archive behind the first would be seen by some programs and not by others."""
    assert check(sent + bytes(9216)) is Verdict.SOUND
    assert check(sent + sent) is Verdict.UNREADABLE
    assert check(sent + bytes(LONGEST_PADDING)) is Verdict.UNREADABLE


def test_spoiled_headers_end_in_a_verdict(check: Check, sent: bytes) -> None:
    """Whatever stands in a header, with a right checksum, is never a traceback."""
    dice = random.Random(13)
    with tarfile.open(fileobj=io.BytesIO(sent)) as opened:
        offsets = [found.offset for found in opened.getmembers()]
    for _ in range(150):
        offset = dice.choice(offsets)
        header = bytearray(sent[offset : offset + 512])
        place = dice.choice([dice.randrange(100), dice.randrange(124, 136), 156, dice.randrange(345, 500)])
        header[place] = dice.randrange(256)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        verdict = check(sent[:offset] + bytes(header) + sent[offset + 512 :])
        assert verdict in Verdict
