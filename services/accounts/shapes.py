"""Accounts, groups and keys as the endpoints answer them."""

from __future__ import annotations

from typing import Any

from infra.database.tables import ApiKey, Group, User


def user_object(user: User) -> dict[str, Any]:
    """Return an account without anything that decides about access but its roles."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "kind": user.kind,
        "roles": user.roles,
        "created_at": user.created_at,
        "disabled": user.disabled_at is not None,
    }


def account_object(user: User, directories: list[str]) -> dict[str, Any]:
    """Return an account as administrators see it; `directories` say where it comes from, if not from here."""
    return {
        **user_object(user),
        "email_vouched": user.email_vouched,
        "clearance": user.clearance,
        "compartments": user.compartments,
        "directories": directories,
    }


def group_object(group: Group) -> dict[str, Any]:
    """Return a group without its members."""
    return {"id": group.id, "name": group.name, "directory": group.directory}


def key_object(key: ApiKey) -> dict[str, Any]:
    """Return a key without its secret, which is nowhere kept."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
