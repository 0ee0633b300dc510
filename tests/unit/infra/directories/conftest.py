"""A certificate authority, and the two kinds of directory behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.directories.configuration import OidcProvider
from infra.directories.oidc import OidcDirectory
from tests.directory_servers import Authority, Certificate, OidcServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority once."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    """Issue the certificate of the servers that are as they should be."""
    return authority.issue("127.0.0.1", "localhost")


@pytest.fixture
def provider(certificate: Certificate) -> Iterator[OidcServer]:
    """Run a provider."""
    server = OidcServer(certificate)
    yield server
    server.close()


@pytest.fixture
def configuration(provider: OidcServer, authority: Authority) -> OidcProvider:
    """Describe that provider as an operator would."""
    return provider.described(ca_file=authority.ca_file)


@pytest.fixture
def directory(configuration: OidcProvider) -> OidcDirectory:
    """Return our side of that provider."""
    return OidcDirectory(configuration)
