"""A real server in a process of its own, for tests and measurements that must be able to kill it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from infra import accounts
from infra.access import Role
from infra.settings import Settings
from infra.stores import open_database

ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0
FINAL_STATES = {"succeeded", "failed", "cancelled", "quarantined"}


@dataclass
class Person:
    """Somebody with an account and a key: an HTTP client that acts as them."""

    id: str
    email: str
    password: str
    client: httpx2.Client

    @contextmanager
    def signed_in(self) -> Iterator[httpx2.Client]:
        """Yield a browser in which they signed in, for what a key must not do."""
        with httpx2.Client(base_url=self.client.base_url, timeout=60) as browser:
            answer = browser.post("/v1/session", json={"email": self.email, "password": self.password})
            cookie = answer.headers["set-cookie"].split(";")[0]
            browser.cookies.clear()
            browser.headers.update({"cookie": cookie, "sec-fetch-site": "same-origin"})
            yield browser

    def new_key(self, name: str, **fields: Any) -> dict[str, Any]:
        """Make a key as the account page does: signed in, not with another key."""
        with self.signed_in() as browser:
            made: dict[str, Any] = browser.post("/v1/keys", json={"name": name, **fields}).json()
            return made

    def change_account(self, user_id: str, **fields: Any) -> httpx2.Response:
        """Change somebody's account as the people page does."""
        with self.signed_in() as browser:
            return browser.patch(f"/v1/users/{user_id}", json=fields)

    @property
    def principal(self) -> str:
        """Their id in access lists."""
        return f"user:{self.id}"


@dataclass
class Server:
    """`strongroom up` on a data folder; started, killed and started again at will."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ("--quote-only",)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    people: list[Person] = field(default_factory=list)

    def start(self) -> Server:
        """Start the server and wait until it is ready; raises RuntimeError with its output otherwise."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "services.cli", "up", "--port", "0"]
        command += ["--data-dir", str(self.data_dir)]
        log = self.data_dir / "test-server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *self.flags],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        note = self.data_dir / "run" / "server.json"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {log.read_text()[-3000:]}")
            if note.exists() and json.loads(note.read_text())["pid"] == self.process.pid:
                self.url = json.loads(note.read_text())["url"]
                return self
            time.sleep(0.1)
        raise RuntimeError(f"the server did not start: {log.read_text()[-3000:]}")

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, without a word."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it in good order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def settings(self) -> Settings:
        """Return settings that name this data folder."""
        return Settings(data_dir=self.data_dir)

    def person(self, name: str, roles: Iterable[Role] = (Role.EMPLOYEE,)) -> Person:
        """Create an account through an invitation, as a person would, and a key for it."""
        database, _ = open_database(self.settings())
        with database.write() as session:
            token, _ = accounts.invite(session, roles, created_by="test")
        database.close()
        email, password = f"{name.lower()}@example.org", f"{name} has a long password"
        with httpx2.Client(base_url=self.url, timeout=60) as browser:
            body = {"token": token, "name": name, "email": email, "password": password}
            joined = browser.post("/v1/invitations/accept", json=body)
            joined.raise_for_status()
            cookie = joined.headers["set-cookie"].split(";")[0]
            headers = {"cookie": cookie, "sec-fetch-site": "same-origin"}
            key = browser.post("/v1/keys", json={"name": "test"}, headers=headers).json()["key"]
        client = httpx2.Client(base_url=self.url, timeout=180, headers={"authorization": f"Bearer {key}"})
        person = Person(joined.json()["user"]["id"], email, password, client)
        self.people.append(person)
        return person

    def say_goodbye(self) -> None:
        """Close the connections of everybody who was created here."""
        for person in self.people:
            person.client.close()


def upload(client: httpx2.Client, name: str, content: bytes, **fields: Any) -> dict[str, Any]:
    """Upload one file and return the file object; raises for a refusal."""
    answer = client.post("/v1/files", files={"file": (name, content)}, data=fields)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def finished_job(client: httpx2.Client, job_id: str, *, within_s: float = 120.0) -> dict[str, Any]:
    """Follow a job to its end; raises TimeoutError when it has none in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] in FINAL_STATES:
            return job
        time.sleep(0.1)
    raise TimeoutError(f"job {job_id} has not ended: {job}")


def ask(
    client: httpx2.Client, question: str, *, model: str = "strongroom-quote", **extra: Any
) -> dict[str, Any]:
    """Ask one question and return the whole completion; raises for a refusal."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], **extra}
    answer = client.post("/v1/chat/completions", json=body)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
