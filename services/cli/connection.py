"""Talk to a running server: find its address and a key, and turn refusals into our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

import httpx2

from infra.errors import NotAuthenticated, StrongroomError
from infra.network import private_sync_client
from infra.settings import Settings, environment_value
from services.cli.operator_key import read_operator_key
from services.cli.running import find_server

API_KEY_VARIABLE: Final = "STRONGROOM_API_KEY"
_WAIT_S: Final = 60.0
"""Longest silence of the server; while an answer is being made it sends a sign of life every 15 seconds."""


class NotRunning(StrongroomError):
    """No server answers."""

    code = "not_running"

    def __init__(self, where: str = "here", hint: str = "Start it with `strongroom up`.") -> None:
        super().__init__(f"Strongroom is not running {where}.", hint=hint)


class Refused(StrongroomError):
    """The server answered with an error; `status` is its HTTP status."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        message = str(error.get("message") or f"The server answered with status {status}.")
        super().__init__(message, hint=error.get("hint"))
        self.code = str(error.get("code") or "refused")
        self.status = status


class Connection:
    """Requests to one server; raises Refused, or NotRunning when nobody answers. Safe for threads."""

    def __init__(self, client: httpx2.Client, url: str) -> None:
        self._client = client
        self.url = url

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the JSON document at `path`."""
        with _translated(self.url):
            return _checked(self._client.get(self.url + path, params=parameters))

    def post(self, path: str, body: dict[str, Any], *, timeout_s: float = _WAIT_S) -> dict[str, Any]:
        """Send a JSON document to `path`, and return the one that answers."""
        with _translated(self.url):
            return _checked(self._client.post(self.url + path, json=body, timeout=timeout_s))

    def readiness(self) -> dict[str, Any]:
        """Return `/readyz`, which is a description even where it is a refusal."""
        with _translated(self.url):
            found: dict[str, Any] = self._client.get(f"{self.url}/readyz").json()
            return found

    def send(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes = b""
    ) -> Mapping[str, str]:
        """Send bytes with headers, and return the headers of the answer, in lower case."""
        with _translated(self.url):
            answer = self._client.request(method, self.url + path, headers=dict(headers), content=content)
            if answer.status_code >= 400:
                # An answer to HEAD has no body to say why.
                raise Refused(answer.status_code, answer.json()["error"] if answer.content else {})
            return answer.headers

    def upload(self, file: IO[bytes], name: str, fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Upload one file with form fields such as `share` and `batch`; returns the file object."""
        with _translated(self.url):
            answer = self._client.post(
                f"{self.url}/v1/files",
                files={"file": (name, file, "application/octet-stream")},
                data={"purpose": "assistants", **{key: list(values) for key, values in fields.items()}},
            )
            return _checked(answer)

    def complete(self, body: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Ask and wait for the whole answer."""
        with _translated(self.url):
            path = f"{self.url}/v1/chat/completions"
            return _checked(self._client.post(path, json=body, timeout=timeout_s))

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Ask and yield the answer's chunks as they come."""
        path = f"{self.url}/v1/chat/completions"
        with _translated(self.url), self._client.stream("POST", path, json=body | {"stream": True}) as answer:
            if answer.status_code >= 400:
                answer.read()
                _checked(answer)
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    chunk = json.loads(line.removeprefix("data: "))
                    if "error" in chunk:
                        raise Refused(answer.status_code, chunk["error"])
                    yield chunk


@contextmanager
def connect(settings: Settings, *, api_key: str | None) -> Iterator[Connection]:
    """Open a connection to the server that the settings name, else to the one on this data folder.

    Raises NotRunning, or NotAuthenticated when no key is at hand.
    """
    url = server_url(settings)
    key = api_key or environment_value(API_KEY_VARIABLE) or _operator_key(settings, url)
    if key is None:
        raise NotAuthenticated(
            "There is no API key to talk to the server with.",
            hint=f"Make one on the page Account, and pass it with --api-key or {API_KEY_VARIABLE}.",
        )
    with private_sync_client(settings.model_hosts, timeout_s=_WAIT_S) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield Connection(client, url)


def server_url(settings: Settings) -> str:
    """Return the address to talk to, without a slash at its end; raises NotRunning."""
    if settings.url is not None:
        return settings.url.rstrip("/")
    server = find_server(settings.data_dir)
    if server is None:
        raise NotRunning
    return server.url


def _operator_key(settings: Settings, url: str) -> str | None:
    """Return the local operator's key, for the local server only: no other server shall see it."""
    server = find_server(settings.data_dir)
    if server is None or server.url != url:
        return None
    return read_operator_key(settings.data_dir)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.TimeoutException as error:
        raise StrongroomError(
            f"The server at {url} did not answer in time.", hint="`strongroom status` tells how it is."
        ) from error
    except httpx2.TransportError as error:
        raise NotRunning(f"at {url}", "Start it with `strongroom up`, or check the address.") from error
    except (ValueError, TypeError) as error:
        raise NotRunning(f"at {url}", "Something else answers at this address.") from error


def _checked(answer: httpx2.Response) -> dict[str, Any]:
    document = answer.json()
    if not isinstance(document, dict):
        raise TypeError("not a JSON object")
    if answer.status_code >= 400:
        error = document.get("error")
        raise Refused(answer.status_code, error if isinstance(error, dict) else {})
    return document
