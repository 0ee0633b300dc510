"""Records as events of the Open Cybersecurity Schema Framework, which SIEMs read without a parser of ours.

https://schema.ocsf.io, version 1.8.0: the first whose API Activity carries the `ai_operation` profile. What
has no attribute there is kept in `unmapped`, so nothing of a record is lost. No content is in any of it: a
record holds hashes, ids and counts only. It knows no client address either; `src_endpoint`, which two
classes demand, therefore names the server that wrote the record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from infra.audit.event_types import EventType, Stage
from infra.audit.forwarding.ocsf_classes import (
    ACCOUNT,
    API,
    AUTHENTICATION,
    BASE,
    BECOMES,
    DATASTORE,
    ENTITY,
    LIFECYCLE,
    Becomes,
)
from infra.audit.leaf import AI, Actor, Leaf, Resource

SCHEMA_VERSION: Final = "1.8.0"
PRODUCT: Final = {"name": "Strongroom", "vendor_name": "Strongroom"}
LOG_NAME: Final = "strongroom/ledger"
OTHER: Final = 99
"""What the schema has no number for; its name stands beside it."""

_Part = dict[str, Any]


def ocsf_event(leaf: Leaf, *, index: int, log_name: str = LOG_NAME) -> dict[str, Any]:
    """Return the record at `index` of the log `log_name` as one OCSF event, ready for JSON.

    Every type that this program knows has its class; a later one becomes a Base Event.
    """
    becomes = _becomes(leaf)
    parts = _PARTS[becomes.to.uid](leaf)
    return (
        _classification(becomes)
        | _result(leaf, becomes)
        | {
            "time": leaf.time,
            "message": _message(leaf.type),
            "metadata": _metadata(leaf, index, log_name),
            "unmapped": _unmapped(leaf, parts),
        }
        | parts
    )


def _becomes(leaf: Leaf) -> Becomes:
    known = _KNOWN.get(leaf.type)
    if known is EventType.REFUSED and leaf.res is not None:
        # `GET /v1/files`: what was refused is told by its method.
        method = leaf.res.id.partition(" ")[0]
        return Becomes(API, _METHODS.get(method, "Refused"), good=BECOMES[known].good)
    mapped = BECOMES.get(known) if known else None
    return mapped or Becomes(BASE, leaf.type)


_METHODS: Final = {
    "GET": "Read",
    "HEAD": "Read",
    "POST": "Create",
    "PUT": "Update",
    "PATCH": "Update",
    "DELETE": "Delete",
}


_KNOWN: Final = {member.value: member for member in EventType}


def _message(event_type: str) -> str:
    known = _KNOWN.get(event_type)
    return known.description if known else "An event of a type that is newer than this program."


def _classification(becomes: Becomes) -> _Part:
    to = becomes.to
    activity_id = to.activities.get(becomes.activity, OTHER)
    return {
        "category_uid": to.category_uid,
        "category_name": to.category_name,
        "class_uid": to.uid,
        "class_name": to.name,
        "activity_id": activity_id,
        "activity_name": becomes.activity,
        "type_uid": to.uid * 100 + activity_id,
        "type_name": f"{to.name}: {becomes.activity if activity_id != OTHER else 'Other'}",
    }


# --- how it ended ---------------------------------------------------------------------------------

UNKNOWN: Final = (0, "Unknown")
SUCCESS: Final = (1, "Success")
FAILURE: Final = (2, "Failure")


def _result(leaf: Leaf, becomes: Becomes) -> _Part:
    status_id, status = _status(leaf, becomes)
    severity = becomes.failure if status_id == FAILURE[0] else becomes.severity
    result: _Part = {
        "status_id": status_id,
        "status": status,
        "severity_id": severity.value,
        "severity": severity.name.capitalize(),
    }
    return result | ({"status_detail": leaf.outcome} if leaf.outcome else {})


def _status(leaf: Leaf, becomes: Becomes) -> tuple[int, str]:
    if leaf.authz is not None and leaf.authz.decision != "allow":
        return FAILURE
    if becomes.to is BASE or leaf.outcome == "unknown" or leaf.stage is Stage.START:
        return UNKNOWN
    if becomes.good is None or leaf.stage is Stage.SEGMENT:
        return SUCCESS
    return SUCCESS if leaf.outcome in becomes.good else FAILURE


# --- what every class has -------------------------------------------------------------------------


def _metadata(leaf: Leaf, index: int, log_name: str) -> _Part:
    metadata: _Part = {
        "version": SCHEMA_VERSION,
        "product": dict(PRODUCT),
        "log_name": log_name,
        "log_provider": leaf.src,
        "log_version": str(leaf.v),
        "event_code": leaf.type,
        "uid": leaf.id,
        "original_event_uid": leaf.id,
        "correlation_uid": leaf.corr,
        "sequence": index,
    }
    return metadata | ({"profiles": ["ai_operation"]} if _is_answer(leaf) else {})


def _is_answer(leaf: Leaf) -> bool:
    return leaf.type.startswith("answer.")


def _unmapped(leaf: Leaf, parts: _Part) -> _Part:
    """Return what the class has no attribute for, under the names of the record's format."""
    rest = {
        "stage": str(leaf.stage),
        "actor": _unmapped_actor(leaf.actor) if {"actor", "user"} & parts.keys() else vars(leaf.actor),
        "res": vars(leaf.res) if leaf.res and not _names_object(parts) else None,
        "authz": vars(leaf.authz) if leaf.authz else None,
        "ai": _unmapped_ai(leaf.ai, mapped="ai_model" in parts) if leaf.ai else None,
        # Each call has an event of its own: here its tokens must not be counted a second time.
        "calls": [_present(_unmapped_ai(call, mapped=False)) for call in leaf.calls],
        "segments": leaf.segments or None,
        "ret": None if "api" in parts else [vars(passage) for passage in leaf.ret],
        "content": vars(leaf.content) if leaf.content else None,
    }
    return _present({name: _present(part) if isinstance(part, dict) else part for name, part in rest.items()})


def _unmapped_actor(actor: Actor) -> _Part:
    # A kind that the schema does not know, such as `anonymous`, would be lost as "Unknown".
    return {"kind": actor.kind, "auth": actor.auth, "pset": actor.pset}


def _names_object(parts: _Part) -> bool:
    """Tell whether the class has a place for the type of what it was done to."""
    return bool({"entity", "databucket", "resources"} & parts.keys())


def _unmapped_ai(ai: AI, *, mapped: bool) -> _Part:
    rest = {"prompt": ai.prompt, "params": dict(ai.params), "tools": [vars(tool) for tool in ai.tools]}
    if mapped:
        return rest
    tokens = {"in": ai.tokens.read, "out": ai.tokens.written} if ai.tokens else None
    return {"model": ai.model, "tokens": tokens} | rest


def _present(members: _Part) -> _Part:
    """Leave out what is absent: None, and empty lists and objects."""
    return {name: value for name, value in members.items() if value not in (None, [], {})}


def _user(actor: Actor) -> _Part:
    type_id, caption = _USER_TYPES.get(actor.kind, (0, "Unknown"))
    return {"uid": actor.sub, "type_id": type_id, "type": caption}


_USER_TYPES: Final = {"user": (1, "User"), "system": (3, "System"), "service": (4, "Service")}


def _actor(leaf: Leaf) -> _Part:
    actor: _Part = {"user": _user(leaf.actor)}
    return actor | ({"session": {"uid": leaf.actor.sess}} if leaf.actor.sess else {})


def _source(leaf: Leaf) -> _Part:
    return {"svc_name": leaf.src, "name": leaf.src}


# --- one function a class -------------------------------------------------------------------------


def _base(leaf: Leaf) -> _Part:
    return {}


def _lifecycle(leaf: Leaf) -> _Part:
    return {"app": dict(PRODUCT) | {"uid": leaf.src}}


def _account(leaf: Leaf) -> _Part:
    user = {"uid": leaf.res.id} if leaf.res else _user(leaf.actor)
    return {"user": user, "actor": _actor(leaf), "src_endpoint": _source(leaf)}


def _authentication(leaf: Leaf) -> _Part:
    protocol_id, protocol = _PROTOCOLS.get(leaf.actor.auth.partition(":")[0], (OTHER, leaf.actor.auth))
    parts: _Part = {
        "user": _user(leaf.actor),
        "service": {"name": PRODUCT["name"], "uid": leaf.src},
        "auth_protocol_id": protocol_id,
        "auth_protocol": protocol,
        "logon_type_id": 3,
        "logon_type": "Network",
        "src_endpoint": _source(leaf),
    }
    return parts | ({"session": {"uid": leaf.actor.sess}} if leaf.actor.sess else {})


_PROTOCOLS: Final = {"oidc": (4, "OpenID"), "ldap": (12, "LDAP"), "none": (0, "Unknown")}


def _entity(leaf: Leaf) -> _Part:
    return {"entity": _object(leaf), "actor": _actor(leaf), "src_endpoint": _source(leaf)}


def _datastore(leaf: Leaf) -> _Part:
    return {
        "actor": _actor(leaf),
        "src_endpoint": _source(leaf),
        "databucket": _object(leaf) | {"type_id": OTHER},
        "type_id": 2,
        "type": "Databucket",
    }


def _object(leaf: Leaf) -> _Part:
    """Return what it was done to; without an object of its own, the kind of thing that the type names."""
    if leaf.res is None:
        kind = leaf.type.partition(".")[0]
        return {"name": kind, "type": kind}
    return _resource(leaf.res)


def _resource(res: Resource) -> _Part:
    found = {"uid": res.id, "type": res.type}
    return found | ({"version": res.ver} if res.ver else {})


def _api(leaf: Leaf) -> _Part:
    refused = leaf.type == EventType.REFUSED and leaf.res is not None
    operation = leaf.res.id if refused and leaf.res else leaf.type
    service = {"name": PRODUCT["name"], "uid": leaf.src}
    parts: _Part = {
        "api": {"operation": operation, "service": service, "request": {"uid": leaf.corr}},
        "actor": _actor(leaf),
        "src_endpoint": _source(leaf),
        "resources": _resources(leaf),
    }
    if _is_answer(leaf):
        parts["message_context"] = _message_context(leaf, service)
        parts["ai_model"] = leaf.ai and {"name": leaf.ai.model, "ai_provider": "self-hosted"}
    return {name: part for name, part in parts.items() if part}


def _resources(leaf: Leaf) -> list[_Part]:
    """Return the object and the passages; a passage's place in the answer is its `data`."""
    objects = [_resource(leaf.res)] if leaf.res else []
    passages = [
        {
            "uid": passage.doc,
            "version": passage.ver,
            "type": "document",
            "data": {
                "chunk": passage.chunk,
                "hash": passage.hash,
                "rank": passage.rank,
                "cited": passage.cited,
            },
        }
        for passage in leaf.ret
    ]
    return objects + passages


_ROLES: Final = {
    EventType.ANSWER_ASKED.value: (1, "User"),
    EventType.ANSWER_RETRIEVED.value: (6, "Retriever"),
}


def _message_context(leaf: Leaf, service: _Part) -> _Part:
    role_id, role = _ROLES.get(leaf.type, (2, "Assistant"))
    context: _Part = {"uid": leaf.corr, "service": service, "ai_role_id": role_id, "ai_role": role}
    return context | (_token_counts(leaf.ai) if leaf.ai else {})


def _token_counts(ai: AI) -> _Part:
    if ai.tokens is None:
        return {}
    read, written = ai.tokens.read, ai.tokens.written
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


_PARTS: Final[dict[int, Callable[[Leaf], _Part]]] = {
    BASE.uid: _base,
    ACCOUNT.uid: _account,
    AUTHENTICATION.uid: _authentication,
    ENTITY.uid: _entity,
    LIFECYCLE.uid: _lifecycle,
    API.uid: _api,
    DATASTORE.uid: _datastore,
}
