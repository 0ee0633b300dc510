"""The server that the contract tests knock at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from callers import SOURCES, House

from infra.stores import open_database
from tests.preloaded import PreloadedServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the nightly run send more, and other, requests."""
    group = parser.getgroup("contract")
    group.addoption(
        "--contract-examples",
        type=int,
        help="made requests of each operation, as described and against it (default: 2)",
    )
    group.addoption("--contract-seed", type=int, help="what they are made from, to repeat a run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the nightly run the time that it needs: two seconds an example, on a busy machine."""
    examples = config.getoption("contract_examples", None)
    for item in items:
        if examples and item.path.name == "test_openapi_roles.py":
            item.add_marker(pytest.mark.timeout(max(180, examples * 2)))


@pytest.fixture(scope="module")
def house(make_server: Callable[..., PreloadedServer]) -> Iterator[House]:
    """Start a server on which every caller of the matrix has what it needs."""
    # Strangers come through a proxy, so that one who is held up does not hold up the next.
    server = make_server(trusted_proxies='["127.0.0.1"]', sources=SOURCES)
    server.start()
    database, master_key = open_database(server.settings())
    house = House(server, database, master_key)
    yield house
    house.close()
    server.kill()
