"""Plant the canaries through the API, as their owner; no real person can read one at any moment.

Each gets the compartment of its run before it is shared with anybody, so that only the accounts of the run
could ever be let in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
import httpx2

from infra.canaries import passage_ids_of
from infra.errors import StrongroomError
from ingest.jobs import FINAL_STATES
from services.access.leak_test.asking import Ask, told
from services.access.leak_test.canary import Canary
from services.access.leak_test.people import Cast, Player
from services.access.leak_test.plan import Plan
from services.chat.schemas import QUOTES
from services.parts import Parts

PATIENCE_S: Final = 600.0
"""How long the files of all canaries may take to be read, in seconds."""
_POLL_S: Final = 0.2


class NotPlanted(StrongroomError):
    """A canary could not be planted, so nothing can be said about its rule."""

    code = "not_planted"


@dataclass(frozen=True)
class Planting:
    """Plants the canaries of a plan; `on_step` hears of each one."""

    parts: Parts
    client: httpx2.AsyncClient
    plan: Plan
    cast: Cast
    on_step: Callable[[str], None]

    async def plant(self) -> list[Canary]:
        """Return the canaries with their ids; raises NotPlanted."""
        stored = []
        for canary in self.plan.canaries:
            stored.append(await self._store(canary))
            self.on_step("storing canaries")
        with anyio.move_on_after(PATIENCE_S) as waiting:
            for canary in stored:
                await self._read(canary)
                self.on_step("waiting until they are read")
        if waiting.cancelled_caught:
            raise NotPlanted("The files of the canaries were not read in time.")
        planted = []
        for canary in stored:
            planted.append(await self._discuss(await self._cite(canary)))
            self.on_step("keeping conversations about them")
        return planted

    # --- documents --------------------------------------------------------------------------------

    async def _store(self, canary: Canary) -> Canary:
        canary = replace(await self._placed(canary), insider=self.cast.insider.principal)
        collection = canary.own_collection or canary.open_collection
        stored = await self._do(
            Ask(
                "POST",
                "/v1/files",
                file=(canary.filename, canary.content),
                fields={"collection": collection} if collection else {},
            )
        )
        canary = replace(canary, file_id=stored["id"], job_id=stored["x_job"]["id"])
        await self._do(Ask("PUT", f"/v1/files/{canary.file_id}/access", self._access(canary)))
        if not collection:
            await self._do(Ask("PUT", f"/v1/files/{canary.file_id}/shares/{self._reader(canary)}"))
        return canary

    async def _placed(self, canary: Canary) -> Canary:
        """Return the canary with the collection that its rule is about, if it is."""
        if canary.rule.kind not in {"collection", "narrowed"}:
            return canary
        made = await self._do(Ask("POST", "/v1/vector_stores", {"name": f"leak test {canary.topic}"}))
        path = f"/v1/vector_stores/{made['id']}"
        await self._do(Ask("PATCH", f"{path}/label", {"compartments": [self.plan.compartment]}))
        await self._do(Ask("PUT", f"{path}/shares/{self._reader(canary)}"))
        where = "own_collection" if canary.rule.kind == "collection" else "open_collection"
        return replace(canary, **{where: made["id"]})

    def _reader(self, canary: Canary) -> str:
        """Return whom file or collection is shared with: everybody, where another rule keeps them out."""
        if canary.rule.kind == "group":
            return canary.rule.about
        return (
            self.cast.insider.principal
            if canary.rule.kind in {"person", "collection"}
            else self.cast.everybody
        )

    def _access(self, canary: Canary) -> dict[str, Any]:
        rule = canary.rule
        only = {"collection": [self.cast.everybody], "narrowed": [self.cast.insider.principal]}
        return {
            "only": only.get(rule.kind),
            "deny": [self.cast.outside] if rule.kind == "deny" else [],
            "clearance": int(rule.about) if rule.kind == "clearance" else 0,
            "compartments": [self.plan.compartment, *([rule.about] if rule.kind == "compartment" else [])],
        }

    async def _read(self, canary: Canary) -> None:
        """Wait until the file has become passages."""
        look = Ask("GET", f"/v1/jobs/{canary.job_id}")
        job = await self._do(look)
        while job["state"] not in FINAL_STATES:
            await anyio.sleep(_POLL_S)
            job = await self._do(look)
        if job["state"] != "succeeded":
            raise NotPlanted(f"The file of the canary for “{canary.rule.kind}” was not read: {job['state']}.")

    async def _cite(self, canary: Canary) -> Canary:
        """Return the canary with its passage's id; from the database, so that no interface is trusted."""

        def passages() -> list[str]:
            with self.parts.database.read() as session:
                return passage_ids_of(session, canary.file_id)

        found = await anyio.to_thread.run_sync(passages)
        if not found:
            raise NotPlanted(f"The file of the canary for “{canary.rule.kind}” has no passage.")
        return replace(canary, citation_id=found[-1])

    # --- conversations ----------------------------------------------------------------------------

    async def _discuss(self, canary: Canary) -> Canary:
        """Return the canary with two conversations of the insider's about it, one of them shared with all."""
        private, answer_id = await self._conversation(canary)
        shared, _ = await self._conversation(canary)
        path = f"/v1/conversations/{shared}/shares/{self.cast.everybody}"
        await self._do(Ask("PUT", path), self.cast.insider)
        return replace(canary, private_conversation=private, shared_conversation=shared, answer_id=answer_id)

    async def _conversation(self, canary: Canary) -> tuple[str, str]:
        kept = await self._do(Ask("POST", "/v1/conversations", {}), self.cast.insider)
        messages = [{"role": "user", "content": canary.question}]
        question = {"model": QUOTES, "messages": messages, "x_conversation": kept["id"]}
        answered = await self._do(Ask("POST", "/v1/chat/completions", question), self.cast.insider)
        return kept["id"], answered["x_answer"]["id"]

    async def _do(self, ask: Ask, player: Player | None = None) -> dict[str, Any]:
        """Do one thing as the owner, or as somebody else; raises NotPlanted for a refusal."""
        answer = await told(self.client, player or self.cast.owner, ask)
        if answer.status >= 400:
            raise NotPlanted(f"{ask.method} {_template(ask.path)} answered with status {answer.status}.")
        body: dict[str, Any] = json.loads(answer.body) if answer.body else {}
        return body


def _template(path: str) -> str:
    """Return a path without its ids, which belong to nobody who reads the result."""
    return "/".join("…" if "-" in part else part for part in path.split("/"))
