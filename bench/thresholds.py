"""Show how well the evidence scores separate the corpus's questions from those on other subjects.

    python -m bench.thresholds

Indexes the development corpus, asks its own questions (answerable) and 100 questions about general knowledge
(not answerable from it), and prints the distribution of the best quote's cosine and score. The thresholds in
`agents/evidence.py` are read off this table. Skips, visibly, where the development data is absent.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from agents.evidence import MIN_COSINE, MIN_SCORE, best_quotes
from agents.retrieve import Retriever
from bench.quality import DATA
from infra.access import AccessScope, Principal, scope_of
from infra.stores import open_stores
from tests.serving import Server, finished_job, upload

OTHER_SUBJECTS = DATA.parent / "abstain_squad2" / "queries.jsonl"
QUESTIONS = 100


def main() -> int:
    """Run the measurement and print percentiles."""
    if not OTHER_SUBJECTS.exists():
        print("SKIPPED: the development data is absent")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            person = server.person("Bench")
            files = sorted((DATA / "raw_docs").glob("*.pdf"))
            jobs = [upload(person.client, file.name, file.read_bytes())["x_job"]["id"] for file in files]
            for job in jobs:
                finished_job(person.client, job, within_s=900)
        finally:
            server.stop()
        stores = open_stores(server.settings())
        retriever = Retriever(stores.database, stores.index, stores.embedder, stores.master_key)
        scope = scope_of(Principal(person.id, "user", frozenset()))
        answerable = _scores(retriever, scope, DATA / "queries.jsonl")
        others = _scores(retriever, scope, OTHER_SUBJECTS)
        stores.close()
    for name, scores in (("answerable", answerable), ("other subjects", others)):
        for column, what in enumerate(("cosine", "score")):
            marks = np.percentile(scores[:, column], [0, 5, 50, 95, 100]).round(2).tolist()
            print(f"{name} ({len(scores)}), {what}: min, 5 %, 50 %, 95 %, max = {marks}")
        passed = ((scores[:, 0] >= MIN_COSINE) & (scores[:, 1] >= MIN_SCORE)).mean()
        print(f"{name}: {passed:.0%} pass cosine >= {MIN_COSINE} and score >= {MIN_SCORE}\n")
    return 0


def _scores(retriever: Retriever, scope: AccessScope, path: Path) -> np.ndarray:
    rows = []
    for line in path.read_text().splitlines()[:QUESTIONS]:
        question = json.loads(line)["text"]
        found = retriever.search(scope, question, limit=5)
        quotes = best_quotes(
            question, found.question_vector, found.passages, retriever.embedder.embed_sentences
        )
        best = max(quotes, key=lambda quote: quote.score)
        rows.append((best.cosine, best.score))
    return np.array(rows)


if __name__ == "__main__":
    sys.exit(main())
