"""Upload the development corpus as files through the API and ask its questions.

    python -m bench.quality [--data FOLDER] [--model]

Prints, for each question, where the first page that is listed as correct stands among the citations, and
how many questions have one among the first 1, 3 and 5. `--model` asks the generating assistant as well and
prints its outcomes. Skips, visibly, where the development data is absent.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.serving import ROOT, Person, Server, ask, finished_job, upload

DATA = ROOT.parent / "shared" / "bench" / "enterprise_northwind"
AMONG = (1, 3, 5)


def main() -> int:
    """Run the measurement and print a Markdown table."""
    options = _options()
    if not options.data.is_dir():
        print(f"SKIPPED: the development data is not at {options.data.name}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        flags = () if options.model else ("--quote-only",)
        server = Server(Path(folder), flags=flags).start()
        try:
            person = server.person("Bench")
            _ingest(person, sorted((options.data / "raw_docs").glob("*.pdf")))
            _questions(person, options.data, with_model=options.model)
        finally:
            server.stop()
    return 0


def _ingest(person: Person, files: list[Path]) -> None:
    started = time.monotonic()
    jobs = [upload(person.client, file.name, file.read_bytes())["x_job"]["id"] for file in files]
    done = [finished_job(person.client, job, within_s=900) for job in jobs]
    passages = sum(job["passages"] or 0 for job in done)
    took = time.monotonic() - started
    states = sorted({job["state"] for job in done})
    print(f"{len(files)} files, {passages} passages in {took:.1f} s ({passages / took:.1f}/s), {states}\n")


def _questions(person: Person, data: Path, *, with_model: bool) -> None:
    listed = _listed_pages(data / "qrels.tsv")
    model = "strongroom" if with_model else "strongroom-quote"
    ranks: list[int | None] = []
    waits: list[float] = []
    outcomes: dict[str, int] = defaultdict(int)
    print("| question | first listed page at | status | seconds |\n|---|---|---|---|")
    for line in (data / "queries.jsonl").read_text().splitlines():
        query = json.loads(line)
        started = time.monotonic()
        answer = ask(person.client, query["text"], model=model)
        waits.append(time.monotonic() - started)
        rank = _first_listed(answer, listed[query["id"]])
        ranks.append(rank)
        outcomes[answer["x_answer"]["status"]] += 1
        print(f"| {query['id']} | {rank or '–'} | {answer['x_answer']['status']} | {waits[-1]:.2f} |")
    for among in AMONG:
        hits = sum(rank is not None and rank <= among for rank in ranks)
        print(f"\nAmong the first {among}: {hits} of {len(ranks)}", end="")
    print(f"\n\nOutcomes: {dict(outcomes)}; median wait {sorted(waits)[len(waits) // 2]:.2f} s")


def _listed_pages(path: Path) -> dict[str, set[str]]:
    pages: dict[str, set[str]] = defaultdict(set)
    for line in path.read_text().splitlines()[1:]:
        query, page, _grade = line.split("\t")
        pages[query].add(page)
    return pages


def _first_listed(answer: dict[str, Any], pages: set[str]) -> int | None:
    for citation in answer["x_citations"]:
        if f"{citation['file']['name']}#page={citation['page']}" in pages:
            return int(citation["n"])
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", action="store_true", help="ask the generating assistant")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
