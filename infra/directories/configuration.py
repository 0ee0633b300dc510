"""How an operator describes a company directory. Plain shapes: no protocol library is imported here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

RESERVED_NAMES: Final = frozenset({"local"})
"""Names that no company directory may take: `group:local:…` are the groups made in Strongroom itself."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,31}")
_ATTRIBUTE: Final = r"^[A-Za-z][A-Za-z0-9-]{0,63}$"


def _directory_name(name: str) -> str:
    if _NAME.fullmatch(name) is None or name in RESERVED_NAMES:
        raise ValueError("2 to 32 of a-z, 0-9 and -, starting with a letter, and not `local`")
    return name


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("must not be empty")
    return value


DirectoryName = Annotated[str, AfterValidator(_directory_name)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Attribute = Annotated[str, Field(pattern=_ATTRIBUTE)]


class OidcProvider(BaseModel):
    """One OpenID Connect provider. Only private addresses and listed host names are ever contacted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DirectoryName
    label: str = Field(min_length=1, max_length=100)
    issuer: str = Field(min_length=1, max_length=500)
    client_id: str = Field(min_length=1, max_length=255)
    client_secret: Secret | None = None
    scopes: str = "openid profile email"
    groups_claim: str = Field("groups", min_length=1)
    name_claim: str = Field("name", min_length=1)
    audience: str | None = Field(None, min_length=1)
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "openid" not in self.scopes.split():
            raise ValueError("scopes must contain openid, or the provider sends no ID token")
        if self.audience == self.client_id:
            # The two kinds of token would then be told apart by their type alone.
            raise ValueError("audience must not be the client_id: it names this server as an API")
        return self


class LdapDirectory(BaseModel):
    """One LDAP server. `{login}` and `{dn}` in the filters are replaced by escaped values (RFC 4515)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DirectoryName
    label: str = Field(min_length=1, max_length=100)
    url: str
    start_tls: bool = True
    ca_file: Path | None = None
    bind_dn: str = Field(min_length=1)
    bind_password: Secret
    base_dn: str = Field(min_length=1)
    user_filter: str = "(|(uid={login})(mail={login}))"
    subject_attribute: Attribute = "entryUUID"
    name_attribute: Attribute = "cn"
    email_attribute: Attribute = "mail"
    group_base_dn: str | None = Field(None, min_length=1)
    group_filter: str = "(member={dn})"
    group_id_attribute: Attribute = "entryUUID"

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
            raise ValueError("url must look like ldaps://ldap.example.internal or ldap://127.0.0.1:389")
        if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("url must hold a host and a port only")
        _ = parts.port  # Raises ValueError for a port that is no port.
        if "{login}" not in self.user_filter:
            raise ValueError("user_filter must contain {login}, or everybody would match")
        if "{dn}" not in self.group_filter:
            raise ValueError("group_filter must contain {dn}, or everybody would be in every group")
        return self
