"""`strongroom doctor`: look at what a server needs on this machine, and say what to do about it."""

from __future__ import annotations

import errno
import re
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

import psutil

from infra.errors import StrongroomError
from infra.models.catalogue import REST_OF_SERVER_BYTES
from infra.models.files import InstalledModel, check_gguf, installed, sha256_of
from infra.network import check_private_url
from infra.offline import SWITCHES
from infra.settings import Settings, environment_value
from services.cli.running import find_server
from services.cli.terminal import answers, in_words, print_json

_OLDEST_PYTHON: Final = (3, 11)
_LITTLE_DISK: Final = 2_000_000_000
_PINNED: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)")
_SANDBOX_IN_WORDS: Final = {
    "no_network": "a parser has no network of its own",
    "no_sockets": "a parser cannot open sockets",
    "no_processes": "a parser cannot start processes or threads",
    "closed_filesystem": "a parser cannot read other files",
}
_WALLS: Final = {
    True: "BUBBLEWRAP around the kernel's own measures",
    False: "WITHOUT BUBBLEWRAP, by the kernel's namespaces, limits, seccomp and Landlock",
}


class State(StrEnum):
    """How a check ended: `warn` works with a limitation, `fail` does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `advice` says what to do unless all is well."""

    name: str
    state: State
    found: str
    advice: str | None = None


def doctor(settings: Settings, *, as_json: bool) -> bool:
    """Look at everything and print it; returns whether nothing fails."""
    checks = []
    for check in examine(settings):
        checks.append(check)
        if not as_json:
            _print(check)
    if as_json:
        print_json([asdict(check) for check in checks])
    return all(check.state is not State.FAIL for check in checks)


def examine(settings: Settings) -> Iterator[Check]:
    """Yield one check after the other; none of them changes anything."""
    server = find_server(settings.data_dir)
    looks: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        ("packages", _packages),
        ("nothing leaves", _switches),
        ("data folder", lambda: _data_folder(settings.data_dir)),
        ("master key", lambda: _master_key(settings)),
        ("database", lambda: _database(settings)),
        ("embedding model", lambda: _embedder(settings)),
        ("index", lambda: _index(settings, is_running=server is not None)),
        ("parsing sandbox", _sandbox),
        ("language model", lambda: _model(settings)),
        ("memory", lambda: _memory(settings)),
        ("disk", lambda: _disk(settings.data_dir)),
        ("port", lambda: _port(settings, server.url if server else None)),
    ]
    for name, look in looks:
        yield _guarded(name, look)


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except StrongroomError as error:
        return Check(name, State.FAIL, error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - one broken part must not hide what the other checks find
        return Check(
            name, State.FAIL, f"The check itself failed: {type(error).__name__}.", "Reinstall Strongroom."
        )


# --- the program ----------------------------------------------------------------------------------


def _python() -> Check:
    version = ".".join(str(number) for number in sys.version_info[:3])
    if sys.version_info < _OLDEST_PYTHON:
        return Check("python", State.FAIL, version, "Strongroom needs Python 3.11 or later.")
    return Check("python", State.OK, version)


def _packages() -> Check:
    missing, other = [], []
    pinned = [match for line in metadata.requires("strongroom") or [] if (match := _PINNED.match(line))]
    for name, version in (match.groups() for match in pinned):
        try:
            # A local build such as 2.13.0+cpu is that version (PEP 440).
            if metadata.version(name).partition("+")[0] != version:
                other.append(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    advice = "Run `make up` again, or install requirements.txt."
    if missing:
        return Check("packages", State.FAIL, f"missing: {', '.join(missing)}", advice)
    if other:
        return Check(
            "packages", State.WARN, f"another version than the pinned one: {', '.join(other)}", advice
        )
    return Check("packages", State.OK, f"{len(pinned)} present, in the pinned versions")


def _switches() -> Check:
    wrong = [
        switch.name
        for switch in SWITCHES
        if isinstance(switch.value, str) and environment_value(switch.name) != switch.value
    ]
    if wrong:
        advice = "Start Strongroom by its command, which sets them."
        return Check("nothing leaves", State.FAIL, f"not switched off: {', '.join(wrong)}", advice)
    return Check("nothing leaves", State.OK, f"{len(SWITCHES)} switches of dependencies are set")


# --- the data folder ------------------------------------------------------------------------------


def _data_folder(folder: Path) -> Check:
    if not folder.exists():
        return Check("data folder", State.OK, f"{folder} does not exist yet; `strongroom up` makes it")
    if _open_to_others(folder):
        return Check("data folder", State.WARN, f"{folder} is open to other accounts", f"chmod 700 {folder}")
    return Check("data folder", State.OK, str(folder))


def _master_key(settings: Settings) -> Check:
    from infra.master_key import load_master_key, uses_key_file

    file, has_data = settings.resolved_master_key_file, _database_file(settings.data_dir).exists()
    if not uses_key_file(settings):
        if has_data:
            load_master_key(settings, create=False)
        return Check("master key", State.OK, "not in a file: keep a copy of where it is from")
    if not file.exists():
        if not has_data:
            return Check("master key", State.OK, "none yet; the first start makes it")
        advice = "Restore it from its backup; without it nothing can be opened."
        return Check("master key", State.FAIL, f"{file} is missing", advice)
    load_master_key(settings, create=False)
    if _open_to_others(file):
        return Check("master key", State.FAIL, f"{file} can be read by other accounts", f"chmod 600 {file}")
    return Check("master key", State.OK, f"{file}: keep a copy of it somewhere safe")


def _database(settings: Settings) -> Check:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.exc import SQLAlchemyError

    from infra.database.migrate import alembic_config
    from services.cli.record import opened_read_only

    if settings.database_url is None and not _database_file(settings.data_dir).exists():
        return Check("database", State.OK, "none yet; the first start makes it")
    try:
        with opened_read_only(settings) as ledger, ledger.database.engine.connect() as connection:
            current = set(MigrationContext.configure(connection).get_current_heads())
    except SQLAlchemyError as error:
        advice = "Check that it runs, its address, and the file's permissions; else restore a backup."
        return Check("database", State.FAIL, f"does not open ({type(error).__name__})", advice)
    newest = set(ScriptDirectory.from_config(alembic_config()).get_heads())
    if current != newest:
        return Check(
            "database", State.WARN, "an older schema", "The next `strongroom up` brings it up to date."
        )
    return Check("database", State.OK, "opens, and its schema is current")


def _embedder(settings: Settings) -> Check:
    from infra.embeddings import Embedder

    embedder = Embedder(settings.embedding_model, settings.embedding_dtype)
    return Check("embedding model", State.OK, f"{embedder.dimensions} dimensions, {embedder.tag}")


def _index(settings: Settings, *, is_running: bool) -> Check:
    if settings.qdrant_url is not None:
        check_private_url(settings.qdrant_url, settings.model_hosts)
        return Check("index", State.OK, "on a Qdrant server in the private network")
    if is_running:
        return Check("index", State.OK, "in use by the running server")
    folder = settings.data_dir / "index"
    if not folder.exists():
        return Check("index", State.OK, "none yet; the first start makes it")
    from infra.embeddings import Embedder
    from infra.vectors import EdgeIndex

    embedder = Embedder(settings.embedding_model, settings.embedding_dtype)
    index = EdgeIndex(folder, embedder.dimensions, embedder.tag)
    try:
        return Check("index", State.OK, f"opens; {index.count()} passages")
    finally:
        index.close()


# --- the machine ----------------------------------------------------------------------------------


def _sandbox() -> Check:
    from ingest.parse.confined.sandbox import sandbox_guarantees, sandbox_is_wrapped

    granted, is_wrapped = sandbox_guarantees(), sandbox_is_wrapped()
    refused = [
        _SANDBOX_IN_WORDS.get(name, name.replace("_", " ")) for name, has in granted.items() if not has
    ]
    if not (granted.get("no_network") or granted.get("no_sockets")):
        advice = "PARSERS COULD REACH THE NETWORK. Allow user namespaces or seccomp for this account."
        return Check("parsing sandbox", State.FAIL, "nothing keeps parsers off the network", advice)
    if refused:
        advice = "Allow it for this account, where the machine's policy permits; the other walls stand."
        found = f"{_WALLS[is_wrapped]}; NOT GRANTED by this kernel: {'; '.join(refused)}"
        return Check("parsing sandbox", State.WARN, found, advice)
    found = f"{_WALLS[is_wrapped]}; all {len(granted)} confinements are granted"
    return Check("parsing sandbox", State.OK, found)


def _model(settings: Settings) -> Check:
    if settings.quote_only:
        return Check("language model", State.OK, "none wanted: answers are verbatim quotes")
    if settings.model_base_url:
        check_private_url(settings.model_base_url, settings.model_hosts)
        return Check("language model", State.OK, f"a private server at {settings.model_base_url}")
    if settings.model_path:
        check_gguf(settings.model_path)
        return Check("language model", State.OK, f"{settings.model_path}, {_size(settings.model_path)}")
    found = installed(settings.models_dir)
    if not found:
        advice = "`strongroom models fetch`, or set STRONGROOM_MODEL_PATH or STRONGROOM_MODEL_BASE_URL."
        return Check("language model", State.WARN, "none here: answers are verbatim quotes", advice)
    return _digest(found[0])


def _digest(model: InstalledModel) -> Check:
    shown = f"{model.path.name}, {in_words(model.size)}"
    if model.starter is None:
        return Check("language model", State.OK, f"{shown}, not one of ours, so its digest is not known")
    if sha256_of(model.path) != model.starter.sha256:
        advice = f"Delete {model.path} and run `strongroom models fetch`."
        return Check("language model", State.FAIL, f"{shown}: its digest is wrong", advice)
    return Check("language model", State.OK, f"{shown}, digest as published")


def _memory(settings: Settings) -> Check:
    memory = psutil.virtual_memory()
    shown = f"{in_words(memory.available)} of {in_words(memory.total)} available"
    found = [] if settings.quote_only or settings.model_base_url else installed(settings.models_dir)
    needed = REST_OF_SERVER_BYTES + (found[0].size if found else 0)
    if memory.total < needed:
        return Check("memory", State.WARN, shown, "Use `strongroom up --small`, or --quote-only.")
    return Check("memory", State.OK, shown)


def _disk(folder: Path) -> Check:
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < _LITTLE_DISK:
        return Check("disk", State.WARN, f"{in_words(free)} free", "Uploads are refused when it is full.")
    return Check("disk", State.OK, f"{in_words(free)} free")


def _port(settings: Settings, running_at: str | None) -> Check:
    if running_at is not None:
        return Check("port", State.OK, f"Strongroom answers at {running_at}")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            found = "is in use" if error.errno == errno.EADDRINUSE else "cannot be used"
            advice = "Choose another one with --port or STRONGROOM_PORT."
            return Check("port", State.FAIL, f"{settings.port} {found}", advice)
    return Check("port", State.OK, f"{settings.port} is free")


def _open_to_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO))


def _database_file(data_dir: Path) -> Path:
    return data_dir / "strongroom.sqlite3"


def _size(path: Path) -> str:
    return in_words(path.stat().st_size)


def _print(check: Check) -> None:
    from rich.text import Text

    colour = {State.OK: "green", State.WARN: "bold yellow", State.FAIL: "bold red"}[check.state]
    line = Text.assemble((f"{check.state.value:<5}", colour), (f"{check.name:<16}", "bold"), check.found)
    console = answers()
    console.print(line, soft_wrap=True)
    if check.advice and check.state is not State.OK:
        console.print(f"     {'':<16}→ {check.advice}", soft_wrap=True)
