"""The server that the API tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from api_world import CARRY, LEAVE, UPLOAD_LIMIT, World

from infra.access import Role
from tests.made_documents import pdf_of
from tests.preloaded import PreloadedServer
from tests.serving import finished_job, upload


@pytest.fixture(scope="session")
def world(make_server: Callable[..., PreloadedServer]) -> Iterator[World]:
    """Start one server, with a low limit for uploads so that going past it is cheap."""
    # Strangers come through a proxy, so that each has an address of its own to be held up at.
    server = make_server(upload_max_bytes=str(UPLOAD_LIMIT), trusted_proxies='["127.0.0.1"]')
    server.start()
    ada, ben = server.person("Ada"), server.person("Ben")
    admin = server.person("Admin", [Role.ADMIN, Role.CURATOR, Role.EMPLOYEE])
    auditor = server.person("Auditor", [Role.AUDITOR, Role.EMPLOYEE])
    entry = upload(ada.client, "leave.pdf", pdf_of([["Leave", LEAVE], ["Carry-over", CARRY]]))
    assert finished_job(ada.client, entry["x_job"]["id"])["state"] == "succeeded"
    policy = ada.client.get(f"/v1/files/{entry['id']}").json()
    yield World(server, ada, ben, admin, auditor, policy)
    server.kill()
