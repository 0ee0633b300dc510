"""What a run found travels as JSON and as a page, and two runs are compared on the same questions only."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infra.errors import InvalidInput
from services.evaluation.chance import Estimate
from services.evaluation.comparing import compare
from services.evaluation.report import page
from services.evaluation.results import Latency, Row, Run, SetResult
from services.evaluation.running import measures_of
from services.evaluation.subject import Statement

NASTY = "<script>alert(1)</script>\"'&"


class Tags(HTMLParser):
    """The tags and attributes of a page, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def rows(shift: float = 0.0) -> list[Row]:
    """Return rows of both kinds and two languages."""
    return [
        Row(
            id=f"q{n}-{NASTY}",
            lang=("de", "en")[n % 2],
            answerable=n % 3 > 0,
            retrieval_ms=5.0 + n,
            ndcg=min(1.0, n / 20 + shift) if n % 3 else None,
            scores={"cosine": n / 12, "fused": 0.01 * n},
            status="answered" if n % 3 else "abstained",
            mode="quote",
            answer_ms=30.0 + n,
            evidence_score=n / 12,
            faithfulness=1.0,
            statements=1,
        )
        for n in range(1, 13)
    ]


@cache
def measures(shift: float = 0.0) -> dict[str, Estimate]:
    """Return the measures of such rows."""
    return measures_of(rows(shift), seed=1)


def run_of(
    found: list[Row], shift: float = 0.0, *, label: str = "base", name: str = "set", sha256: str = "0" * 64
) -> Run:
    """Return a run over one set."""
    result = SetResult(
        name=name,
        sha256=sha256,
        documents=3,
        passages=None,
        questions=len(found),
        configuration={NASTY: NASTY},
        measures=measures(shift),
        by_lang={NASTY: measures(shift), "en": {}},
        latencies={"search": Latency(10.0, 17.0, len(found))},
        rows=found,
    )
    return Run(label, "2026-01-01T00:00:00+00:00", 1, [result])


def test_whatever_stands_in_a_name_is_text(tmp_path: Path) -> None:
    """A set, a label, a question and a setting may be called anything: it is shown, and does nothing."""
    run = run_of(rows(), label=NASTY, name=NASTY)
    read = Tags()
    read.feed(page(run, compare(run, run, seed=1), base=run))
    read.close()
    assert read.open == []
    assert read.names.isdisjoint({"script", "img", "link", "iframe", "a", "base", "form"})
    assert NASTY in read.text


def test_a_run_comes_back_from_its_file(tmp_path: Path) -> None:
    """JSON holds everything."""
    run = run_of(rows())
    file = tmp_path / "results.json"
    file.write_text(run.as_json())
    assert Run.read(file) == run


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"label": 1}', "\x00"])
def test_other_files_are_no_results(text: str, tmp_path: Path) -> None:
    """Whatever else a file holds is refused by its name."""
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"results\.json"):
        Run.read(file)
    with pytest.raises(InvalidInput, match="cannot be read"):
        Run.read(tmp_path / "none.json")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    """A later program's results are not guessed at."""
    file = tmp_path / "results.json"
    file.write_text(replace(run_of(rows()), format=2).as_json())
    with pytest.raises(InvalidInput, match="format 2"):
        Run.read(file)


def test_a_comparison_pairs_questions(tmp_path: Path) -> None:
    """A gain on every question shows in the test; measures without questions of their own have none."""
    base, new = run_of(rows()), run_of(rows(0.2)[::-1], 0.2, label="new")
    found = {each.measure: each for each in compare(base, new, seed=1)}
    ndcg = found["ndcg"].paired
    assert ndcg is not None
    assert (ndcg.better, ndcg.worse) == (8, 0)
    assert ndcg.p == pytest.approx(2 / 2**8)
    assert found["auroc_evidence"].paired is None


def test_only_the_same_questions_are_compared() -> None:
    """A set that changed, and runs without a common set, are refused."""
    with pytest.raises(InvalidInput, match="changed between"):
        compare(run_of(rows()), run_of(rows(), sha256="1" * 64), seed=1)
    with pytest.raises(InvalidInput, match="no set in common"):
        compare(run_of(rows()), run_of(rows(), name="other"), seed=1)


@pytest.mark.parametrize(
    ("text", "is_faithful"),
    [
        ("Employees get 25 days.", True),
        ("5 days are carried over.", True),
        ("Employees get 26 days.", False),
        ("Ask Petra Lang for it.", True),
        ("Ask Peter Lang for it.", False),
        ("25 days are carried over until March.", False),
    ],
)
def test_faithful_sentences(text: str, is_faithful: bool) -> None:
    """Numbers and names must all stand in one of the cited passages, not here and there."""
    sources = ("Employees receive 25 days. Petra Lang grants them.", "Five days are carried over to March.")
    assert Statement(text, sources).is_faithful is is_faithful
    assert not Statement("Nothing is cited.", ()).is_faithful
