"""`strongroom models …`: tables, JSON and exit codes, as a person or a script gets them."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
import safetensors.numpy

from services.cli.program import run
from tests.unit.infra.test_model_probing import Behaviour, serving


@pytest.fixture
def strongroom(monkeypatch, tmp_path, capsys):
    """Run the command line in this process; returns its exit code, output and messages."""
    monkeypatch.setenv("STRONGROOM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STRONGROOM_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("STRONGROOM_MODEL_TIMEOUT_S", "5")
    monkeypatch.setenv("COLUMNS", "160")

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["strongroom", "models", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return command


def test_list_names_this_machine_and_the_catalogue(strongroom, tmp_path):
    """What is here, what can be fetched, what can be brought."""
    code, out, _err = strongroom("list")
    assert code == 0
    assert "models fetch" in out
    assert "gpt-oss-120b" in out
    assert "Moonshot AI, China" in out
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    code, out, _err = strongroom("list", "--json")
    found = json.loads(out)
    assert [row["bytes"] for row in found["here"] if row["state"] == "installed"] == [8]
    assert {"name", "licence", "conditions", "country", "total", "active", "context", "unverified"} <= set(
        found["catalogue"][0]
    )


def test_show_gives_conditions_sources_doubts_and_lines(strongroom):
    """Everything that a person needs before the download."""
    code, out, _err = strongroom("show", "moonshotai/Kimi-K2.5")
    text = " ".join(out.split())
    assert code == 0
    assert '20 million dollars of monthly revenue must show "Kimi K2.5"' in text
    assert "--reasoning-parser kimi_k2" in text
    assert 'off: {"chat_template_kwargs": {"thinking": false}}' in text
    assert "read: licence" in text
    code, out, _err = strongroom("show", "llama-3.1-8b")
    assert "temperature 0.6, top_p 0.9 (not verified)" in " ".join(out.split())
    code, out, _err = strongroom("show", "mistral-large-3-675b")
    assert "unknown: the layers were not found" in out


def test_show_as_json(strongroom):
    """One document with the entry, its doubts and its lines."""
    code, out, _err = strongroom("show", "qwen3-8b", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["attention"]["kv_heads"] == 8
    assert found["thinking"]["off"] == {"chat_template_kwargs": {"enable_thinking": False}}
    assert set(found["serving"]) == {"vllm", "llama_cpp", "ollama", "lm_studio"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("fit", "--gpu", "2x80GB"), 0),
        (("fit", "gpt-oss-20b", "--gpu", "24GB"), 0),
        (("fit", "glm-5", "--gpu", "24GB"), 1),
        (("fit", "mistral-large-3-675b", "--gpu", "8x192GB"), 1),
        (("fit", "--gpu", "1GB"), 1),
        (("fit", "--gpu", "plenty"), 2),
        (("fit", "--gpu", "24GB", "--cpu", "64GB"), 2),
        (("fit", "no-such-model", "--gpu", "24GB"), 2),
        (("fit", "--context", "1"), 2),
        (("show", "no-such-model"), 2),
        (("show",), 2),
        (("check", "/no/such/place"), 2),
        (("check", "http://8.8.8.8/v1"), 2),
        (("check", "http://127.0.0.1:9"), 1),
    ],
)
def test_exit_codes(strongroom, words, code):
    """0 it is well, 1 something is not, 2 the question was wrong."""
    assert strongroom(*words)[0] == code


def test_fit_lists_what_fits_and_says_what_it_counted(strongroom):
    """Without --all what is too big is left out; the named one comes with its line."""
    _code, out, _err = strongroom("fit", "--gpu", "24GB")
    assert "One GPU of 24.0 GiB; 4 answers at a time, 8,192 tokens each." in out
    assert "estimates" in out
    assert "gpt-oss-20b" in out
    assert "glm-5" not in out
    _code, out, _err = strongroom("fit", "--gpu", "24GB", "--all")
    assert "glm-5" in out
    _code, out, _err = strongroom("fit", "qwen3-32b", "--gpu", "2x80GB", "--answers", "4")
    assert "--tensor-parallel-size 2" in out
    assert "--max-num-seqs 4" in out
    _code, out, _err = strongroom("fit", "qwen3-8b", "--cpu", "64GB")
    assert "--n-gpu-layers 0" in out


def test_fit_as_json_says_how_much_is_missing(strongroom):
    """Bytes, for scripts; notes stay with their model."""
    code, out, err = strongroom("fit", "glm-5", "--gpu", "2x80GB", "--json")
    [row] = json.loads(out)["models"]
    assert (code, row["verdict"], row["format"]) == (1, "too big", "nvfp4")
    assert row["spare"] < 0
    assert err == ""


def test_fit_tells_doubts(strongroom):
    """What was not counted or not verified is said beside the table."""
    _code, _out, err = strongroom("fit", "qwen3.5-122b-a10b", "--gpu", "4x80GB")
    assert "Not verified: attention." in err
    assert "is not counted" in err


def test_this_machine_is_the_default(strongroom):
    """Its main memory, without a word about hardware."""
    _code, out, _err = strongroom("fit", "qwen2.5-1.5b", "--json")
    hardware = json.loads(out)["hardware"]
    assert hardware["gpus"] == 0
    assert hardware["bytes_each"] > 0


def test_a_good_server_is_well(strongroom):
    """Each finding on a line, and exit code 0."""
    with serving(Behaviour()) as url:
        code, out, _err = strongroom("check", url)
    assert code == 0
    assert "✓ models list: works [qwen3-8b]" in out
    assert "✓ tool calls" in out


def test_a_server_without_its_parser_is_told_what_to_add(strongroom):
    """The catalogue knows the model by its name, and vLLM's words for it."""
    behaviour = Behaviour()
    behaviour.message["tools"] = {"content": "<tool_call>{}</tool_call>"}
    with serving(behaviour) as url:
        code, out, err = strongroom("check", f"{url}/v1")
    assert code == 1
    assert "✗ tool calls" in out
    assert "--tool-call-parser hermes" in err


def test_what_a_server_does_without_is_no_failure(strongroom):
    """Tools and thinking that are not offered leave the exit code at 0."""
    behaviour = Behaviour()
    behaviour.status["tools"] = 400
    behaviour.message["plain"] = {"content": "9.9"}
    with serving(behaviour) as url:
        code, out, _err = strongroom("check", url, "--json")
    found = json.loads(out)
    verdicts = {row["name"]: row["verdict"] for row in found["checks"]}
    assert code == 0
    assert found["known_as"] == "qwen3-8b"
    assert verdicts["tool calls"] == verdicts["reasoning field"] == "not offered"


def test_the_set_key_goes_to_its_own_server_only(strongroom, monkeypatch):
    """Another server that is looked at must not learn it."""
    monkeypatch.setenv("STRONGROOM_MODEL_API_KEY", "the-key")
    own, other = Behaviour(), Behaviour()
    with serving(own) as own_url, serving(other) as other_url:
        monkeypatch.setenv("STRONGROOM_MODEL_BASE_URL", f"{own_url}/v1")
        assert strongroom("check", f"{own_url}/v1")[0] == 0
        assert strongroom("check", f"{other_url}/v1")[0] == 0
    assert {headers.get("Authorization") for _path, headers, _body in own.requests} == {"Bearer the-key"}
    assert {headers.get("Authorization") for _path, headers, _body in other.requests} == {None}


def test_files_are_checked(strongroom, tmp_path):
    """A folder with good weights, then with a pickle beside them."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "model.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    (folder / "own.py").write_text("")
    code, out, err = strongroom("check", str(folder))
    assert code == 0
    assert "not compared" in out
    assert "1 Python files" in err
    (folder / "SHA256SUMS").write_text(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  model.safetensors\n"
    )
    code, out, _err = strongroom("check", str(folder), "--json")
    assert json.loads(out)["files"][0]["sha256"]
    (folder / "pytorch_model.bin").write_bytes(b"")
    code, out, err = strongroom("check", str(folder))
    assert (code, out) == (1, "")
    assert "pickled weights" in err


def test_a_servers_control_characters_do_not_reach_the_terminal(strongroom):
    """A model's name is the server's word."""
    behaviour = Behaviour()
    behaviour.models = {"data": [{"id": "m\x1b[2Jx"}]}
    with serving(behaviour) as url:
        _code, out, _err = strongroom("check", url)
    assert "\x1b" not in out
    assert "m[2Jx" in out
