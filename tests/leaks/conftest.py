"""The house that the leak tests look into."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from leak_house import CANTEEN, EVERYONE, House, indexed

from infra.access import Role
from tests.made_documents import docx_of, markdown_of
from tests.preloaded import PreloadedServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the nightly run take more steps."""
    group = parser.getgroup("leaks")
    group.addoption("--leak-steps", type=int, help="steps of the stateful access test (default: 1000)")
    group.addoption("--leak-seed", type=int, help="its seed, to repeat a run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the nightly run the time that it needs: a fifth of a second a step, on a busy machine."""
    steps = config.getoption("leak_steps", None)
    for item in items:
        if steps and item.name == "test_the_program_agrees_with_the_model":
            item.add_marker(pytest.mark.timeout(max(180, steps // 5)))


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
