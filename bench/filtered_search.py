"""Measure what the access filter costs a search: recall against exact search, and latency.

    python -m bench.filtered_search [--passages 100000] [--queries 200]

Fills an index with made passages, whose access lists let three readers read 0.1 %, 1 % and 10 % of them and
a fourth everything, and asks the same queries as each. Recall@10 is measured against a search computed here,
in numpy and without the engine: cosine and BM25 over the readable passages only, fused by reciprocal rank.
Latency is compared with a search without any filter in the same run.
Nothing is read from outside and chance is seeded, so every run asks the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import numpy as np
import qdrant_edge
from numpy.typing import NDArray

from agents.retrieve import CANDIDATES
from infra.access import AccessScope, DocumentAccess, Principal, may_read, scope_of
from infra.vectors import RRF_K, EdgeIndex, Hit, Point, point_id
from infra.vectors.edge import fused_by_rank
from infra.vectors.index import DENSE, SPARSE, candidates

DIMENSIONS = 384
PASSAGES_PER_DOCUMENT = 10
TOPICS = 300
VOCABULARY = 30_000
WORDS_PER_PASSAGE = (20, 60)
BATCH = 1000
TOP = 10

SHARES = (0.001, 0.01, 0.1)
GROUPS_PER_READER = 19
OTHER_GROUPS = 200
ALL_READERS = "group:bench:all-readers"
UNFILTERED = "no filter"
LEAST_RECALL, MOST_RATIO = 0.98, 1.5

Postings = dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]
Latencies = dict[str, NDArray[np.float64]]

# What `qdrant_edge.Bm25` uses; the length is a constant, so it tells nothing about other people's passages.
BM25_K, BM25_B, BM25_LENGTH = 1.2, 0.75, 256.0


@dataclass(frozen=True)
class Corpus:
    """Made passages: unit vectors, shape (passages, DIMENSIONS), and word numbers of each passage."""

    vectors: NDArray[np.float32]
    words: list[NDArray[np.int64]]

    @property
    def documents(self) -> int:
        """The number of documents."""
        return len(self.words) // PASSAGES_PER_DOCUMENT


@dataclass(frozen=True)
class Query:
    """One question: a unit vector, shape (DIMENSIONS,), and distinct word numbers."""

    vector: NDArray[np.float32]
    words: NDArray[np.int64]


Turns = list[tuple[str, Callable[[Query], object]]]


class Measure(Enum):
    """What is read off the latencies: a column of theirs, and a percentile."""

    MEDIAN = (0, 50)
    P95 = (0, 95)
    PROCESSOR = (1, 50)


@dataclass(frozen=True)
class Reader:
    """Somebody with a scope, and which passages they may read, shape (passages,)."""

    name: str
    scope: AccessScope
    readable: NDArray[np.bool_]


def main() -> int:
    """Run the measurement and print its tables; the status tells whether both targets were met."""
    arguments = _arguments()
    chance = np.random.default_rng(20261122)
    corpus = made_corpus(chance, arguments.passages)
    queries = made_queries(chance, corpus, arguments.queries)
    accesses = made_accesses(chance, corpus.documents)
    readers = made_readers(accesses)
    with tempfile.TemporaryDirectory() as folder:
        index = EdgeIndex(Path(folder), DIMENSIONS, "bench")
        took = fill(index, corpus, accesses)
        print(f"{len(corpus.words)} passages, {corpus.documents} documents, indexed in {took:.0f} s")
        postings = postings_of(corpus)
        recalls = [
            recall_of(index, ExactSearch(corpus, postings, reader.readable), reader, queries)
            for reader in readers
        ]
        times = [latencies(index, readers, queries) for _ in range(arguments.rounds)]
        index.close()
    return _report(readers, recalls, times)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2, help="how often the latencies are taken")
    return parser.parse_args()


# --- the made corpus ------------------------------------------------------------------------------


def made_corpus(chance: np.random.Generator, passages: int) -> Corpus:
    """Make passages around topics; the documents of a topic share vectors' neighbourhood and words."""
    centres = _unit(chance.standard_normal((TOPICS, DIMENSIONS)))
    topics = np.repeat(chance.integers(TOPICS, size=passages // PASSAGES_PER_DOCUMENT), PASSAGES_PER_DOCUMENT)
    vectors = _unit(centres[topics] + _noise(chance, (len(topics), DIMENSIONS)))
    return Corpus(vectors, [_words(chance, int(topic)) for topic in topics])


def made_queries(chance: np.random.Generator, corpus: Corpus, count: int) -> list[Query]:
    """Ask near passages from anywhere in the corpus, with six of their words; readable or not is chance."""
    chosen = chance.choice(len(corpus.words), size=count, replace=False)
    vectors = _unit(corpus.vectors[chosen] + _noise(chance, (count, DIMENSIONS)))
    return [
        Query(vector, chance.choice(np.unique(corpus.words[number]), size=6, replace=False))
        for number, vector in zip(chosen, vectors, strict=True)
    ]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _noise(chance: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return noise as long as a centre, so that neighbours of one topic have a cosine of about a half."""
    return np.asarray(chance.standard_normal(shape) / np.sqrt(DIMENSIONS))


def _words(chance: np.random.Generator, topic: int) -> NDArray[np.int64]:
    """Draw a passage: half its words by Zipf's law, half from the topic's own order of the vocabulary."""
    length = int(chance.integers(*WORDS_PER_PASSAGE))
    ranks = np.minimum(chance.zipf(1.2, size=length), VOCABULARY) - 1
    own = chance.random(length) < 0.5
    return np.where(own, (ranks * 7919 + 101 * (topic + 1)) % VOCABULARY, ranks)


def text_of(words: NDArray[np.int64]) -> str:
    """Write word numbers as words that no stemmer or stop list touches."""
    return " ".join(f"w{number:05d}" for number in words)


# --- who may read what ----------------------------------------------------------------------------


def groups_of(reader: int) -> list[str]:
    """Name the groups of reader number `reader`; nobody else is in them."""
    return [f"group:bench:{reader}-{number:02d}" for number in range(GROUPS_PER_READER)]


def made_accesses(chance: np.random.Generator, documents: int) -> list[DocumentAccess]:
    """Make access lists of several groups; a reader's grants are spread over all of their groups.

    Beside each document that a reader may read lies one that they would, had not one of the four other
    rules (collection, deny, clearance, compartments) said no: each part of the filter has work to do.
    """
    accesses = [_granted_to(chance, []) for _ in range(documents)]
    order = iter(chance.permutation(documents))
    for reader, share in enumerate(SHARES):
        groups = groups_of(reader)
        for number in range(round(share * documents)):
            group = groups[number % len(groups)]
            accesses[next(order)] = _granted_to(chance, [group])
            accesses[next(order)] = _withheld(chance, group, groups[-1 - number % len(groups)], number % 4)
    return accesses


def _granted_to(chance: np.random.Generator, groups: list[str]) -> DocumentAccess:
    allow = frozenset({ALL_READERS, *groups, *_others(chance, 4)})
    # A third stand in a collection that lets their readers in.
    within = frozenset({ALL_READERS, *groups, *_others(chance, 8)}) if chance.random() < 1 / 3 else None
    return DocumentAccess(allow=allow, within=within, deny=_others(chance, 1))


def _withheld(chance: np.random.Generator, group: str, other_group: str, rule: int) -> DocumentAccess:
    allow = frozenset({ALL_READERS, group, *_others(chance, 4)})
    match rule:
        case 0:
            return DocumentAccess(allow=allow, within=frozenset({ALL_READERS, *_others(chance, 8)}))
        case 1:
            return DocumentAccess(allow=allow, deny=frozenset({other_group}))
        case 2:
            return DocumentAccess(allow=allow, clearance=3)
        case _:
            return DocumentAccess(allow=allow, compartments=frozenset({"merger"}))


def _others(chance: np.random.Generator, count: int) -> frozenset[str]:
    return frozenset(f"group:bench:other-{number}" for number in chance.integers(OTHER_GROUPS, size=count))


def made_readers(accesses: Sequence[DocumentAccess]) -> list[Reader]:
    """Identify the three readers and the reader of everything; the access rule says what they read."""
    made = []
    for number, share in enumerate(SHARES):
        scope = _scope(f"reader-{number}", groups_of(number), clearance=1, compartments={"finance"})
        made.append(_reader(f"{share:.1%}", scope, accesses))
    groups = [ALL_READERS, *groups_of(len(SHARES))[1:]]
    everything = _scope("everything", groups, clearance=3, compartments={"finance", "merger"})
    return [*made, _reader("everything", everything, accesses)]


def _scope(user: str, groups: list[str], *, clearance: int, compartments: set[str]) -> AccessScope:
    return scope_of(
        Principal(
            user_id=user,
            kind="user",
            roles=frozenset(),
            group_ids=frozenset(groups),
            clearance=clearance,
            compartments=frozenset(compartments),
        )
    )


def _reader(name: str, scope: AccessScope, accesses: Sequence[DocumentAccess]) -> Reader:
    readable = np.repeat([may_read(scope, access) for access in accesses], PASSAGES_PER_DOCUMENT)
    return Reader(name, scope, readable)


# --- the index ------------------------------------------------------------------------------------


def fill(index: EdgeIndex, corpus: Corpus, accesses: Sequence[DocumentAccess]) -> float:
    """Index every passage; returns seconds."""
    started = time.monotonic()
    for first in range(0, len(corpus.words), BATCH):
        numbers = range(first, min(first + BATCH, len(corpus.words)))
        index.upsert([_point(corpus, accesses, number) for number in numbers])
    return time.monotonic() - started


def _point(corpus: Corpus, accesses: Sequence[DocumentAccess], number: int) -> Point:
    document = number // PASSAGES_PER_DOCUMENT
    return Point(
        id=_id(number),
        dense=corpus.vectors[number],
        text=text_of(corpus.words[number]),
        document_id=f"d{document}",
        version_id=f"v{document}",
        access=accesses[document],
    )


def _id(number: int) -> str:
    return point_id(str(uuid.UUID(int=number)), 0, "bench")


# --- recall against exact search ------------------------------------------------------------------


class ExactSearch:
    """The same search without the engine: every passage that one reader may read is scored, in numpy.

    Rankings are arrays of passage numbers, best first.
    """

    def __init__(self, corpus: Corpus, postings: Postings, readable: NDArray[np.bool_]) -> None:
        self._readable = readable
        self._numbers = np.flatnonzero(readable)
        self._vectors = corpus.vectors[self._numbers]
        self._postings = postings

    def by_meaning(self, query: Query) -> NDArray[np.intp]:
        """Rank the readable passages by cosine."""
        return self._numbers[np.argsort(-(self._vectors @ query.vector), kind="stable")]

    def by_words(self, query: Query) -> NDArray[np.intp]:
        """Rank by BM25 the readable passages that have a word, with the statistics of readable ones."""
        scores = np.zeros(len(self._readable))
        for word in query.words:
            passages, weights = self._postings[int(word)]
            kept = self._readable[passages]
            # Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with
            # one added under the logarithm, so that no word counts against a passage.
            having = kept.sum()
            weight = np.log(1 + (len(self._numbers) - having + 0.5) / (having + 0.5))
            scores[passages[kept]] += weight * weights[kept]
        found = np.flatnonzero(scores)
        return found[np.argsort(-scores[found], kind="stable")]


def fused(rankings: Sequence[NDArray[np.intp]], depth: int | None, passages: int) -> NDArray[np.intp]:
    """Fuse the first `depth` of each ranking, or all of it, by reciprocal rank."""
    scores = np.zeros(passages)
    for ranking in rankings:
        taken = ranking[:depth]
        scores[taken] += 1 / (RRF_K + np.arange(len(taken)))
    found = np.flatnonzero(scores)
    return found[np.argsort(-scores[found], kind="stable")]


def postings_of(corpus: Corpus) -> Postings:
    """Return for each word the passages that have it and its BM25 weight there, without the IDF."""
    lengths = np.array([len(words) for words in corpus.words])
    passages = np.repeat(np.arange(len(lengths)), lengths)
    # A pair as one number sorts many times as fast as a row of two.
    pairs, counts = np.unique(np.concatenate(corpus.words) * len(lengths) + passages, return_counts=True)
    of_word, of_passage = np.divmod(pairs, len(lengths))
    length_norm = BM25_K * (1 - BM25_B + BM25_B * lengths[of_passage] / BM25_LENGTH)
    weights = counts * (BM25_K + 1) / (counts + length_norm)
    starts = np.flatnonzero(np.diff(of_word, prepend=-1))
    ends = [*starts[1:], len(of_word)]
    return {
        int(of_word[start]): (of_passage[start:end], weights[start:end])
        for start, end in zip(starts, ends, strict=True)
    }


@dataclass(frozen=True)
class Recall:
    """Mean recall@10 of the dense search and of the fused one, each from 0 to 1."""

    dense: float
    fused: float
    fused_in_full: float
    """The same fused results against a fusion of the whole ranked lists, which no engine computes."""


def recall_of(index: EdgeIndex, exact: ExactSearch, reader: Reader, queries: Sequence[Query]) -> Recall:
    """Compare what the index gives a reader with exact search over what they may read."""
    passages = len(reader.readable)
    numbers = {_id(number): number for number in range(passages)}
    rows = []
    for query in queries:
        # Without a word, the fused list is the dense one alone.
        by_vector = [numbers[hit.id] for hit in _ask(index, reader.scope, query, text="")]
        by_both = [numbers[hit.id] for hit in _ask(index, reader.scope, query)]
        if not reader.readable[[*by_vector, *by_both]].all():
            raise RuntimeError("the index gave a reader what they may not read")
        rankings = (exact.by_meaning(query), exact.by_words(query))
        rows.append(
            (
                _recall(by_vector, rankings[0]),
                _recall(by_both, fused(rankings, candidates(CANDIDATES), passages)),
                _recall(by_both, fused(rankings, None, passages)),
            )
        )
    return Recall(*np.mean(rows, axis=0).tolist())


def _recall(found: list[int], expected: NDArray[np.intp]) -> float:
    best = expected[:TOP].tolist()
    return len(set(found[:TOP]) & set(best)) / len(best)


def _ask(index: EdgeIndex, scope: AccessScope, query: Query, text: str | None = None) -> list[Hit]:
    """Search as the program does: the same limit, and so the same number of candidates for the fusion."""
    return index.search(scope, query.vector, text_of(query.words) if text is None else text, CANDIDATES)


# --- latency --------------------------------------------------------------------------------------


def latencies(index: EdgeIndex, readers: Sequence[Reader], queries: Sequence[Query]) -> Latencies:
    """Take each query as each reader, and without a filter, in turn.

    Returns milliseconds by name, shape (queries, 2): as the clock has it, and of processor time, which
    a busy machine distorts less.

    The turns change places with every query, so that a busy machine slows all of them alike. Each reader is
    timed as usual, and in a second pass as the first to search after somebody wrote.
    """
    as_reader: Turns = [(reader.name, partial(_ask, index, reader.scope)) for reader in readers]
    usual = _timed([(UNFILTERED, partial(_ask_for_anything, index)), *as_reader], queries)
    first = _timed(as_reader, queries[: len(queries) // 4], before=index._readable.forget)
    return usual | {f"{name}, first after a write": times for name, times in first.items()}


def _timed(turns: Turns, queries: Sequence[Query], before: Callable[[], None] = lambda: None) -> Latencies:
    took: dict[str, list[list[float]]] = {name: [] for name, _ in turns}
    for number, query in enumerate(queries):
        first = number % len(turns)
        for name, ask in (*turns[first:], *turns[:first]):
            before()
            started = time.perf_counter(), time.process_time()
            ask(query)
            ended = time.perf_counter(), time.process_time()
            took[name].append([(end - start) * 1000 for start, end in zip(started, ended, strict=True)])
    return {name: np.array(times) for name, times in took.items()}


def _ask_for_anything(index: EdgeIndex, query: Query) -> None:
    """Search the whole index with no filter and the engine's own statistics, as the program never does."""
    depth = candidates(CANDIDATES)
    words = index._words.embed_query(text_of(query.words))
    meaning = qdrant_edge.Query.Nearest(query.vector.tolist(), using=DENSE)
    by_words = qdrant_edge.Query.Nearest(words, using=SPARSE)
    request = qdrant_edge.QueryRequest(
        limit=CANDIDATES,
        query=fused_by_rank(),
        prefetches=[
            qdrant_edge.Prefetch(limit=depth, query=meaning),
            qdrant_edge.Prefetch(limit=depth, query=by_words),
        ],
        with_payload=["document_id", "version_id"],
    )
    index._shard.query(request)


# --- the figures ----------------------------------------------------------------------------------


def _report(readers: Sequence[Reader], recalls: Sequence[Recall], rounds: Sequence[Latencies]) -> int:
    """Print both tables; returns 0 when each share met its targets, else 1."""
    print("\n| readable | passages | dense | fused | fused, against whole lists |")
    print("|---|---|---|---|---|")
    for reader, recall in zip(readers, recalls, strict=True):
        figures = (recall.dense, recall.fused, recall.fused_in_full)
        print(f"| {reader.name} | {reader.readable.sum():,} | {' | '.join(f'{f:.3f}' for f in figures)} |")
    print("\n| search | median ms | ratio | p95 ms | ratio | median processor ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in rounds[0]:
        cells = [f"{_taken(rounds, name, m):.1f} | {_ratio(rounds, name, m):.2f}" for m in Measure]
        print(f"| {name} | {' | '.join(cells)} |")
    shares = [reader.name for reader in readers[:-1]]
    exact = all(min(recall.dense, recall.fused) >= LEAST_RECALL for recall in recalls[: len(shares)])
    fast = all(
        _ratio(rounds, name, measure) <= MOST_RATIO
        for name in shares
        for measure in (Measure.MEDIAN, Measure.P95)
    )
    print(f"\nrecall at least {LEAST_RECALL}: {exact}; latency at most {MOST_RATIO} of no filter: {fast}")
    return 0 if exact and fast else 1


def _taken(rounds: Sequence[Latencies], name: str, measure: Measure) -> float:
    """Return one measure in milliseconds over all rounds."""
    column, share = measure.value
    return float(np.percentile(np.concatenate([times[name] for times in rounds])[:, column], share))


def _ratio(rounds: Sequence[Latencies], name: str, measure: Measure) -> float:
    """Return one measure as a multiple of the search without a filter."""
    return _taken(rounds, name, measure) / _taken(rounds, UNFILTERED, measure)


if __name__ == "__main__":
    sys.exit(main())
