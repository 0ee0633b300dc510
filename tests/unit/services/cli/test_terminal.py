"""What is printed cannot take over the terminal, and sizes read well."""

from __future__ import annotations

import pytest

from services.cli.terminal import in_words, plain


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b[2Jinvoice.pdf", "[2Jinvoice.pdf"),
        ("a\x9b31mb", "a31mb"),
        ("safe\rowned", "safeowned"),
        ("\u202efdp.exe", "fdp.exe"),
        ("\u2066x\u2069", "x"),
        ("\x07\x08\x7f", ""),
    ],
)
def test_control_characters_are_left_out(hostile, harmless):
    """A document or file name that holds terminal commands prints as text."""
    assert plain(hostile) == harmless


def test_ordinary_text_stays():
    """Letters of any script, line breaks and tabs pass unchanged."""
    text = "Jahresurlaub – 28 Tage\n\tघर 🙂"
    assert plain(text) == text


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_117_320_768, "1.1 GB"),
        (10**13, "10000.0 GB"),
    ],
)
def test_sizes_are_in_si_units(size, words):
    """Sizes are counted in thousands, as disks and networks are."""
    assert in_words(size) == words
