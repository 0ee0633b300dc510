"""Weights that somebody brings: safetensors and GGUF pass, pickles in every disguise are refused unopened."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from infra.errors import ChecksumMismatch, ConfigurationError
from infra.models.weights import check_safetensors, check_weights, reads_as_pickle

ROOT = Path(__file__).resolve().parents[3]
GGUF = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)


class Trap:
    """An object whose pickle makes a folder when it is read: what a poisoned model does."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def write_safetensors(path: Path) -> Path:
    """Write real weights with the library."""
    tensors = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(5, dtype=np.float16)}
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path):
    """A model's folder as makers publish it."""
    made = tmp_path / "model"
    made.mkdir()
    write_safetensors(made / "model-00001-of-00001.safetensors")
    (made / "config.json").write_text('{"model_type": "qwen3"}')
    (made / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    (made / "merges.txt").write_text("#version: 0.2\nI n\n( 1\n")
    (made / "chat_template.jinja").write_text("{{ messages }}")
    (made / "README.md").write_text("# A model\n")
    (made / "LICENSE").write_text("Apache License\n")
    return made


def test_a_makers_folder_passes(folder):
    """Weights are listed with kind and size; companions are not weights."""
    found = check_weights(folder)
    [file] = found.files
    assert (file.kind, file.sha256) == ("safetensors", None)
    assert found.size == (folder / "model-00001-of-00001.safetensors").stat().st_size
    assert found.code == ()


def test_python_files_are_told(folder):
    """Nothing of ours runs them, but an engine may be told to."""
    (folder / "modeling_kimi.py").write_text("raise SystemExit\n")
    assert [file.name for file in check_weights(folder).code] == ["modeling_kimi.py"]


def test_a_real_gguf_passes():
    """The starter model for plumbing, where it is here."""
    path = ROOT / "models" / "smollm2-135m-instruct-q4_1.gguf"
    if not path.is_file():
        pytest.skip("the plumbing model is not here")
    assert check_weights(path).files[0].kind == "gguf"


def test_a_minimal_gguf_passes(tmp_path):
    """Magic, version and counts."""
    path = tmp_path / "m.gguf"
    path.write_bytes(GGUF)
    assert check_weights(path).size == 24


def torch_zip(content: bytes) -> bytes:
    """Return an archive as `torch.save` makes it, around a pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return made.getvalue()


def old_tar(content: bytes) -> bytes:
    """Return a tar, as PyTorch wrote long ago, around a pickle."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.gguf", "tokenizer.model", "config.json", "README", "x.bin", "w.pt"]
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_unopened_whatever_its_name(folder, name, protocol):
    """Its code does not run: the trap's mark is not made."""
    mark = folder.parent / "sprung"
    (folder / name).write_bytes(pickle.dumps(Trap(mark), protocol))
    with pytest.raises(ConfigurationError):
        check_weights(folder)
    with pytest.raises(ConfigurationError):
        check_weights(folder / name)
    assert not mark.exists()
    pickle.loads((folder / name).read_bytes())
    assert mark.exists(), "the trap is a real one"


@pytest.mark.parametrize("wrap", [torch_zip, old_tar])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "model.gguf"])
def test_a_wrapped_pickle_is_refused(folder, name, wrap):
    """PyTorch's own archives, under an innocent name."""
    (folder / name).write_bytes(wrap(pickle.dumps(Trap(folder / "sprung"))))
    with pytest.raises(ConfigurationError, match="archive"):
        check_weights(folder)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "a.pt", "a.pth", "A.CKPT", "a.pkl", "a.npy", "a.joblib"]
)
def test_pickled_names_are_refused_beside_good_weights(folder, name):
    """Even an empty one: an engine might prefer it."""
    (folder / name).write_bytes(b"")
    with pytest.raises(ConfigurationError, match="pickled"):
        check_weights(folder)


@pytest.mark.parametrize("name", ["model.onnx", "a.h5", "weights.dat", "model.safetensors.part", "lib.so"])
def test_other_formats_are_refused(folder, name):
    """What is not known to be harmless could be weights."""
    (folder / name).write_bytes(b"something else")
    with pytest.raises(ConfigurationError, match="neither safetensors nor GGUF"):
        check_weights(folder)


def test_a_pickle_deep_in_the_folder_is_found(folder):
    """Every folder below is looked through."""
    deep = folder / "original" / "more"
    deep.mkdir(parents=True)
    (deep / "notes.txt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ConfigurationError, match=r"notes\.txt is a pickle"):
        check_weights(folder)


def test_a_linked_folder_is_refused(folder, tmp_path):
    """What lies behind it would not be looked at."""
    (tmp_path / "elsewhere").mkdir()
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="link"):
        check_weights(folder)


def test_linked_files_are_looked_at(folder, tmp_path):
    """Model hubs' tools link to a store; the bytes behind the link decide."""
    bad = tmp_path / "blob"
    bad.write_bytes(pickle.dumps([1, 2, 3]))
    (folder / "more.safetensors").symlink_to(bad)
    with pytest.raises(ConfigurationError, match="pickle"):
        check_weights(folder)
    bad.unlink()
    with pytest.raises(ConfigurationError, match="broken link"):
        check_weights(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:4],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"x" * (len(data) - 8),
        lambda data: struct.pack("<Q", 2) + b"[]",
        lambda _data: framed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, 8),
        lambda _data: framed({"a": {"data_offsets": [0, 4]}, "b": {"data_offsets": [2, 6]}}, 6),
        lambda _data: framed({"a": {"data_offsets": [0.0, 4.0]}}, 4),
        lambda _data: framed({"a": {"data_offsets": [4, 0]}}, 4),
        lambda _data: framed({"a": 7}, 4),
    ],
)
def test_a_damaged_safetensors_is_refused(tmp_path, change):
    """Cut off, longer, without a header, with tensors that overlap or leave gaps."""
    path = write_safetensors(tmp_path / "m.safetensors")
    check_safetensors(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ConfigurationError, match=r"m\.safetensors"):
        check_weights(path)


def framed(header: dict, size: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * size


def test_a_header_that_begins_like_a_pickle_is_not_one(tmp_path):
    """A header of 640 bytes begins with the bytes 80 02, as a pickle of protocol 2 does."""
    text = json.dumps({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode().ljust(0x280)
    data = struct.pack("<Q", len(text)) + text + b"\0" * 4
    assert data[:2] == b"\x80\x02"
    (tmp_path / "m.safetensors").write_bytes(data)
    assert check_weights(tmp_path / "m.safetensors").files[0].kind == "safetensors"


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF",
        b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0),
        b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
        b"GGML" * 9,
    ],
)
def test_a_damaged_gguf_is_refused(tmp_path, data):
    """Too short, promising more than it holds, of another version or kind."""
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(ConfigurationError):
        check_weights(tmp_path / "m.gguf")


def test_text_is_no_pickle():
    """What lies beside models must not be taken for one."""
    for text in (
        b"",
        b"I am a model.\n",
        b"{}",
        b"# Title\n",
        b"(c) 2026\n",
        b"MIT License",
        b"IQ== 0\nIg== 1\n",
    ):
        assert not reads_as_pickle(text)


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path):
    """No weights, no model."""
    with pytest.raises(ConfigurationError, match="no weights"):
        check_weights(tmp_path)
    with pytest.raises(ConfigurationError, match="no model"):
        check_weights(tmp_path / "none")


def test_a_single_file_is_compared_with_its_digest(tmp_path):
    """The one that was promised, in either case of letters, and no other."""
    path = write_safetensors(tmp_path / "m.safetensors")
    assert check_weights(path, digest(path).upper()).files[0].sha256 == digest(path)
    with pytest.raises(ChecksumMismatch, match="differs"):
        check_weights(path, "0" * 64)


def test_a_folder_is_compared_with_its_sums(folder):
    """As sha256sum writes them, companions included."""
    names = ["model-00001-of-00001.safetensors", "config.json"]
    sums = "".join(f"{digest(folder / name)}  ./{name}\n" for name in names)
    (folder / "SHA256SUMS").write_text(sums)
    assert check_weights(folder).files[0].sha256 == digest(folder / names[0])
    (folder / "config.json").write_text("{}")
    with pytest.raises(ChecksumMismatch, match=r"config\.json"):
        check_weights(folder)


def test_sums_must_name_all_weights_and_nothing_that_is_missing(folder):
    """A second file of weights that nobody vouched for, or one that went."""
    name = "model-00001-of-00001.safetensors"
    (folder / "SHA256SUMS").write_text(f"{digest(folder / name)} *{name}\n")
    shutil.copy(folder / name, folder / "extra.safetensors")
    with pytest.raises(ChecksumMismatch, match="every file"):
        check_weights(folder)
    (folder / "extra.safetensors").unlink()
    (folder / "SHA256SUMS").write_text(f"{digest(folder / name)}  {name}\n{'0' * 64}  gone.safetensors\n")
    with pytest.raises(ChecksumMismatch, match=r"gone\.safetensors"):
        check_weights(folder)


@pytest.mark.parametrize("line", ["not a digest", f"{'0' * 64}  ../outside", f"{'0' * 63}  a"])
def test_a_strange_list_of_sums_is_refused(folder, line):
    """It must not lead out of the folder, nor be skipped because it cannot be read."""
    (folder / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(ConfigurationError, match="SHA256SUMS"):
        check_weights(folder)


def test_one_digest_does_not_speak_for_a_folder(folder):
    """It would be unclear for which file."""
    with pytest.raises(ConfigurationError, match="folder"):
        check_weights(folder, "0" * 64)
