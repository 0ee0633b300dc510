"""SCIM filters (RFC 7644, section 3.4.2.2) as conditions of the database: how directories look people up."""

from __future__ import annotations

from typing import Any, Final

from scim2_models import InvalidFilterException, ScimFilter
from scim2_models.path import (
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)
from sqlalchemy import ColumnElement, and_, exists, not_, or_, true

from infra.accounts.provisioning import Kind, folded, group_principal
from infra.database.tables import DirectoryRecord, GroupMember
from infra.database.tables import User as Account
from services.scim.resources import Group, User

MAX_FILTER_CHARS: Final = 2000


def condition(kind: Kind, directory: str, text: str) -> ColumnElement[bool]:
    """Return the condition that a filter sets; raises InvalidFilterException for what is not supported."""
    if len(text) > MAX_FILTER_CHARS or "\0" in text:
        raise InvalidFilterException(detail=f"A filter has at most {MAX_FILTER_CHARS} characters.")
    visitor = _People() if kind == "user" else _Groups(directory)
    try:
        tree = ScimFilter[User](text).ast if kind == "user" else ScimFilter[Group](text).ast
        return visitor.visit(tree)
    except RecursionError as error:
        raise InvalidFilterException(detail="The filter is nested too deeply.") from error


class _Conditions(FilterVisitor[ColumnElement[bool]]):
    """What both kinds have in common; `name` is the attribute that a record's unique name stands for."""

    name = ""

    def visit_comparison(self, node: Comparison) -> ColumnElement[bool]:
        return self._compare(_spelled(node.attr_path), node.op, node.value)

    def visit_present(self, node: Present) -> ColumnElement[bool]:
        attribute = _spelled(node.attr_path)
        if attribute in {"id", self.name}:
            return true()
        if attribute == "externalid":
            return DirectoryRecord.external_id.is_not(None)
        raise _unsupported(attribute)

    def visit_not(self, node: Not) -> ColumnElement[bool]:
        return not_(self.visit(node.expr))

    def visit_logical_expr(self, node: LogicalExpr) -> ColumnElement[bool]:
        terms = [self.visit(term) for term in node.terms]
        return and_(*terms) if node.op == LogicalOperator.and_ else or_(*terms)

    def visit_value_path(self, node: ValuePath) -> ColumnElement[bool]:
        inner: FilterNode = node.val_filter
        if not isinstance(inner, Comparison):
            raise _unsupported(str(node.attr_path))
        return self._compare(f"{_spelled(node.attr_path)}.{_spelled(inner.attr_path)}", inner.op, inner.value)

    def _compare(self, attribute: str, operator: CompareOperator, value: Any) -> ColumnElement[bool]:
        if operator == CompareOperator.ne:
            return not_(self._compare(attribute, CompareOperator.eq, value))
        if attribute == self.name and isinstance(value, str):
            return _named(operator, folded(value))
        if operator == CompareOperator.eq:
            found = self._equals(attribute, value)
            if found is not None:
                return found
        raise _unsupported(f"{attribute} {operator}")

    def _equals(self, attribute: str, value: Any) -> ColumnElement[bool] | None:
        if attribute == "id" and isinstance(value, str):
            return DirectoryRecord.id == value
        if attribute == "externalid" and isinstance(value, str):
            # Absent is not equal, rather than unknown: otherwise `not` would hide it as well.
            return and_(DirectoryRecord.external_id.is_not(None), DirectoryRecord.external_id == value)
        return None


class _People(_Conditions):
    name = "username"

    def _equals(self, attribute: str, value: Any) -> ColumnElement[bool] | None:
        if attribute == "active" and isinstance(value, bool):
            is_open = exists().where(Account.id == DirectoryRecord.id, Account.disabled_at.is_(None))
            return is_open if value else not_(is_open)
        if attribute in {"emails", "emails.value"} and isinstance(value, str):
            return exists().where(Account.id == DirectoryRecord.id, Account.email == value.strip().lower())
        return super()._equals(attribute, value)


class _Groups(_Conditions):
    name = "displayname"

    def __init__(self, directory: str) -> None:
        self._prefix = group_principal(directory, "")

    def _equals(self, attribute: str, value: Any) -> ColumnElement[bool] | None:
        if attribute in {"members", "members.value"} and isinstance(value, str):
            return exists().where(
                GroupMember.group_id == self._prefix + DirectoryRecord.id, GroupMember.user_id == value
            )
        return super()._equals(attribute, value)


def _named(operator: CompareOperator, value: str) -> ColumnElement[bool]:
    if operator == CompareOperator.eq:
        return DirectoryRecord.unique_name == value
    if operator == CompareOperator.sw:
        return DirectoryRecord.unique_name.startswith(value, autoescape=True)
    if operator == CompareOperator.ew:
        return DirectoryRecord.unique_name.endswith(value, autoescape=True)
    if operator == CompareOperator.co:
        return DirectoryRecord.unique_name.contains(value, autoescape=True)
    raise _unsupported(str(operator))


def _spelled(path: AttrPath) -> str:
    """Return an attribute as it is compared: names have no case, and the schema goes without saying."""
    return ".".join(part.lower() for part in (path.attr, path.sub_attr) if part)


def _unsupported(what: str) -> InvalidFilterException:
    return InvalidFilterException(detail=f"This server does not filter by {what}.")
