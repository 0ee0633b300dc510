"""Every dependency's way of phoning home, switched off before it is imported.

`close_phone_lines()` is the first call of every entry point: most libraries read their switches once, at
import. This module therefore imports nothing that has any. `docs/nothing-leaves.md` repeats the table for
operators, and a test compares the two. Switches are the polite layer; the boundary is the network (design
§9), and `install_tripwire` tells when somebody walks up to it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True)
class BundledFolder:
    """A folder inside an installed package, given as a value once the package's place is known."""

    package: str
    folder: str


@dataclass(frozen=True)
class Switch:
    """One environment variable, the value we give it, and what would happen without it."""

    name: str
    value: str | BundledFolder
    reason: str


SWITCHES: Final = (
    Switch("HF_HUB_OFFLINE", "1", "huggingface_hub would ask its hub for newer model files"),
    Switch("TRANSFORMERS_OFFLINE", "1", "transformers would look up configuration and code on the hub"),
    Switch("HF_DATASETS_OFFLINE", "1", "datasets, where installed, would look up data on the hub"),
    Switch("HF_HUB_DISABLE_TELEMETRY", "1", "huggingface_hub would report library use"),
    Switch("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", "a token in a home folder would be sent with hub requests"),
    Switch("HF_HUB_DISABLE_UPDATE_CHECK", "1", "huggingface_hub would ask for its newest version"),
    Switch("DISABLE_TELEMETRY", "1", "the older name of the same switch"),
    Switch("DO_NOT_TRACK", "1", "tools that keep to the Console Do Not Track convention would report use"),
    Switch("VLLM_NO_USAGE_STATS", "1", "vLLM, when started from here, would send usage statistics"),
    Switch("VLLM_DO_NOT_TRACK", "1", "vLLM's second name for that switch"),
    Switch("QDRANT__TELEMETRY_DISABLED", "true", "a Qdrant server started from here would send telemetry"),
    Switch("ANONYMIZED_TELEMETRY", "False", "vector stores and agents that use this name would report use"),
    Switch("LANGSMITH_TRACING", "false", "tracing would send prompts to a vendor"),
    Switch("LANGCHAIN_TRACING_V2", "false", "the older name of the same switch"),
    Switch("WANDB_MODE", "disabled", "experiment tracking, where installed, would upload runs"),
    Switch(
        "OTEL_SDK_DISABLED", "true", "OpenTelemetry would export traces to wherever the machine points it"
    ),
    Switch("ORT_DISABLE_TELEMETRY", "1", "onnxruntime, which recognises text, would report use"),
    Switch("LLAMA_OFFLINE", "1", "llama.cpp's own programs would fetch a model named by a hub address"),
    Switch(
        "TIKTOKEN_CACHE_DIR",
        BundledFolder("llama_index", "core/_static/tiktoken_cache"),
        "tiktoken would fetch its vocabularies from a public store",
    ),
    Switch(
        "NLTK_DATA",
        BundledFolder("llama_index", "core/_static/nltk_cache"),
        "NLTK data would be fetched when a tokenizer is missing",
    ),
    Switch("TOKENIZERS_PARALLELISM", "false", "no line, but a fork after its threads started would hang"),
)
"""What `close_phone_lines` sets. An empty folder instead of a bundled one would make tiktoken fetch."""


def close_phone_lines() -> None:
    """Set every switch of the table in this process and, by inheritance, in its children.

    An operator's own value is overwritten: an exported HF_HUB_OFFLINE=0 must not open a line.
    """
    for switch in SWITCHES:
        value = _resolved(switch.value)
        if value is not None:
            os.environ[switch.name] = value


def install_tripwire(on_attempt: Callable[[str, str], None], *, allowed_hosts: Collection[str] = ()) -> None:
    """Call `on_attempt(kind, target)` whenever Python code turns to something outside; it is not stopped.

    `kind` is "connect", "send" or "lookup"; `target` is a class of address ("public IPv4", "link-local")
    or "name", never the address or name itself, which could carry content. Private addresses, `localhost`
    and `allowed_hosts` pass silently. The hook stays until the process ends (PEP 578), and sees Python's own
    sockets only: C++ libraries, ctypes and children escape it. A tripwire, not a wall.
    """
    # Imported here, after the switches are set, because it brings in the HTTP client.
    from infra.network import address_class, literal_address

    silent = frozenset({"", "localhost", *(name.lower() for name in allowed_hosts)})
    inside = threading.local()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        kind = _WATCHED.get(event)
        if kind is None or getattr(inside, "busy", False):
            return
        # Recording an attempt may itself open a socket (a database, say); that must not recurse.
        inside.busy = True
        try:
            target = _target(kind, arguments)
            if target is not None:
                on_attempt(kind, target)
        finally:
            inside.busy = False

    def _target(kind: str, arguments: tuple[Any, ...]) -> str | None:
        host = _host(kind, arguments)
        if host is None or host.lower().rstrip(".") in silent:
            return None
        address = literal_address(host)
        if address is None:
            return "name"
        if kind == "lookup":
            return None  # Nobody is asked about an address that is spelled out.
        kind_of_address = address_class(address)
        return None if kind_of_address == "private" else kind_of_address

    sys.addaudithook(watch)


_WATCHED: Final = {
    "socket.connect": "connect",
    "socket.sendto": "send",
    "socket.sendmsg": "send",
    "socket.getaddrinfo": "lookup",
    "socket.gethostbyname": "lookup",
    "socket.gethostbyaddr": "lookup",
    "socket.getnameinfo": "lookup",
}


def _host(kind: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the host of an audit event, or None where there is none (a Unix socket, say)."""
    place = arguments[0] if kind == "lookup" else arguments[-1]
    if isinstance(place, tuple) and place:
        place = place[0]
    elif kind != "lookup":
        return None
    if isinstance(place, bytes):
        place = place.decode("ascii", "replace")
    return place if isinstance(place, str) else None


def _resolved(value: str | BundledFolder) -> str | None:
    """Return the text to set; None when the package is not installed, which then needs no switch."""
    if isinstance(value, str):
        return value
    # find_spec of a top-level name locates a package without importing it.
    spec = find_spec(value.package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / value.folder
        if folder.is_dir():
            return str(folder)
    return None
