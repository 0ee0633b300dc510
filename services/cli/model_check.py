"""`strongroom models check`: a running model server, or a model's files before anybody opens them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.errors import AddressRefused, InvalidInput
from infra.models.entries import Model
from infra.models.families import catalogue
from infra.models.probing import Finding, ServerProbe, Verdict
from infra.models.serving import vllm_flags
from infra.models.weights import check_weights
from services.cli.terminal import answers, in_words, messages, plain, print_json

if TYPE_CHECKING:
    from infra.settings import Settings

_MARKS: Final = {Verdict.WORKS: "✓", Verdict.FAILS: "✗", Verdict.ABSENT: "–"}
_PARSED: Final = ("tool calls", "reasoning field")


def check_server(settings: Settings, url: str, *, model: str | None, key: str | None, as_json: bool) -> bool:
    """Look at a server and print each finding; returns whether nothing fails.

    The key that is set is sent to the server that it is set for, and to no other. Raises InvalidInput for
    an address that may not be contacted.
    """
    try:
        probe = ServerProbe(
            url,
            key=key or _key_for(settings, url),
            model=model,
            allowed_hosts=settings.model_hosts,
            timeout_s=settings.model_timeout_s,
        )
        with probe:
            findings = _printed(probe, as_json=as_json)
    except AddressRefused as error:
        raise InvalidInput(error.message, hint=error.hint) from error
    known = catalogue().recognise(probe.model) if probe.model else None
    if as_json:
        rows = [asdict(finding) for finding in findings]
        print_json({"url": probe.url, "model": probe.model, "known_as": known and known.name, "checks": rows})
    elif known is not None:
        _advise(known, findings)
    return all(finding.verdict is not Verdict.FAILS for finding in findings)


def check_files(path: Path, sha256: str | None, *, as_json: bool) -> bool:
    """Check a model's folder or file; raises ConfigurationError or ChecksumMismatch for what is refused."""
    if not path.exists():
        raise InvalidInput(
            "There is no file or folder at this place.", hint="An address starts with http://."
        )
    found = check_weights(path, sha256)
    if as_json:
        files = [{**asdict(file), "path": str(file.path)} for file in found.files]
        print_json({"files": files, "bytes": found.size, "code": [str(file) for file in found.code]})
        return True
    from rich.table import Table

    table = Table("file", "kind", "size", "digest", box=None, pad_edge=False)
    for file in found.files:
        digest = "as promised" if file.sha256 else "not compared"
        table.add_row(plain(file.path.name), file.kind, in_words(file.size), digest)
    answers().print(table)
    if found.code:
        messages().print(
            f"{len(found.code)} Python files lie beside the weights; an engine told to trust remote code runs"
            " them.",
            soft_wrap=True,
        )
    return True


def _printed(probe: ServerProbe, *, as_json: bool) -> list[Finding]:
    """Take the findings as they come, and print each at once: a slow server takes minutes."""
    findings = []
    for finding in probe.findings():
        findings.append(finding)
        if not as_json:
            value = f" [{plain(str(finding.value))}]" if finding.value is not None else ""
            line = (
                f"{_MARKS[finding.verdict]} {finding.name}: {finding.verdict.value}{value}, {finding.reason}"
            )
            answers().print(line, soft_wrap=True)
    return findings


def _advise(known: Model, findings: list[Finding]) -> None:
    """Say what the catalogue would start vLLM with, where tools or thinking do not come as they should."""
    wanting = [one for one in findings if one.name in _PARSED and one.verdict is not Verdict.WORKS]
    flags = vllm_flags(known)
    if wanting and flags:
        messages().print(
            f"The catalogue knows it as {known.name}. vLLM takes: {' '.join(flags)}", soft_wrap=True
        )


def _key_for(settings: Settings, url: str) -> str | None:
    """Return the key that is set, but only for the very server that it is set for."""
    if settings.model_api_key is None or settings.model_base_url is None:
        return None
    is_same = url.rstrip("/") == settings.model_base_url.rstrip("/")
    return settings.model_api_key.get_secret_value() if is_same else None
