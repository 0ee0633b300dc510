"""People, sign-ins, keys, invitations and groups. Secrets are stored only as hashes."""

from __future__ import annotations

from infra.accounts.forgetting import forget_account
from infra.accounts.groups import (
    add_member,
    create_group,
    delete_local_group,
    groups_of,
    list_groups,
    members_of,
    remove_group,
    remove_member,
)
from infra.accounts.identities import (
    account_of_person,
    identities_of,
    set_directory_groups,
    sign_in_person,
    user_of_identity,
)
from infra.accounts.invitations import (
    INVITATION_HOURS,
    accept_invitation,
    check_invitation,
    invite,
    invite_first_admin,
)
from infra.accounts.keys import KEY_PREFIX, create_key, keys_of, principal_of_key, revoke_key
from infra.accounts.passwords import (
    MAX_PASSWORD_CHARS,
    MIN_PASSWORD_CHARS,
    change_password,
    check_password_length,
    check_unchanged,
    hash_password,
    password_matches,
    sign_in,
)
from infra.accounts.people import (
    AccountChange,
    Changed,
    change_account,
    create_service_account,
    ensure_service_account,
    get_service_account,
    list_people,
    list_service_accounts,
    set_disabled,
)
from infra.accounts.sessions import (
    close_other_sessions,
    close_session,
    open_session,
    principal_of_session,
    sessions_of,
)
from infra.accounts.standing import SIGNED_OUT, renewed
from infra.accounts.tokens import hash_secret

__all__ = [
    "INVITATION_HOURS",
    "KEY_PREFIX",
    "MAX_PASSWORD_CHARS",
    "MIN_PASSWORD_CHARS",
    "SIGNED_OUT",
    "AccountChange",
    "Changed",
    "accept_invitation",
    "account_of_person",
    "add_member",
    "change_account",
    "change_password",
    "check_invitation",
    "check_password_length",
    "check_unchanged",
    "close_other_sessions",
    "close_session",
    "create_group",
    "create_key",
    "create_service_account",
    "delete_local_group",
    "ensure_service_account",
    "forget_account",
    "get_service_account",
    "groups_of",
    "hash_password",
    "hash_secret",
    "identities_of",
    "invite",
    "invite_first_admin",
    "keys_of",
    "list_groups",
    "list_people",
    "list_service_accounts",
    "members_of",
    "open_session",
    "password_matches",
    "principal_of_key",
    "principal_of_session",
    "remove_group",
    "remove_member",
    "renewed",
    "revoke_key",
    "sessions_of",
    "set_directory_groups",
    "set_disabled",
    "sign_in",
    "sign_in_person",
    "user_of_identity",
]
