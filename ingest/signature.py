"""The MinHash signature of a text, by which near-duplicates are known (`infra.resemblance`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import numpy as np

from infra.resemblance import PERMUTATIONS

SHINGLE_WORDS: Final = 5
FEWEST_WORDS: Final = 50
"""Below this, a letterhead makes two notes look alike."""
MOST_SHINGLES: Final = 20_000
_WORD: Final = re.compile(r"\w+")


def signature_of(texts: Iterable[str]) -> bytes | None:
    """Return the signature of a document's texts: PERMUTATIONS little-endian 32-bit numbers.

    It is of the runs of five words, in lower case, of the first 20,000 words. None for too short a text.
    """
    # It brings SciPy along, which takes seconds that only a process with documents to read should pay.
    from datasketch import MinHash

    words: list[str] = []
    for text in texts:
        words += _WORD.findall(text.lower())
        if len(words) > MOST_SHINGLES:
            break
    if len(words) < FEWEST_WORDS:
        return None
    made = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32")
    made.update_batch({" ".join(words[at : at + SHINGLE_WORDS]).encode() for at in range(len(words) - 4)})
    return np.asarray(made.hashvalues, dtype="<u4").tobytes()
