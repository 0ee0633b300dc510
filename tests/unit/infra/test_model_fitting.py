"""What fits: the arithmetic against figures worked out by hand, and honesty at its edges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.errors import InvalidInput
from infra.models.catalogue import GIB
from infra.models.entries import Attention
from infra.models.families import catalogue
from infra.models.fitting import (
    Hardware,
    Verdict,
    Workload,
    cache_bytes,
    fit,
    parse_gpus,
    parse_main_memory,
    weight_bytes,
)

ONE = Workload(context=8192, answers=1)


def model(name):
    return catalogue().find(name)


@pytest.mark.parametrize(
    ("words", "gpus", "gib"),
    [("2x80GB", 2, 80), ("24GB", 1, 24), ("24", 1, 24), (" 8 X 141 gib", 8, 141), ("4*23.5G", 4, 23.5)],
)
def test_gpus_are_read(words, gpus, gib):
    """A number of devices, and what each has."""
    assert parse_gpus(words) == Hardware(gpus, int(gib * GIB))


@pytest.mark.parametrize(
    "words", ["", "lots", "0x80GB", "2x", "x80GB", "-1x80", "2x80TB", "2x0GB", "9999x80GB"]
)
def test_nonsense_is_no_hardware(words):
    """A typing mistake must not become an answer."""
    with pytest.raises(InvalidInput):
        parse_gpus(words)


def test_main_memory_is_read():
    """One memory, no devices."""
    assert parse_main_memory("64GB") == Hardware(0, 64 * GIB)
    with pytest.raises(InvalidInput):
        parse_main_memory("2x64GB")


def test_the_cache_of_grouped_heads():
    """Qwen3-32B: 64 layers x 8 heads x 128 x 2 vectors x 2 bytes = 256 KiB a token."""
    assert cache_bytes(model("qwen3-32b").attention, ONE) == 256 * 1024 * 8192
    assert cache_bytes(model("qwen3-32b").attention, Workload(8192, 4)) == 4 * 256 * 1024 * 8192


def test_heads_are_divided_among_gpus_until_there_is_one_each():
    """Four heads over eight GPUs: each of them holds one whole."""
    attention = model("qwen3-235b-a22b").attention
    whole = cache_bytes(attention, ONE)
    assert cache_bytes(attention, ONE, parts=2) == whole // 2
    assert cache_bytes(attention, ONE, parts=4) == whole // 4
    assert cache_bytes(attention, ONE, parts=8) == whole // 4


def test_a_compressed_cache_stands_whole_on_each_gpu():
    """DeepSeek: 61 layers x (512 + 64) numbers x 2 bytes = 70,272 bytes a token, on every GPU."""
    attention = model("deepseek-v3.1").attention
    assert cache_bytes(attention, Workload(1000, 1)) == 70_272_000
    assert cache_bytes(attention, Workload(1000, 1), parts=8) == 70_272_000


def test_a_sparse_attention_keeps_an_index_too():
    """DeepSeek V3.2 keeps 128 numbers more a token and layer."""
    more = cache_bytes(model("deepseek-v3.2").attention, Workload(1000, 1)) - 70_272_000
    assert more == 61 * 128 * 2 * 1000


def test_a_window_stops_growing():
    """gpt-oss-20b: beyond 128 tokens only half of its layers grow."""
    attention = model("gpt-oss-20b").attention
    token = 2 * 8 * 64 * 2
    assert cache_bytes(attention, Workload(128, 1)) == 24 * 128 * token
    assert cache_bytes(attention, Workload(1128, 1)) == (24 * 128 + 12 * 1000) * token


def test_linear_layers_keep_a_state_of_fixed_size():
    """Qwen3.5-397B: 45 layers x 64 heads x 128 x 128 x 4 bytes for an answer of any length."""
    attention = model("qwen3.5-397b-a17b").attention
    short, long = (cache_bytes(attention, Workload(context, 1)) for context in (1000, 2000))
    assert 2 * short - long == 45 * 64 * 128 * 128 * 4


def test_weights_are_the_files_where_they_are_known():
    """Else parameters times bits."""
    known = model("gpt-oss-20b")
    assert weight_bytes(known, known.formats[0]) == int(12.8 * GIB)
    estimated = model("llama-3.1-70b")
    assert weight_bytes(estimated, estimated.formats[0]) == 141_100_000_000


@pytest.mark.parametrize(
    ("name", "hardware", "verdict", "form", "devices"),
    [
        ("llama-3.1-8b", "24GB", Verdict.TIGHT, "bf16", 1),
        ("gpt-oss-20b", "16GB", Verdict.TOO_BIG, "mxfp4", 1),
        ("gpt-oss-20b", "24GB", Verdict.FITS, "mxfp4", 1),
        ("gpt-oss-120b", "80GB", Verdict.FITS, "mxfp4", 1),
        ("qwen3-32b", "2x80GB", Verdict.FITS, "bf16", 2),
        ("llama-3.1-70b", "2x80GB", Verdict.FITS, "fp8", 2),
        ("deepseek-v3.1", "8x141GB", Verdict.FITS, "fp8", 8),
        ("kimi-k2.5", "8x141GB", Verdict.FITS, "int4", 8),
        ("glm-5", "2x80GB", Verdict.TOO_BIG, "nvfp4", 2),
    ],
)
def test_what_operators_know_comes_out(name, hardware, verdict, form, devices):
    """Cases that makers and vLLM's recipes state, such as gpt-oss-120b on one GPU of 80 GB."""
    found = fit(model(name), parse_gpus(hardware), Workload(8192, 4))
    assert (found.verdict, found.need.format.name, found.need.devices) == (verdict, form, devices)


def test_what_is_missing_is_told():
    """A model that does not fit says by how much; twice the wish is twice as far away."""
    two = fit(model("glm-5"), parse_gpus("2x80GB"), ONE).need
    assert two.spare < -100 * GIB
    assert two.weights + two.cache + two.engine + two.spare == int(80 * GIB * 0.9)


def test_more_answers_may_not_fit_at_the_same_precision():
    """The cache takes what the weights leave."""
    few, many = (fit(model("qwen3-8b"), parse_gpus("24GB"), Workload(8192, count)) for count in (1, 8))
    assert few.need.format.name == "bf16"
    assert many.need.format.bits < few.need.format.bits


def test_vllm_must_be_able_to_split_the_heads():
    """64 heads do not go over three GPUs: llama.cpp does it by layers, and the note says why."""
    found = fit(model("qwen3-32b"), parse_gpus("3x24GB"), Workload(8192, 4))
    assert found.need.format.engine == "llama.cpp"
    assert found.need.devices == 3
    assert any("64 attention heads over 3 GPUs" in note for note in found.notes)


def test_without_gpus_only_gguf_is_served():
    """Main memory is llama.cpp's; a model without GGUF is unknown there, and says so."""
    served = fit(model("qwen3-8b"), parse_main_memory("64GB"), ONE)
    assert (served.verdict, served.need.format.files) == (Verdict.FITS, "gguf")
    lacking = fit(model("glm-5"), parse_main_memory("4096GB"), ONE)
    assert (lacking.verdict, lacking.need) == (Verdict.UNKNOWN, None)
    assert "no GGUF" in lacking.notes[0]


def test_an_unknown_cache_is_never_called_a_fit():
    """Weights alone can say no, but not yes."""
    roomy = fit(model("mistral-large-3-675b"), parse_gpus("8x192GB"), ONE)
    assert roomy.verdict is Verdict.UNKNOWN
    assert "cache is not counted" in roomy.notes[0]
    assert fit(model("mistral-large-3-675b"), parse_gpus("24GB"), ONE).verdict is Verdict.TOO_BIG


def test_unverified_figures_are_said_with_the_answer():
    """Whoever buys by it must know."""
    notes = fit(model("qwen3.5-122b-a10b"), parse_gpus("4x80GB"), ONE).notes
    assert any("linear layers is not counted" in note for note in notes)
    assert any(note.startswith("Not verified: attention") for note in notes)


def test_a_longer_context_than_the_models_is_cut_and_said():
    """Nobody is told that 100,000 tokens fit a model that reads 40,960."""
    found = fit(model("qwen3-8b"), parse_gpus("80GB"), Workload(100_000, 1))
    assert found.notes == ("It reads at most 40,960 tokens; counted with these.",)
    assert found.need.cache == cache_bytes(model("qwen3-8b").attention, Workload(40_960, 1))


def test_whole_layers_go_to_a_gpu():
    """llama.cpp cannot halve a layer: three layers on two GPUs put two thirds on one of them."""
    odd = replace(
        model("qwen3-8b"),
        formats=tuple(form for form in model("qwen3-8b").formats if form.name == "q8_0"),
        attention=Attention(query_heads=32, full_layers=3, kv_heads=8, head_size=128),
    )
    found = fit(odd, Hardware(2, 10 * GIB), ONE)
    assert found.need.devices == 2
    assert found.need.weights == pytest.approx(weight_bytes(odd, odd.formats[0]) * 2 / 3, abs=2)
