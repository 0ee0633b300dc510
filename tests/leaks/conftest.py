"""The house that the leak tests look into."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from leak_house import CANTEEN, EVERYONE, House, indexed

from infra.access import Role
from tests.made_documents import docx_of, markdown_of
from tests.preloaded import PreloadedServer


@pytest.fixture(scope="module")
def house(make_server: Callable[..., PreloadedServer]) -> Iterator[House]:
    """Start a server with four people and two files that everybody may read."""
    server = make_server()
    server.start()
    ada, ben = server.person("Ada"), server.person("Ben")
    admin = server.person("Admin", [Role.ADMIN, Role.CURATOR, Role.EMPLOYEE])
    auditor = server.person("Auditor", [Role.AUDITOR, Role.EMPLOYEE])
    canteen = indexed(ada, "canteen.md", markdown_of("Canteen", [CANTEEN]), share=EVERYONE)
    indexed(ada, "parking.docx", docx_of("Parking", ["Bicycles stand behind the house."]), share=EVERYONE)
    yield House(server, ada, ben, admin, auditor, canteen)
    server.kill()
