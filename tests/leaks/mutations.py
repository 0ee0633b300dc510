"""A pytest plugin that takes one layer out of the program: `-p tests.leaks.mutations --mutant NAME`.

A mutant changes a few characters of some functions, in their source, and gives the functions the code that
comes of it. Whoever rewrites such a function finds here that its layer must stay tested.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final

import pytest
from hypothesis import Phase, settings


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which stands in the function exactly once."""

    function: str  # module:qualified name
    old: str
    new: str


FILTER: Final = "infra.vectors.conditions:scope_conditions"
SQL: Final = "infra.documents:readable"
RE_CHECK: Final = "infra.documents:open_passages"
RULE: Final = "infra.access:explain"
SEARCH: Final = "agents.retrieve:Retriever.search"
_NO_SQL: Final = Edit(RE_CHECK, ", readable(scope))", ")")
_NO_DECISION: Final = Edit(RE_CHECK, "may_read(scope, access.get(document.id, DocumentAccess()))", "True")

MUTANTS: Final[dict[str, tuple[Edit, ...]]] = {
    "filter": (
        Edit(
            FILTER,
            "return Conditions(tuple(must), tuple(must_not))",
            "return Conditions(tuple(must[3 + (not scope.compartments):]))",
        ),
    ),
    "filter-within": (Edit(FILTER, 'HasAny("within", tuple(sorted(scope.principals))),', ""),),
    "filter-deny": (Edit(FILTER, 'HasAny("deny", tuple(sorted(scope.principals)))', ""),),
    "re-check": (_NO_SQL, _NO_DECISION),
    "re-check-sql": (_NO_SQL,),
    "re-check-decision": (_NO_DECISION,),
    "re-check-version": (Edit(RE_CHECK, "document.version_id != version.id", "False"),),
    "sql-within": (Edit(SQL, '(of_collection("allow") | Document.collection_id.is_(None))', "true()"),),
    "sql-deny": (Edit(SQL, '~of_document("deny")', "true()"),),
    "sql-collection-deny": (Edit(SQL, '~of_collection("deny")', "true()"),),
    "sql-deleted": (Edit(SQL, "Document.deleted_at.is_(None)", "true()"),),
    "rule-within": (
        Edit(RULE, 'Finding("collection", bool(let_in), let_in)', 'Finding("collection", True)'),
    ),
    "rule-deny": (Edit(RULE, 'Finding("deny", not denied, denied)', 'Finding("deny", True)'),),
    "memory-scope": (Edit(SEARCH, "SearchKey(scope.principal_set_hash,", 'SearchKey("",'),),
    "memory-epoch": (
        Edit(SEARCH, "SearchKey(scope.principal_set_hash, epoch,", "SearchKey(scope.principal_set_hash, 0,"),
    ),
    "cache-salt": (Edit("agents.answer:Answerer._cache_salt", "{scope.principal_set_hash}", "anybody"),),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the mutant's name."""
    parser.addoption("--mutant", choices=sorted(MUTANTS), help="the layer to take out; default: none")


def pytest_configure(config: pytest.Config) -> None:
    """Change the program before any test runs. The first failure is enough, so it is not made smaller."""
    settings.register_profile("first-failure", phases=[Phase.explicit, Phase.generate])
    settings.load_profile("first-failure")
    name = config.getoption("mutant")
    by_function: dict[str, list[Edit]] = {}
    for edit in MUTANTS[name] if name else ():
        by_function.setdefault(edit.function, []).append(edit)
    for function, edits in by_function.items():
        apply(function, edits)


def apply(path: str, edits: list[Edit]) -> None:
    """Give a function the code of its edited source; raises ValueError where an edit does not fit exactly."""
    function = _find(path)
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        if source.count(edit.old) != 1:
            raise ValueError(f"{path} has changed: adapt the mutant that replaces {edit.old!r}")
        source = source.replace(edit.old, edit.new)
    code = compile(source, f"<mutant of {path}>", "exec", flags=__future__.annotations.compiler_flag)
    scope: dict[str, Any] = dict(function.__globals__)
    # Everybody who imported the function has this very object, so its code is changed in place.
    exec(code, scope)
    function.__globals__.setdefault("true", importlib.import_module("sqlalchemy").true)
    function.__code__ = scope[function.__name__].__code__


def _find(path: str) -> FunctionType:
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, FunctionType)
    return found
