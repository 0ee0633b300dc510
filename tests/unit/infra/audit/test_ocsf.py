"""Records as OCSF events: every type has a class, each has what the schema demands, nothing is lost."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from ocsf.v1_7_0 import events as schema

from infra.audit.event_types import EventType, Stage
from infra.audit.forwarding.ocsf import LOG_NAME, ocsf_event
from infra.audit.forwarding.ocsf_classes import BECOMES
from infra.audit.leaf import (
    AI,
    ANONYMOUS,
    SYSTEM,
    Actor,
    Authz,
    ContentRef,
    Leaf,
    Resource,
    Retrieved,
    Tokens,
    ToolUse,
    canonical,
)

# What https://schema.ocsf.io/1.8.0 calls "required" in each class, and its "at least one of" constraints.
# The attributes of the base event come first; they belong to every class.
BASE_REQUIRED: Final = {
    "activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid",
}  # fmt: skip
REQUIRED: Final = {
    3001: {"user"},
    3002: {"user"},
    3004: {"entity"},
    6002: {"app"},
    6003: {"actor", "api", "src_endpoint"},
    6005: {"actor", "src_endpoint"},
}
ONE_OF: Final = {3002: {"service", "dst_endpoint"}, 6005: {"database", "databucket", "table"}}
OBJECT_REQUIRED: Final = {
    "metadata": {"product", "version"},
    "api": {"operation"},
    "ai_model": {"name", "ai_provider"},
    "databucket": {"type_id"},
}
OBJECT_ONE_OF: Final = {
    "user": {"account", "name", "uid"},
    "service": {"name", "uid"},
    "app": {"name", "uid"},
    "entity": {"name", "uid"},
    "databucket": {"name", "uid"},
    "message_context": {"application", "service"},
}
MODELS: Final = {
    3001: schema.AccountChange,
    3002: schema.Authentication,
    3004: schema.EntityManagement,
    6002: schema.ApplicationLifecycle,
    6003: schema.ApiActivity,
    6005: schema.DatastoreActivity,
}
HASH: Final = "ab" * 32


def leaf(event_type: EventType | str, **parts: Any) -> Leaf:
    """Make a record of one type."""
    made: dict[str, Any] = {
        "id": "01936d2e-7c00-7abc-8def-0123456789ab",
        "type": str(event_type),
        "stage": Stage.SINGLE,
        "corr": "request-1",
        "time": 1732703583232,
        "src": "local",
        "actor": Actor(sub="subject-1", kind="user", auth="session", sess="session-1", pset=HASH),
        "res": Resource("document", "document-1", "version-1"),
        "outcome": "ok",
    }
    return Leaf(**(made | parts))


def full(event_type: EventType) -> Leaf:
    """Make a record with every part that a record can have."""
    return leaf(
        event_type,
        authz=Authz("allow", "rule/2", 7),
        ai=AI("model-digest", HASH, {"temperature": "0.2"}, Tokens(300, 40), (ToolUse("search", "ran"),)),
        calls=(AI("called-digest", HASH, {"top_p": "0.9"}, Tokens(301, 41), (ToolUse("fetch", "refused"),)),),
        ret=(Retrieved("document-2", "version-2", "chunk-2", HASH, 1, 1),),
        content=ContentRef(HASH, "cd" * 32, "key-1", 24),
    )


@pytest.mark.parametrize("event_type", list(EventType))
@pytest.mark.parametrize("make", [leaf, full])
def test_every_type_has_what_its_class_demands(event_type, make):
    """Each type becomes a class with all required attributes of the published schema."""
    event = ocsf_event(make(event_type), index=5)
    assert event["class_uid"] in REQUIRED
    assert BASE_REQUIRED | REQUIRED[event["class_uid"]] <= event.keys()
    one_of = ONE_OF.get(event["class_uid"])
    assert one_of is None or one_of & event.keys()
    for name, required in OBJECT_REQUIRED.items():
        assert name not in event or required <= event[name].keys()
    for name, any_of in OBJECT_ONE_OF.items():
        assert name not in event or any_of & event[name].keys()


@pytest.mark.parametrize("event_type", list(EventType))
def test_an_independent_model_of_the_schema_accepts_every_type(event_type):
    """A validator by others takes each event: numbers, names beside them, and types of attributes agree."""
    event = json.loads(json.dumps(ocsf_event(full(event_type), index=5)))
    MODELS[event["class_uid"]].model_validate(event)


def test_the_independent_model_refuses_a_wrong_event():
    """That validator does find a class number that is not the class's."""
    event = ocsf_event(full(EventType.FILE_UPLOADED), index=5)
    with pytest.raises(ValueError, match="class_uid"):
        schema.ApiActivity.model_validate(event)


@pytest.mark.parametrize("event_type", list(EventType))
def test_numbers_belong_together(event_type):
    """The type number is the class's and the activity's, as the schema computes it."""
    event = ocsf_event(leaf(event_type), index=5)
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["category_uid"] == event["class_uid"] // 1000
    assert event["severity_id"] in (1, 2, 3, 4)


def test_every_type_is_mapped_on_purpose():
    """No type falls through to the class for what is not known."""
    assert set(BECOMES) == set(EventType)


@pytest.mark.parametrize("event_type", list(EventType))
def test_nothing_of_a_record_is_lost(event_type):
    """Every text and number of the record is somewhere in its event."""
    record = full(event_type)
    event = json.dumps(ocsf_event(record, index=5))
    for value in _values(json.loads(canonical(record))):
        assert json.dumps(value) in event or json.dumps(str(value)) in event, value


def _values(document: Any) -> list[str | int]:
    if isinstance(document, dict):
        return [found for member in document.values() for found in _values(member)]
    if isinstance(document, list):
        return [found for member in document for found in _values(member)]
    return [document]


def test_metadata_leads_back_to_the_record():
    """Log, place, id and request of the record are in the metadata."""
    metadata = ocsf_event(leaf(EventType.SOURCE_OPENED), index=5)["metadata"]
    assert metadata["version"] == "1.8.0"
    assert metadata["product"]["name"] == "Strongroom"
    assert (metadata["log_name"], metadata["sequence"]) == (LOG_NAME, 5)
    assert metadata["original_event_uid"] == "01936d2e-7c00-7abc-8def-0123456789ab"
    assert metadata["correlation_uid"] == "request-1"


def test_an_answer_carries_the_model_under_the_ai_profile():
    """A model call names model and token counts as the `ai_operation` profile has them."""
    event = ocsf_event(full(EventType.ANSWER_GENERATED), index=5)
    assert event["class_uid"] == 6003
    assert event["metadata"]["profiles"] == ["ai_operation"]
    assert event["ai_model"] == {"name": "model-digest", "ai_provider": "self-hosted"}
    counts = {name: event["message_context"][name] for name in event["message_context"] if "tokens" in name}
    assert counts == {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340}


def test_an_answer_names_its_passages_as_resources():
    """A SIEM can search for the documents that an answer rests on."""
    event = ocsf_event(full(EventType.ANSWER_FINISHED), index=5)
    passage = {"chunk": "chunk-2", "hash": HASH, "rank": 1, "cited": 1}
    expected = {"uid": "document-2", "version": "version-2", "type": "document", "data": passage}
    assert expected in event["resources"]


@pytest.mark.parametrize(
    ("event_type", "parts", "status", "severity"),
    [
        (EventType.SIGNIN_OK, {}, "Success", "Informational"),
        (EventType.SIGNIN_FAILED, {"actor": ANONYMOUS, "res": None, "outcome": "refused"}, "Failure", "Low"),
        (EventType.ANSWER_FINISHED, {"stage": Stage.END, "outcome": "abstained"}, "Success", "Informational"),
        (EventType.ANSWER_FINISHED, {"stage": Stage.END, "outcome": "unknown"}, "Unknown", "Informational"),
        (EventType.ANSWER_FINISHED, {"stage": Stage.END, "outcome": "blocked"}, "Failure", "Low"),
        (EventType.ANSWER_ASKED, {"stage": Stage.START, "outcome": None}, "Unknown", "Informational"),
        (EventType.FILE_PARSED, {"outcome": "encrypted"}, "Failure", "Low"),
        (EventType.AUDIT_VERIFIED, {"outcome": "tampered"}, "Failure", "High"),
        (EventType.NETWORK_BLOCKED, {"actor": SYSTEM, "outcome": "connect: name"}, "Failure", "High"),
        (EventType.FILES_READ, {"authz": Authz("deny", "rule/2", 7)}, "Failure", "Low"),
    ],
)
def test_outcomes_become_status_and_severity(event_type, parts, status, severity):
    """How it ended is told in the schema's words, and in the record's own beside it."""
    record = leaf(event_type, **parts)
    event = ocsf_event(record, index=5)
    assert (event["status"], event["severity"]) == (status, severity)
    assert event.get("status_detail") == record.outcome


@pytest.mark.parametrize(("method", "activity"), [("GET", 2), ("POST", 1), ("DELETE", 4), ("BREW", 99)])
def test_a_refusal_names_the_operation(method, activity):
    """A refused request is told by its method and its path's template."""
    record = leaf(EventType.REFUSED, res=Resource("operation", f"{method} /v1/files"), outcome="not_found")
    event = ocsf_event(record, index=5)
    assert event["api"]["operation"] == f"{method} /v1/files"
    assert event["activity_id"] == activity


def test_a_later_type_becomes_a_base_event():
    """A record of a type that this program does not know is passed on, not dropped."""
    event = ocsf_event(leaf("moon.landed"), index=5)
    assert (event["class_uid"], event["activity_id"], event["activity_name"]) == (0, 99, "moon.landed")
    assert event["metadata"]["event_code"] == "moon.landed"
    assert event["unmapped"]["res"]["id"] == "document-1"


@pytest.mark.parametrize(("auth", "protocol"), [("oidc:corp", 4), ("ldap", 12), ("password", 99)])
def test_a_sign_in_names_its_protocol(auth, protocol):
    """A directory's protocol has the schema's number; ours has its own name."""
    record = leaf(EventType.SIGNIN_OK, actor=Actor(sub="subject-1", kind="user", auth=auth))
    event = ocsf_event(record, index=5)
    assert event["auth_protocol_id"] == protocol
