"""Dense vectors from a local sentence-transformers model: nothing is fetched, no pickle is opened.

The model runs in this process or in one of its own (`apart`). There, its many short calls do not wait for
Python's interpreter lock, which a busy server's other threads hold most of the time, and a crash in native
code takes nothing else with it.
"""

from infra.embeddings.embedder import Embedder
from infra.embeddings.model_folder import DEFAULT_MODEL_PACKAGE, Dtype, ModelFolder, packaged_model

__all__ = ["DEFAULT_MODEL_PACKAGE", "Dtype", "Embedder", "ModelFolder", "packaged_model"]
