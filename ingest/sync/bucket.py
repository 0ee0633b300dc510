"""A bucket of an S3-compatible server as a source. The protocol is botocore's, the client is our own.

botocore builds and signs each request and reads each answer; the client of `infra.network` sends it, so that
no address outside the private network is contacted. Nothing comes from the environment or from files of a
home folder, and no metadata service is asked for credentials.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx2

from infra.errors import ConfigurationError
from infra.network import private_sync_client
from infra.sources import WatchedBucket
from ingest.sync.source import Listing, NotReadable, Seen, SourceUnavailable, Unsettled, is_watched, item_of

TIMEOUT_S: Final = 30.0
PIECE_BYTES: Final = 1024 * 1024
MAX_STATE_CHARS: Final = 200
_REFUSED: Final = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_CHANGED: Final = frozenset({"404", "412", "NoSuchKey", "PreconditionFailed"})


class Bucket:
    """Lists and reads the objects of one bucket, or those below a prefix."""

    def __init__(self, watched: WatchedBucket, allowed_hosts: Collection[str]) -> None:
        """Make the client; raises ConfigurationError when the file with the secret cannot be read."""
        self._watched = watched
        # A prefix is a folder: without the slash, `notes` would take in `notes-of-others/…` as well.
        self._prefix = f"{watched.prefix.strip('/')}/" if watched.prefix.strip("/") else ""
        self._http = private_sync_client(allowed_hosts, timeout_s=TIMEOUT_S, ca_file=watched.ca_file)
        self._s3 = _client(watched, self._http)

    def look(self) -> Listing:
        """List every watched object; raises SourceUnavailable or AddressRefused."""
        from botocore.exceptions import BotoCoreError, ClientError

        listing = Listing()
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._watched.bucket, Prefix=self._prefix
        )
        try:
            for page in pages:
                for found in page.get("Contents", ()):
                    name = str(found["Key"]).removeprefix(self._prefix)
                    # A key that ends with a slash stands for a folder.
                    if not name.endswith("/") and is_watched(
                        name, self._watched.include, self._watched.exclude
                    ):
                        listing.add(Seen(name, _state(found), int(found["Size"])))
        except ClientError as error:
            raise SourceUnavailable(_why(_code_of(error))) from error
        except (BotoCoreError, httpx2.HTTPError) as error:
            raise SourceUnavailable("unreachable") from error
        return listing

    def read(self, seen: Seen) -> Generator[bytes, None, None]:
        """Yield the bytes of an object, if it is still the one that was listed."""
        from botocore.exceptions import BotoCoreError, ClientError

        etag = seen.state.rpartition(":")[0]
        condition = {"IfMatch": etag} if etag.startswith('"') else {}
        try:
            got = self._s3.get_object(
                Bucket=self._watched.bucket, Key=f"{self._prefix}{seen.name}", **condition
            )
            with closing(got["Body"]) as body:
                while piece := body.read(PIECE_BYTES):
                    yield piece
        except ClientError as error:
            code = _code_of(error)
            raise (Unsettled() if code in _CHANGED else NotReadable()) from error
        except (BotoCoreError, httpx2.HTTPError) as error:
            raise SourceUnavailable("unreachable") from error

    def close(self) -> None:
        """Close every connection."""
        self._http.close()


def _client(watched: WatchedBucket, http: httpx2.Client) -> Any:
    import boto3.session
    import botocore.session
    from botocore.config import Config

    # Its debug lines hold keys of objects, which are file names.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    known = botocore.session.Session.SESSION_VARIABLES
    # (name in a configuration file, environment variable, default, conversion): the default alone stays.
    settled = {name: (None, None, default, conversion) for name, (_, _, default, conversion) in known.items()}
    nothing = (None, None, os.devnull, None)
    session = boto3.session.Session(
        aws_access_key_id=watched.access_key,
        aws_secret_access_key=_secret(watched),
        region_name=watched.region,
        botocore_session=botocore.session.Session(
            session_vars=settled | {"config_file": nothing, "credentials_file": nothing}
        ),
    )
    client = session.client(
        "s3",
        endpoint_url=watched.endpoint,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": 2},
            # Servers other than the protocol's owners' often lack the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent="strongroom",
            # Without this, proxies of the environment would be looked up.
            proxies={},
        ),
    )
    client.meta.events.register("before-send.s3", _Sender(http))
    return client


def _secret(watched: WatchedBucket) -> str:
    if watched.secret_key is not None:
        return watched.secret_key.get_secret_value()
    try:
        secret = Path(watched.secret_key_file or "").read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"The secret key of the bucket {watched.name} cannot be read.", hint="Check `secret_key_file`."
        ) from error
    return secret


class _Sender:
    """Sends what botocore has signed, instead of botocore's own transport."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def __call__(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        headers = {
            name: value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        ours = self._http.build_request(
            request.method,
            request.url,
            headers={**headers, "Accept-Encoding": "identity"},
            content=request.body or None,
        )
        answer = self._http.send(ours, stream=True)
        return AWSResponse(request.url, answer.status_code, dict(answer.headers), _Body(answer))


class _Body:
    """An answer's body as botocore reads one."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._answer = answer
        self._pieces = answer.iter_raw()
        self._left = b""

    def stream(self) -> Iterator[bytes]:
        """Yield the whole body in pieces."""
        try:
            yield from self._pieces
        finally:
            self.close()

    def read(self, amount: int | None = None) -> bytes:
        """Return the next bytes, at most `amount`; none at the end."""
        while amount is None or len(self._left) < amount:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._left += piece
        taken = self._left if amount is None else self._left[:amount]
        self._left = self._left[len(taken) :]
        return taken

    def close(self) -> None:
        """Give the connection back, or end it."""
        self._answer.close()


def _state(found: dict[str, Any]) -> str:
    state = f"{found.get('ETag', '')}:{found['Size']}"
    return state if len(state) <= MAX_STATE_CHARS else item_of(state)


def _code_of(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _why(code: str) -> str:
    if code == "NoSuchBucket":
        return "no_bucket"
    return "refused" if code in _REFUSED else "unreachable"
