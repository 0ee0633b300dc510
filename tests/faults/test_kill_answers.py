"""SIGKILL under 64 streamed answers: nothing was sent that the record lacks, and the record is sound."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from infra.audit.event_types import EventType, Stage
from infra.audit.ledger import Ledger
from services.cli.record import opened_read_only
from tests.made_documents import docx_of, pdf_of
from tests.preloaded import PreloadedServer
from tests.scripted_model import ScriptedModel
from tests.serving import ROOT, Person, finished_job, upload

STREAMS = 64
MOST_CHUNKS = 6 * STREAMS
"""How many chunks have arrived at the most, on all streams together, when the server is killed."""
LONGEST_WAIT_S = 0.2
MODELS = ("strongroom", "strongroom", "strongroom", "strongroom-quote")
LEAVE = [
    "Employees receive 25 days of annual leave in each calendar year.",
    "Up to five days of annual leave may be carried over to the next year.",
    "Annual leave that was carried over lapses at the end of March.",
    "Requests for annual leave are made in the calendar two weeks before.",
    "Managers answer a request for annual leave within three working days.",
    "Part-time staff receive annual leave in proportion to their hours.",
]
QUESTIONS = ("How many days of annual leave do employees receive?", "May annual leave be carried over?")


@dataclass
class Reader:
    """One client that reads a stream on a thread of its own, and keeps every piece that arrived."""

    person: Person
    question: str
    model: str = "strongroom"
    chunks: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    def read(self) -> None:
        """Ask, and read until the end or until the connection breaks."""
        body = {
            "model": self.model,
            "stream": True,
            "messages": [{"role": "user", "content": self.question}],
        }
        try:
            with self.person.client.stream("POST", "/v1/chat/completions", json=body) as answer:
                for line in answer.iter_lines():
                    self._take(line)
        except httpx2.HTTPError:
            return

    def _take(self, line: str) -> None:
        if line == "data: [DONE]":
            self.ended = True
        elif line.startswith("data: "):
            self.chunks.append(json.loads(line.removeprefix("data: ")))

    @property
    def answer_id(self) -> str:
        """The id that all records of this answer carry."""
        found: str = self.chunks[0]["x_answer"]["id"]
        return found

    @property
    def text(self) -> str:
        """All content that arrived, links reduced to their marks, white space evened out."""
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]
        content = "".join(delta.get("content", "") for delta in deltas)
        return even(re.sub(r"\[\[(\d+)\]\]\([^)]*\)", r"[\1]", content))

    @property
    def quotes(self) -> set[str]:
        """Every quote that arrived, shown or not."""
        return {even(citation["quote"]) for chunk in self.chunks for citation in chunk.get("x_citations", [])}


def even(text: str) -> str:
    """Make every run of white space one space: the record has no separators between pieces."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    """A model that writes slowly enough to be interrupted."""
    with ScriptedModel(pause_s=0.02) as running:
        yield running


@pytest.fixture(scope="module")
def server(make_server: Callable[..., PreloadedServer], model: ScriptedModel) -> Iterator[PreloadedServer]:
    """Start a server that asks that model."""
    started = make_server(model_base_url=model.base_url)
    yield started.start()
    started.kill()


@pytest.fixture(scope="module")
def person(server: PreloadedServer) -> Person:
    """Somebody with two files about leave."""
    ada = server.person("Ada")
    for name, content in (
        ("leave.pdf", pdf_of([LEAVE[:3], LEAVE[3:]])),
        ("visitors.docx", docx_of("Annual leave of visitors", ["Visitors have no annual leave here."])),
    ):
        entry = upload(ada.client, name, content)
        assert finished_job(ada.client, entry["x_job"]["id"])["state"] == "succeeded"
    return ada


def test_an_undisturbed_answer_is_on_the_record(server: PreloadedServer, person: Person) -> None:
    """The comparison below can fail: a whole answer has generated sentences, and its record matches it."""
    revive(server, person)
    reader = Reader(person, QUESTIONS[0])
    reader.read()
    assert reader.ended
    assert sum("x_sentence" in chunk for chunk in reader.chunks) >= 3
    assert reader.quotes
    with opened_read_only(server.settings()) as ledger:
        assert recorded_text(ledger, reader.answer_id) == reader.text
        assert reader.quotes <= recorded_quotes(ledger, reader.answer_id)


def test_nothing_was_sent_that_the_record_lacks(
    kill_point: int, server: PreloadedServer, person: Person
) -> None:
    """What clients hold after a kill is the beginning of what was recorded; the rest is closed as unknown."""
    revive(server, person)
    readers = killed_under(server, person, random.Random(kill_point))
    revive(server, person)
    answered = [reader for reader in readers if reader.chunks]
    assert answered, "nothing had arrived yet"
    with opened_read_only(server.settings()) as ledger:
        for reader in answered:
            check_recorded(ledger, reader)
        assert ledger.verify().is_sound
    assert any(not reader.ended for reader in answered), "no answer was interrupted"


def killed_under(server: PreloadedServer, person: Person, rng: random.Random) -> list[Reader]:
    """Kill the server at a random point of many answers; return what their readers hold."""
    readers = [
        Reader(person, rng.choice(QUESTIONS), MODELS[number % len(MODELS)]) for number in range(STREAMS)
    ]
    threads = [threading.Thread(target=reader.read) for reader in readers]
    for thread in threads:
        thread.start()
    # Early points as often as late ones: most of what can go wrong goes wrong at the beginning.
    await_chunks(readers, round(MOST_CHUNKS ** rng.random()))
    time.sleep(rng.uniform(0, LONGEST_WAIT_S))
    server.kill()
    for thread in threads:
        thread.join()
    return readers


def check_recorded(ledger: Ledger, reader: Reader) -> None:
    """Check that the record holds all that one reader was sent, and says how the answer ended."""
    outcomes = ended(ledger, reader.answer_id)
    # Who saw the end saw a recorded one; of the others some ended between record and kill.
    known = {"answered", "partial"}
    assert len(outcomes) == 1
    assert outcomes[0] in (known if reader.ended else known | {"unknown"})
    assert recorded_text(ledger, reader.answer_id).startswith(reader.text)
    assert reader.quotes <= recorded_quotes(ledger, reader.answer_id)


def test_the_whole_record_is_sound_after_all_kills(server: PreloadedServer, person: Person) -> None:
    """`strongroom audit verify` says so, with exit code 0, beside the running server."""
    revive(server, person)
    server.kill()
    revive(server, person)
    assert verified(server) == 0


# --- the server and its record --------------------------------------------------------------------


def revive(server: PreloadedServer, person: Person) -> None:
    """Start the server if it is down; the person's client follows to its new address."""
    if server.pid is None:
        server.start()
        person.client.base_url = httpx2.URL(server.url)


def await_chunks(readers: list[Reader], wanted: int) -> None:
    """Wait until so many chunks have arrived, on all streams together, or all have ended."""
    deadline = time.monotonic() + 60
    while sum(len(reader.chunks) for reader in readers) < wanted:
        if all(reader.ended for reader in readers):
            return
        assert time.monotonic() < deadline, "the answers did not begin"
        time.sleep(0.005)


def recorded(ledger: Ledger, answer_id: str, kind: EventType) -> list[str]:
    """Return the recorded contents of one kind for one answer, in order."""
    return [
        ledger.reader.read_content(event.id).decode()
        for event in ledger.reader.events(corr=answer_id, limit=500)
        if event.leaf is not None and event.leaf.type == kind and event.leaf.content is not None
    ]


def recorded_text(ledger: Ledger, answer_id: str) -> str:
    """Return all recorded pieces of an answer, evened out."""
    ended(ledger, answer_id)
    return even(" ".join(recorded(ledger, answer_id, EventType.ANSWER_SEGMENT)))


def recorded_quotes(ledger: Ledger, answer_id: str) -> set[str]:
    """Return the quotes that were recorded with the retrieved passages."""
    entries = recorded(ledger, answer_id, EventType.ANSWER_RETRIEVED)
    return {even(quote["quote"]) for entry in entries for quote in json.loads(entry)["quotes"]}


def ends(ledger: Ledger, answer_id: str) -> list[str | None]:
    """Return how the answer ended, once for each end; a model call under way is closed like the answer."""
    leaves = [event.leaf for event in ledger.reader.events(corr=answer_id, limit=500)]
    ended = [leaf for leaf in leaves if leaf is not None and leaf.stage is Stage.END]
    begun = [leaf for leaf in leaves if leaf is not None and leaf.stage is Stage.START]
    answers = [leaf.outcome for leaf in ended if leaf.type == EventType.ANSWER_FINISHED]
    assert not answers or len(ended) == len(begun), "something that began has no end on the record"
    return answers


def ended(ledger: Ledger, answer_id: str) -> list[str | None]:
    """Wait for the sequencer to give the answer's end its place; return how it ended, once for each end."""
    deadline = time.monotonic() + 20
    while not (outcomes := ends(ledger, answer_id)):
        assert time.monotonic() < deadline, "the answer has no end on the record"
        time.sleep(0.05)
    return outcomes


def verified(server: PreloadedServer) -> int:
    """Run the command as an auditor would, and return its exit code."""
    command = [sys.executable, "-m", "services.cli", "audit", "verify"]
    command += ["--data-dir", str(server.data_dir)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "sound" in done.stdout, done.stdout + done.stderr
    return done.returncode
