"""Vectors of questions and of passages, by one model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.embeddings.encoder import Encoder, LocalEncoder
from infra.embeddings.encoder_process import ProcessEncoder
from infra.embeddings.model_folder import Dtype, ModelFolder, packaged_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Fastest of 8, 16 and 32 on one core.
BATCH: Final = 16


class Embedder:
    """One embedding model, for questions and passages; safe for threads.

    A question never waits for passages, whose batches have lanes of their own. `max_tokens`, `dimensions`,
    `tag` and `count_tokens` come from the model's small files, so that a process which only counts tokens
    never loads PyTorch.
    """

    def __init__(self, model_path: Path | None, dtype: Dtype = "bfloat16", *, apart: bool = False) -> None:
        """Check the model's folder; nothing heavy is loaded yet.

        `model_path` is a local sentence-transformers folder, None the model that a package ships. With
        `apart` the model runs in a process of its own, until `close`. Raises ConfigurationError for a
        missing or unusable folder and for weights that are not safetensors.
        """
        self._folder = ModelFolder(model_path or packaged_model())
        self._dtype: Dtype = dtype
        self._encoder: Encoder = (ProcessEncoder if apart else LocalEncoder)(self._folder, dtype)
        # Its threads only wait for the encoder, one for each batch that it takes.
        self._passages = ThreadPoolExecutor(self._encoder.lanes, thread_name_prefix="embedding")
        self._questions = threading.BoundedSemaphore(self._encoder.lanes)

    def embed_passages(
        self, texts: Sequence[str], on_progress: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions), in the order of `texts`.

        A text longer than `max_tokens` is cut. The same list gives the same bits. `on_progress` gets the
        number of texts done after each batch; what it raises ends the work. Raises ModelUnavailable.
        """
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        under_way = [
            (batch, self._passages.submit(self._encoder.encode, [texts[at] for at in batch], "document"))
            for batch in _batches(texts)
        ]
        try:
            done = 0
            for batch, future in under_way:
                vectors[batch] = future.result()
                done += len(batch)
                on_progress(done)
        finally:
            for _, future in under_way:
                future.cancel()
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of a question, shape (dimensions,), ahead of waiting passages."""
        with self._questions:
            vector: NDArray[np.float32] = self._encoder.encode([text], "query")[0]
            return vector

    def embed_sentences(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors like `embed_passages`, ahead of waiting passages; for a person who waits."""
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for batch in _batches(texts):
            with self._questions:
                vectors[batch] = self._encoder.encode([texts[index] for index in batch], "document")
        return vectors

    def count_tokens(self, text: str) -> int:
        """Count the model's tokens in `text`, to compare with `max_tokens`; needs no PyTorch."""
        return self._folder.count_tokens(text)

    @property
    def max_tokens(self) -> int:
        """How many tokens of a passage are read: the model's limit less its own marks and prompt."""
        return self._folder.max_tokens

    @cached_property
    def dimensions(self) -> int:
        """The length of every vector."""
        return self._folder.dimensions or self._encoder.load()

    @cached_property
    def tag(self) -> str:
        """16 hex digits that change with the model's files and arithmetic; names its index."""
        return self._folder.tag(self._dtype)

    def load(self) -> None:
        """Load the model now rather than at first use; takes seconds the first time.

        Raises ConfigurationError when the folder holds no model that can be used.
        """
        self._encoder.load()

    def close(self) -> None:
        """Let go of the model; the next use loads it again."""
        self._encoder.close()


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield positions, texts of similar length together: a batch costs what its longest text costs."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]
