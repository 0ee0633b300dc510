"""A set runs from its files to its report, in a throw-away Strongroom with the real parts."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_world import ANSWERABLE, DOCUMENTS, UNANSWERABLE, write_world

from infra.embeddings import Embedder
from infra.errors import Conflict, InvalidInput, ModelUnavailable
from infra.settings import Settings
from services.cli.evaluate import Answers
from services.cli.evaluation import Wishes, compare_runs, run
from services.evaluation.report import page
from services.evaluation.results import Run, SetResult
from services.evaluation.running import run_set
from services.evaluation.sets import QuestionSet, read_set
from services.evaluation.trial import TAKEN, trial_of, trial_settings
from tests.scripted_model import ScriptedModel, obedient

# Stores, keys, addresses, people, and what does not change an answer.
LEFT = frozenset(
    """profile data_dir host port public_url trusted_proxies url replica log_level database_url qdrant_url
    qdrant_api_key broker_url master_key_file master_key pkcs11_module pkcs11_token pkcs11_key_label
    pkcs11_pin quote_only upload_max_bytes question_max_chars parse_memory_bytes parse_cpu_s parse_wall_s
    parse_max_pages parse_max_expanded_bytes answer_from_hidden_text sources session_hours audit_timeout_s
    strict_answers break_glass break_glass_minutes witnesses syslog_url syslog_ca_file
    syslog_certificate_file syslog_key_file leak_test_hour retention_days retention_hour oidc ldap
    scim_directory""".split()
)


@pytest.fixture(scope="module")
def world_set(tmp_path_factory: pytest.TempPathFactory) -> QuestionSet:
    """The small world, read from its files."""
    return read_set(write_world(tmp_path_factory.mktemp("sets") / "house"))


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of an operator whose stores must stay untouched."""
    folder = tmp_path_factory.mktemp("operator") / "data"
    return Settings(
        data_dir=folder,
        profile="server",
        database_url="postgresql+psycopg://nobody@127.0.0.1:1/none",
        qdrant_url="http://127.0.0.1:1",
        broker_url="redis://127.0.0.1:1",
    )


@pytest.fixture(scope="module")
def result(world_set: QuestionSet, operators: Settings, embedder: Embedder) -> SetResult:
    """The set, run once in a trial with quotes."""
    seen: list[tuple[int, int]] = []
    with trial_of(operators, embedder, generated=False) as trial:
        trial.fill(world_set.documents, lambda done, total: seen.append((done, total)))
        assert seen[-1] == (len(DOCUMENTS), len(DOCUMENTS))
        return run_set(trial, world_set, with_answers=True, seed=1, on_progress=lambda done, total: None)


def test_every_question_is_searched_and_answered(result: SetResult) -> None:
    """Each has a row; the right document leads, and the answer cites it and holds the known words."""
    rows = {row.id: row for row in result.rows}
    assert set(rows) == {*ANSWERABLE, *UNANSWERABLE}
    assert result.passages == len(DOCUMENTS)
    for name in ANSWERABLE:
        row = rows[name]
        assert (row.ndcg, row.reciprocal_rank, row.status) == (1.0, 1.0, "answered"), name
        assert (row.citation_recall, row.faithfulness, row.answer_words) == (1.0, 1.0, 1.0), name
        assert row.evidence_ms is not None
        assert row.answer_ms is not None
        assert 0 < row.evidence_ms <= row.answer_ms
    assert all(rows[name].ndcg is None and rows[name].citation_precision is None for name in UNANSWERABLE)


def test_saying_no_is_measured(result: SetResult) -> None:
    """Questions about other things are abstained from, and the scores tell them apart."""
    found = {name: value.value for name, value in result.measures.items()}
    assert found["abstention_recall"] == 1.0
    assert found["abstention_precision"] == 1.0
    assert found["abstention_accuracy"] == 1.0
    assert found["auroc_evidence"] == 1.0
    assert found["auroc_cosine"] == 1.0
    assert 0.0 <= found["auroc_fused"] <= 1.0
    assert result.measures["held_out_accuracy"].low is None
    assert {"search", "first evidence", "whole answer"} == set(result.latencies)


def test_the_report_is_one_page_that_fetches_nothing(result: SetResult) -> None:
    """It has plots of every kind, no script, no address, and no question's text."""
    text = page(Run("quotes", "2026-01-01T00:00:00+00:00", 1, [result]))
    for forbidden in ("<script", "http://", "https://", "src=", "url(", "@import", "javascript:"):
        assert forbidden not in text.replace("http-equiv", "")
    assert text.count("<svg") >= 4
    assert "Content-Security-Policy" in text
    assert not any(question in text for question, _, _ in ANSWERABLE.values())
    assert all(name in text for name in UNANSWERABLE)


def test_the_operators_stores_are_not_touched(result: SetResult, operators: Settings) -> None:
    """Although they could not even be reached, the trial ran; and it left nothing behind."""
    assert result.configuration["answers"] == "quotes"
    assert not operators.data_dir.exists()


def test_a_trial_is_removed(world_set: QuestionSet, operators: Settings, embedder: Embedder) -> None:
    """Its folder is gone afterwards, also when something fails in between."""
    place = Path(tempfile.gettempdir())
    others = set(place.glob("strongroom-trial-*"))
    with pytest.raises(ZeroDivisionError), trial_of(operators, embedder, generated=False) as trial:
        trial.fill(world_set.documents[:1], lambda done, total: None)
        (folder,) = set(place.glob("strongroom-trial-*")) - others
        assert (folder / "keys").is_dir()
        raise ZeroDivisionError
    assert not folder.exists()


def test_every_setting_is_taken_or_left() -> None:
    """A new setting has to be sorted: one that changes answers is taken, and never a store or a key."""
    assert frozenset(Settings.model_fields) == TAKEN | LEFT
    assert not TAKEN & LEFT


def test_what_a_trial_does_not_take_has_its_default(operators: Settings, tmp_path: Path) -> None:
    """No address or key of the operator's is in a trial's settings."""
    own = trial_settings(operators, tmp_path, generated=True)
    assert (own.profile, own.database_url, own.qdrant_url, own.broker_url) == ("embedded", None, None, None)
    assert own.resolved_master_key_file.is_relative_to(tmp_path)
    assert (own.data_dir, own.quote_only) == (tmp_path, False)


def test_a_model_that_is_not_there(operators: Settings, embedder: Embedder, tmp_path: Path) -> None:
    """Generated answers are not measured without a model; quotes must not pass for them."""
    without = operators.model_copy(update={"models_dir": tmp_path})
    with pytest.raises(ModelUnavailable), trial_of(without, embedder, generated=True):
        pass


def test_generated_answers_are_measured(
    world_set: QuestionSet, operators: Settings, embedder: Embedder
) -> None:
    """The configured model's sentences count, with their own citations; its digest is told."""
    few = replace(world_set, questions=world_set.questions[:1])
    with ScriptedModel(lambda prompt: obedient(prompt, most=1)) as model:
        asked = operators.model_copy(update={"model_base_url": model.base_url})
        with trial_of(asked, embedder, generated=True) as trial:
            trial.fill(few.documents, lambda done, total: None)
            found = run_set(trial, few, with_answers=True, seed=1, on_progress=lambda done, total: None)
    (row,) = found.rows
    assert len(model.prompts) == 1
    assert (row.status, row.mode, row.statements) == ("answered", "generated", 1)
    assert (row.citation_precision, row.citation_recall, row.faithfulness) == (1.0, 1.0, 1.0)
    assert found.configuration["answers"] == "generated"
    assert found.configuration["language model"].startswith("scripted@")


def test_the_command_writes_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of the search alone is printed and kept; compared with itself it shows no difference."""
    data, out = write_world(tmp_path / "house"), tmp_path / "out"
    settings = Settings(data_dir=tmp_path / "data")
    wishes = Wishes((data,), Answers.NONE, out, "as it is", None, 1)
    run(settings, wishes, api_key=None, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((out / "results.json").read_text())
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    results = out / "results.json"
    compare_runs(results, results, out=tmp_path / "compared", seed=1, as_json=True)
    compared = {each["measure"]: each for each in json.loads(capsys.readouterr().out)["compared"]}
    ndcg = compared["ndcg"]
    assert (ndcg["base"], ndcg["new"], ndcg["paired"]["p"]) == (1.0, 1.0, 1.0)
    assert "against as it is" in (tmp_path / "compared" / "report.html").read_text()
    assert not settings.data_dir.exists()


def test_what_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """A folder that is in use, two sets of one name, and files that are no results."""
    data = write_world(tmp_path / "house")
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(Conflict):
        run(settings, Wishes((data,), Answers.NONE, data, "x", None, 1), api_key=None, as_json=True)
    with pytest.raises(InvalidInput, match="Two sets are called house"):
        run(settings, Wishes((data, data), Answers.NONE, None, "x", None, 1), api_key=None, as_json=True)
    with pytest.raises(InvalidInput, match="holds no results"):
        compare_runs(data / "qrels.tsv", data / "qrels.tsv", out=None, seed=1, as_json=True)
