"""Imports run the way the design says, and the environment has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("services", "agents", "ingest", "infra")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def uses(path: Path, module: str, names: set[str]) -> bool:
    """Tell whether a file touches `module.name` for one of `names`."""
    tree = ast.parse(path.read_text())
    return any(
        (
            isinstance(node, ast.Attribute)
            and node.attr in names
            and isinstance(node.value, ast.Name)
            and node.value.id == module
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == module
            and any(alias.name in names for alias in node.names)
        )
        for node in ast.walk(tree)
    )


def users_of(module: str, names: set[str]) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in SOURCES if uses(path, module, names)}


def test_the_import_contracts_hold():
    """Import Linter finds each contract of pyproject.toml kept."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_only_settings_read_the_environment():
    """`infra.settings` reads it and `infra.offline` writes its switches; nobody else touches it."""
    allowed = {"infra/settings.py", "infra/offline.py"}
    assert users_of("os", {"environ", "getenv", "environb", "putenv"}) == allowed


def test_only_the_network_module_makes_http_clients():
    """Every client checks its addresses, because one place makes them all."""
    assert {str(path.relative_to(ROOT)) for path in SOURCES if makes_client(path)} == {"infra/network.py"}


def makes_client(path: Path) -> bool:
    """Tell whether a file calls something of httpx2 that opens connections; naming a type is fine."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "httpx2"
        and node.func.attr not in {"URL", "Timeout", "Request", "Limits", "Headers"}
        and not node.func.attr.endswith("Error")
        for node in ast.walk(ast.parse(path.read_text()))
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_our_package_names_are_ours(package):
    """No installed distribution claims one of our top-level names (a vendor's SDK is called `agents`)."""
    claimed = set(metadata.packages_distributions().get(package, []))
    assert claimed <= {"strongroom"}
    spec = find_spec(package)
    assert spec is not None
    assert Path(str(spec.origin)).is_relative_to(ROOT)


def test_the_entry_point_closes_phone_lines_before_any_other_import():
    """Importing the command brings in nothing but the switch table and the standard library."""
    program = (
        "import sys, services.cli; "
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in "
        "{'typer', 'rich', 'httpx2', 'pydantic', 'transformers', 'torch', 'huggingface_hub', 'structlog'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
