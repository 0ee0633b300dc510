"""The embedding model itself, loaded into this process."""

from __future__ import annotations

import copy
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from infra.embeddings.model_folder import Dtype, ModelFolder, Role
from infra.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer


class Encoder(Protocol):
    """Whatever makes vectors of a few texts at a time."""

    @property
    def lanes(self) -> int:
        """How many batches it takes at the same time for passages, and as many more for questions."""

    def load(self) -> int:
        """Get ready now rather than at first use; returns the vectors' length. Raises ConfigurationError."""

    def encode(self, texts: list[str], role: Role) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), length), in the order of `texts`; not for no texts."""

    def close(self) -> None:
        """Let go of the model; the next use loads it again."""


class LocalEncoder:
    """The model in this process, by sentence-transformers.

    Each batch under way has a copy of the model to itself, because tokenizers keep state; the copies share
    their weights.
    """

    def __init__(self, folder: ModelFolder, dtype: Dtype, lanes: int = 1) -> None:
        """Remember the folder; nothing heavy is loaded yet."""
        self.lanes = lanes
        self._folder = folder
        self._dtype = dtype
        self._loading = threading.Lock()
        self._free: queue.LifoQueue[SentenceTransformer] | None = None
        self._length = 0

    def load(self) -> int:
        """Load the model; takes seconds the first time."""
        self._models()
        return self._length

    def encode(self, texts: list[str], role: Role) -> NDArray[np.float32]:
        """Embed `texts` as one batch."""
        import numpy as np

        models = self._models()
        model = models.get()
        try:
            encode = model.encode_query if role == "query" else model.encode_document
            tensor = encode(
                texts,
                prompt=self._folder.prompt(role),
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
        finally:
            models.put(model)
        vectors = tensor.float().numpy()
        # In single precision: a vector that was normalised in bfloat16 is off by up to 1 %.
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def close(self) -> None:
        """Let go of the model."""
        with self._loading:
            self._free = None

    def _models(self) -> queue.LifoQueue[SentenceTransformer]:
        with self._loading:
            if self._free is None:
                model = self._load()
                length = model.get_embedding_dimension()
                if length is None:
                    raise ConfigurationError(
                        f"The embedding model {self._folder.path} has no fixed vector length."
                    )
                self._length = int(length)
                self._free = queue.LifoQueue()
                for _ in range(2 * self.lanes):
                    self._free.put(_sharing_weights(model))
            return self._free

    def _load(self) -> SentenceTransformer:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        # A bar on standard error for a load of a tenth of a second only disturbs the command line's own.
        silence: Callable[[], None] = logging.disable_progress_bar
        silence()
        try:
            model = SentenceTransformer(
                str(self._folder.path),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": getattr(torch, self._dtype), "use_safetensors": True},
            )
        except Exception as error:
            # The libraries underneath raise whatever they like for a folder they cannot read.
            raise ConfigurationError(f"The embedding model {self._folder.path} cannot be loaded.") from error
        model.max_seq_length = self._folder.sequence_tokens
        return model


def _sharing_weights(model: SentenceTransformer) -> SentenceTransformer:
    """Return a copy with a tokenizer of its own; what is in the memo is taken over as it is."""
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
