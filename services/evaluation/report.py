"""A run as one HTML file that needs nothing else: no script, no other file, nothing from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Final

from services.evaluation.chance import Estimate
from services.evaluation.comparing import Compared
from services.evaluation.plots import Series, bars, histogram, in_figures
from services.evaluation.results import MEASURES, Row, Run, SetResult

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""The page asks its reader's browser to fetch nothing, whatever might have come into it."""
_SCORES: Final = {"evidence": "Evidence score", "cosine": "Best cosine", "fused": "Best fused score"}
_STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --surface: #ffffff; --sunk: #f3f1eb; --ink: #1c2024; --soft: #585e66;
  --line: #e4e0d8; --accent: #0f6654; --warn: #85480a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --surface: #1c2024; --sunk: #0f1214; --ink: #e9e7e2; --soft: #a8adb4;
    --line: #2e343a; --accent: #74d1b8; --warn: #f0b970;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 52rem; margin: 0 auto; padding: 2.5rem clamp(1rem, 3vw, 2rem) 4rem; }
h1, h2, h3 { line-height: 1.25; font-weight: 650; letter-spacing: -.01em; text-wrap: balance; }
h1 { font-size: 1.75rem; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.soft { color: var(--soft); }
section {
  background: var(--surface); border: 1px solid var(--line); border-radius: 12px;
  padding: .25rem 1.5rem 1.5rem; margin: 2rem 0;
}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td {
  text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid var(--line);
}
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 500; }
svg { display: block; width: 100%; height: auto; margin: .5rem 0; }
svg text { fill: var(--ink); font-size: 13px; }
.ground { fill: var(--sunk); } .bar, .yes { fill: var(--accent); } .no { fill: var(--warn); }
.yes, .no { opacity: .7; }
.whisker { stroke: var(--ink); stroke-width: 1.5; fill: none; } .axis { stroke: var(--line); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 0; }
.key.yes { background: var(--accent); } .key.no { background: var(--warn); }
details { margin-top: 1.5rem; } summary { cursor: pointer; }
"""


def page(run: Run, compared: Sequence[Compared] = (), *, base: Run | None = None) -> str:
    """Return the report of a run; with what it was compared with, if it was."""
    parts = [*_head(run), *(_set(each) for each in run.sets)]
    if base is not None:
        parts.append(_comparison(base, run, compared))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY, quote=True)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.label)}: evaluation</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"
    )


def _head(run: Run) -> Iterator[str]:
    yield f"<h1>Evaluation: {escape(run.label)}</h1>\n"
    yield f'<p class="soft">{escape(run.made_at)}, seed {run.seed}. Intervals hold 95 % (bootstrap over '
    yield "questions); they say what other questions of this kind might give, not what other documents "
    yield "would. Questions are named by their ids only.</p>\n"


def _set(found: SetResult) -> str:
    passages = f", {found.passages} passages" if found.passages is not None else ""
    documents = f", {found.documents} documents" if found.documents else ""
    rows = [(MEASURES[name].title, value) for name, value in found.measures.items() if name in MEASURES]
    parts = [
        f"<section>\n<h2>{escape(found.name)}</h2>\n",
        f'<p class="soft">{found.questions} questions{documents}{passages}.</p>\n',
        bars(rows, title=f"Measures of {found.name}") if rows else "<p>Nothing could be measured.</p>",
        _measures(found.measures),
        _outcomes(found.rows),
        _latencies(found),
        *(_scores(found, key, title) for key, title in _SCORES.items()),
        _languages(found.by_lang),
        _configuration(found.configuration),
        _rows(found.rows),
        "</section>\n",
    ]
    return "".join(parts)


def _measures(measures: Mapping[str, Estimate]) -> str:
    rows = [
        (MEASURES[name].title, in_figures(value), str(value.count), MEASURES[name].says)
        for name, value in measures.items()
        if name in MEASURES
    ]
    return _details("What the measures say", _table(("Measure", "Value", "Questions", "What it says"), rows))


def _outcomes(rows: Sequence[Row]) -> str:
    kinds = {True: "answerable", False: "unanswerable", None: "not known"}
    counted = Counter((kinds[row.answerable], row.status) for row in rows if row.status is not None)
    if not counted:
        return ""
    statuses = sorted({status for _, status in counted if status is not None})
    told = [
        (kind, *(str(counted[kind, status]) for status in statuses))
        for kind in kinds.values()
        if any(counted[kind, status] for status in statuses)
    ]
    return "<h3>How answers ended</h3>\n" + _table(("Questions", *statuses), told)


def _latencies(found: SetResult) -> str:
    rows = [
        (name, f"{each.median:.0f} ms", f"{each.p95:.0f} ms", str(each.count))
        for name, each in found.latencies.items()
    ]
    drawn = histogram(
        [Series("search", "yes", [row.retrieval_ms for row in found.rows])],
        title=f"Search times of {found.name}",
        unit=" ms",
    )
    answered = [row.answer_ms for row in found.rows if row.answer_ms is not None]
    whole = histogram([Series("answer", "yes", answered)], title="Times of whole answers", unit=" ms")
    return (
        "<h3>Latency</h3>\n"
        + _table(("", "Median", "95th percentile", "Questions"), rows)
        + f'<p class="soft">Searches</p>{drawn}'
        + (f'<p class="soft">Whole answers</p>{whole}' if whole else "")
    )


def _scores(found: SetResult, key: str, title: str) -> str:
    """Draw one score's distribution for answerable and for unanswerable questions, where there are both."""
    by_kind: dict[bool, list[float]] = {True: [], False: []}
    for row in found.rows:
        value = row.evidence_score if key == "evidence" else row.scores.get(key)
        if row.answerable is not None and value is not None:
            by_kind[row.answerable].append(value)
    if not by_kind[True] or not by_kind[False]:
        return ""
    series = [Series("answerable", "yes", by_kind[True]), Series("unanswerable", "no", by_kind[False])]
    legend = " ".join(f'<span class="key {each.style}"></span>{each.name}' for each in series)
    drawn = histogram(series, title=f"{title} of {found.name}")
    return f'<h3>{escape(title)}</h3>\n<p class="soft">{legend}</p>{drawn}'


def _languages(by_lang: Mapping[str, Mapping[str, Estimate]]) -> str:
    if not by_lang:
        return ""
    names = [name for name in MEASURES if any(name in measures for measures in by_lang.values())]
    rows = [
        (lang, *(in_figures(measures[name]) if name in measures else "–" for name in names))
        for lang, measures in by_lang.items()
    ]
    titles = ("Language", *(MEASURES[name].title for name in names))
    return "<h3>By language</h3>\n" + _table(titles, rows)


def _configuration(told: Mapping[str, str]) -> str:
    return _details("Configuration", _table(("", ""), list(told.items())))


def _rows(rows: Sequence[Row]) -> str:
    titles = (
        "Question",
        f"{MEASURES['ndcg'].title}",
        "Outcome",
        "Precision",
        "Faithful",
        "Evidence",
        "Answer",
    )
    told = [
        (
            row.id,
            _figure(row.ndcg),
            row.status or "–",
            _figure(row.citation_precision),
            _figure(row.faithfulness),
            _figure(row.evidence_score),
            "–" if row.answer_ms is None else f"{row.answer_ms:.0f} ms",
        )
        for row in sorted(rows, key=lambda row: (row.ndcg is None, row.ndcg or 0.0, row.id))
    ]
    return _details(f"All {len(rows)} questions, the worst rankings first", _table(titles, told))


def _comparison(base: Run, new: Run, compared: Sequence[Compared]) -> str:
    titles = ("Set", "Measure", base.label, new.label, "Difference", "p", "Better", "Worse")
    rows = [(each.set_name, MEASURES[each.measure].title, *comparison_cells(each)) for each in compared]
    return (
        f"<section>\n<h2>{escape(new.label)} against {escape(base.label)}</h2>\n"
        f'<p class="soft">{PAIRED_NOTE}</p>\n{_table(titles, rows)}</section>\n'
    )


PAIRED_NOTE: Final = (
    "The difference is of the questions that both measured, with its 95 % interval; p is by a paired "
    "randomisation test, two-sided, and not corrected for the number of lines."
)


def comparison_cells(each: Compared) -> tuple[str, ...]:
    """Return base, new, difference, p, and how many questions went better and worse, as text."""
    if each.paired is None:
        return f"{each.base:.3f}", f"{each.new:.3f}", f"{each.new - each.base:+.3f}", "–", "–", "–"
    paired = each.paired
    difference = f"{paired.difference.value:+.3f}"
    if paired.difference.low is not None and paired.difference.high is not None:
        difference += f" ({paired.difference.low:+.3f} to {paired.difference.high:+.3f})"
    return (
        f"{paired.base:.3f}",
        f"{paired.new:.3f}",
        difference,
        f"{paired.p:.4f}",
        str(paired.better),
        str(paired.worse),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _details(title: str, inner: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{inner}</details>\n"


def _table(titles: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(map(_cell, rest))}</tr>\n' for first, *rest in rows
    )
    frame = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"
    return f'<div class="scroll"><table>\n{frame}</table></div>\n'


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"
