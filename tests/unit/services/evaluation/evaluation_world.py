"""A small set of questions: twelve documents of one house, and questions that they do not answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCUMENTS = {
    "leave": "Employees receive 25 days of annual leave in each calendar year. Petra Lang grants it.",
    "carry": "Up to five unused days of leave are carried over and lapse at the end of March.",
    "travel": "Train journeys are booked in second class. Flights need the approval of a director.",
    "meals": "The meal allowance on business trips is 42 euros a day, or 60 euros in Switzerland.",
    "canteen": "The canteen serves lunch from 11:30 to 14:00. Dinner is not served.",
    "parking": "Parking permits are issued by the front desk and cost 15 euros a month.",
    "badge": "Lost badges must be reported to security within one hour.",
    "laptop": "Laptops are replaced every four years. Broken screens are repaired by the service desk.",
    "password": "Passwords have at least 14 characters and are never sent by e-mail.",
    "visitors": "Visitors sign in at the reception and are accompanied at all times.",
    "fire": "In case of fire leave the building by the stairs and gather at the north gate.",
    "pension": "The company pays six percent of the salary into the pension fund.",
}
ANSWERABLE = {
    "q-leave": ("How many days of annual leave do employees receive?", "leave", "25 days"),
    "q-meals": ("How high is the meal allowance on business trips?", "meals", "42 euros"),
    "q-canteen": ("When does the canteen serve lunch?", "canteen", "from 11:30 to 14:00"),
    "q-badge": ("When must lost badges be reported to security?", "badge", "within one hour"),
    "q-pension": ("How much does the company pay into the pension fund?", "pension", "six percent"),
}
UNANSWERABLE = {
    "q-moon": "How far away from the earth is the moon?",
    "q-opera": "Who composed the opera about the barber of Seville?",
    "q-chess": "How does the knight move on a chess board?",
}


def write_world(folder: Path) -> Path:
    """Write the set into a new folder, and return it."""
    folder.mkdir(parents=True)
    _write(
        folder / "corpus.jsonl", [{"id": each, "title": "", "text": DOCUMENTS[each]} for each in DOCUMENTS]
    )
    asked: list[dict[str, Any]] = [
        {"id": name, "text": text, "answers": [answer], "answerable": True}
        for name, (text, _, answer) in ANSWERABLE.items()
    ]
    asked += [{"id": name, "text": text, "answerable": False} for name, text in UNANSWERABLE.items()]
    _write(folder / "queries.jsonl", asked)
    grades = "".join(f"{name}\t{document}\t1\n" for name, (_, document, _) in ANSWERABLE.items())
    (folder / "qrels.tsv").write_text("query-id\tdoc-id\tgrade\n" + grades)
    return folder


def _write(file: Path, entries: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
