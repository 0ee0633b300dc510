"""The catalogue of models: complete, honest about its sources, and closed to nonsense."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

from infra.errors import ConfigurationError, InvalidInput
from infra.models.families import CATALOGUE_FILE, catalogue, read_catalogue
from infra.models.serving import serving_lines, vllm_flags

FAMILIES = {
    *("deepseek-v3", "deepseek-r1", "qwen2.5", "qwen3", "qwen3.5", "llama3.1", "llama4", "gpt-oss"),
    *("mistral", "mixtral", "gemma3", "glm5", "kimi-k2.5"),
}
SMALL = """
[sources]
card = "the maker's card"

[formats.bf16]
title = "BF16"
bits = 16.0
files = "safetensors"
engine = "vllm"

[serving]
vllm = ["vllm serve {folder}"]

[[family]]
name = "f"
title = "F"
maker = "M"
country = "C"
licence = "MIT"
conditions = "Any use."
thinking = { switch = "none" }

[[family.model]]
name = "f-1"
title = "F-1"
repository = "m/F-1"
total = 1.0
context = 4096
attention = { query_heads = 8, full_layers = 2, kv_heads = 4, head_size = 64 }
formats = ["bf16"]
checked = { licence = "card" }
"""


def read(tmp_path, text):
    path = tmp_path / "families.toml"
    path.write_text(text)
    return read_catalogue(path)


def test_the_families_that_teams_bring_are_there():
    """Each family of the issue, with the distills, both gpt-oss and both Llama 4."""
    assert {family.name for family in catalogue().families} == FAMILIES
    names = {model.name for model in catalogue().models}
    distills = {f"deepseek-r1-distill-qwen-{size}b" for size in ("1.5", "7", "14", "32")}
    distills |= {"deepseek-r1-distill-llama-8b", "deepseek-r1-distill-llama-70b"}
    assert distills | {"gpt-oss-20b", "gpt-oss-120b", "llama-4-scout", "llama-4-maverick"} <= names


@pytest.mark.parametrize("model", catalogue().models, ids=lambda model: model.name)
def test_an_entry_says_what_it_must(model):
    """Licence with conditions, maker, sizes, formats; parsers that vLLM knows; lines for some engine."""
    assert model.licence
    assert model.conditions.endswith(".")
    assert model.maker
    assert model.country
    assert 0 < model.active <= model.total
    bits = [int(form.bits) for form in model.formats]
    assert bits == sorted(bits, reverse=True)
    assert model.reasoning_parser in {
        *(None, "deepseek_r1", "deepseek_v3", "qwen3", "openai_gptoss", "mistral", "glm45", "kimi_k2")
    }
    assert model.tool_parser in {
        *(None, "deepseek_v3", "deepseek_v31", "deepseek_v32", "hermes", "qwen3_coder", "llama3_json"),
        *("llama4_pythonic", "openai", "mistral", "pythonic", "glm47", "kimi_k2"),
    }
    assert serving_lines(catalogue(), model)


def test_the_page_counts_right():
    """docs/models.md says how much is in the catalogue."""
    page = (CATALOGUE_FILE.parents[2] / "docs" / "models.md").read_text()
    assert f"{len(catalogue().models)} models of {len(catalogue().families)} families" in page


def test_a_figure_without_a_source_counts_as_unverified():
    """What was not read anywhere is said: the sampling of Llama, the linear layers of one Qwen."""
    assert "sampling" in catalogue().find("llama-3.1-8b").unverified
    assert "attention" in catalogue().find("qwen3.5-122b-a10b").unverified
    assert catalogue().find("qwen3-32b").unverified == ()


def test_an_unknown_figure_is_left_out():
    """Nothing stands where nothing was found: the layers of Mistral Large 3."""
    assert catalogue().find("mistral-large-3-675b").attention is None


def test_every_source_is_used():
    """No source is named that nothing was read from."""
    document = tomllib.loads(CATALOGUE_FILE.read_text())
    text = CATALOGUE_FILE.read_text().split("# --- quantisations")[1]
    assert [key for key in document["sources"] if f'"{key}"' not in text] == []


def test_the_starters_own_size_is_in_it():
    """The one Q4_K_M that this project has measured is the one that the catalogue gives."""
    from infra.models.catalogue import GIB, MEDIUM

    known = catalogue().find("qwen2.5-1.5b").weights_gib["q4_k_m"]
    assert known * GIB == pytest.approx(MEDIUM.size, rel=0.001)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("qwen3-32b", "qwen3-32b"),
        ("/models/Qwen3.5-27B-FP8", "qwen3.5-27b"),
        ("gpt-oss:20b", "gpt-oss-20b"),
        ("DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf", "deepseek-r1-distill-qwen-7b"),
        ("Qwen3-30B-A3B-GPTQ-Int4", "qwen3-30b-a3b"),
    ],
)
def test_a_servers_name_is_recognised(name, found):
    """With or without the maker, a folder, a quantisation behind it."""
    recognised = catalogue().recognise(name)
    assert recognised is not None
    assert recognised.name == found


@pytest.mark.parametrize("name", ["qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "m", "", "deepseek"])
def test_another_model_is_not_taken_for_one_of_these(name):
    """A similar name is not the same model."""
    assert catalogue().recognise(name) is None


def test_a_wrong_name_is_answered_with_close_ones():
    """A slip is met with what it may have meant."""
    with pytest.raises(InvalidInput) as caught:
        catalogue().find("qwen3-23b")
    assert "qwen3-32b" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("total = 1.0", "total = -1.0", "total"),
        ("total = 1.0", "total = nan", "total"),
        ("total = 1.0", "total = true", "total"),
        ("total = 1.0", "total = 1.0\nactive = 2.0", "active"),
        ("total = 1.0", "", "total"),
        ("context = 4096", "context = 4096.5", "context"),
        ('formats = ["bf16"]', 'formats = ["bf17"]', "bf17"),
        ('formats = ["bf16"]', 'formats = ["bf16", "bf16"]', "twice"),
        ('formats = ["bf16"]', 'formats = ["bf16"]\nweights = { fp8 = 1.0 }', "fp8"),
        ("kv_heads = 4", "kv_heads = 16", "kv_heads"),
        (", kv_heads = 4, head_size = 64", "", "latent_size"),
        ("kv_heads = 4", "kv_heads = 4, latent_size = 5", "latent_size"),
        ("kv_heads = 4", "kv_heads = 4, window_layers = 5", "window"),
        ("query_heads = 8, ", "", "query_heads"),
        ('{ switch = "none" }', '{ switch = "sometimes" }', "switch"),
        ('{ switch = "none" }', '{ switch = "template", default = "on" }', "on and off"),
        ('checked = { licence = "card" }', 'checked = { licence = "hearsay" }', "hearsay"),
        ('checked = { licence = "card" }', 'checked = { weather = "card" }', "weather"),
        ('licence = "MIT"', 'license = "MIT"', "license"),
        ('licence = "MIT"', 'licence = " "', "licence"),
        ('engine = "vllm"', 'engine = "steam"', "engine"),
        ("bits = 16.0", "bits = 0.0", "bits"),
        ("[[family.model]]", "[family.model]", "model"),
        ("[sources]", "[sources", "cannot be read"),
    ],
)
def test_nonsense_is_refused_and_named(tmp_path, old, new, word):
    """A slip of the pen in the data is a ConfigurationError that says where."""
    assert read(tmp_path, SMALL).models[0].name == "f-1"
    assert old in SMALL
    with pytest.raises(ConfigurationError, match=re.escape(word)):
        read(tmp_path, SMALL.replace(old, new, 1))


def test_two_models_of_one_name_are_refused(tmp_path):
    """A name leads to one model."""
    twice = SMALL + SMALL[SMALL.index("[[family.model]]") :]
    with pytest.raises(ConfigurationError, match="another of this name"):
        read(tmp_path, twice)


def test_a_missing_file_is_a_configuration_error(tmp_path):
    """Not a traceback."""
    with pytest.raises(ConfigurationError):
        read_catalogue(tmp_path / "none.toml")


@pytest.mark.parametrize("model", catalogue().models, ids=lambda model: model.name)
def test_the_lines_stay_on_this_machine_and_download_nothing(model):
    """Every line binds to 127.0.0.1 or to nothing, reads local files, and is one that a shell can read."""
    lines = serving_lines(catalogue(), model, gpus=2, context=4096, answers=3)
    assert lines
    for commands in lines.values():
        for command in commands:
            words = shlex.split(command)
            assert not {"0.0.0.0", "pull", "get", "-hf"} & set(words)
            assert "{" not in command.replace("'{", "")
    if "vllm" in lines:
        [line] = lines["vllm"]
        words = shlex.split(line)
        assert words[words.index("--host") + 1] == "127.0.0.1"
        assert words[words.index("--tensor-parallel-size") + 1] == "2"
        assert words[words.index("serve") + 1].startswith("/models/")
        assert "HF_HUB_OFFLINE=1" in words
        assert all(flag in line for flag in vllm_flags(model))


def test_llama_cpp_gets_the_context_of_all_answers():
    """It divides --ctx-size among its slots."""
    [line] = serving_lines(catalogue(), catalogue().find("qwen3-8b"), gpus=0, context=4096, answers=3)[
        "llama_cpp"
    ]
    assert "--ctx-size 12288 --parallel 3" in line
    assert "--n-gpu-layers 0" in line
