"""Every setting, read from the environment in one place. Nothing else reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, IPvAnyNetwork, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.audit.witness.address import WitnessAddress
from infra.directories.configuration import DirectoryName, LdapDirectory, OidcProvider
from infra.sources import WatchedSource, check_sources

MIB = 1024 * 1024
SECRETS_DIR = Path("/run/secrets")
"""Where container engines mount secrets; a file there, named like a variable, is that setting."""

RetentionName = Literal["answers", "searches", "administration", "records"]
_Directory = TypeVar("_Directory", OidcProvider, LdapDirectory)


class Settings(BaseSettings):
    """What an operator can change. Each field is an environment variable `STRONGROOM_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="STRONGROOM_",
        extra="ignore",
        frozen=True,
        # Addresses with passwords come as files in containers: /run/secrets/strongroom_database_url.
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
    )

    profile: Literal["embedded", "server"] = Field(
        "embedded",
        description="`embedded`: one process, no other server. `server`: PostgreSQL, Qdrant, broker.",
    )
    data_dir: Path = Field(Path("data"), description="Folder for the database, index, files and keys.")
    models_dir: Path = Field(Path("models"), description="Folder for language-model files (GGUF).")
    host: str = Field("127.0.0.1", description="Address the web server binds to.")
    port: int = Field(8710, ge=0, le=65535, description="Port the web server binds to; 0 takes a free one.")
    public_url: str | None = Field(
        None,
        description="Address people use, for links in answers; default: the address the server binds to.",
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        default_factory=list,
        description="Addresses or networks of proxies whose word on the client's address is taken, as JSON.",
    )
    url: str | None = Field(
        None,
        description="Server that commands such as `ask` talk to; default: the one on the data folder.",
    )
    replica: str = Field("local", description="Name of this server in the ledger (`src`).")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line kept."
    )

    database_url: str | None = Field(
        None,
        description="SQLAlchemy address; default: SQLite in the data folder. Server: `postgresql+psycopg://…`.",
    )
    qdrant_url: str | None = Field(
        None, description="Address of a Qdrant server; default: the in-process engine."
    )
    qdrant_api_key: SecretStr | None = Field(None, description="Key for the Qdrant server.")
    broker_url: str | None = Field(
        None, description="Celery broker of the server profile, `redis://…` or `amqp://…`."
    )
    master_key_file: Path | None = Field(
        None,
        description="File with the 32-byte master key in base64; default: `keys/master.key` under the data.",
    )
    master_key: SecretStr | None = Field(
        None, description="The 32-byte master key in base64 itself, instead of a file."
    )
    pkcs11_module: Path | None = Field(
        None,
        description="Library of a PKCS#11 module that opens the master key (docs/erasure.md).",
    )
    pkcs11_token: str = Field("strongroom", description="Label of the module's token.")
    pkcs11_key_label: str = Field("strongroom", description="Label of the AES key on that token.")
    pkcs11_pin: SecretStr | None = Field(None, description="User PIN of that token.")

    model_path: Path | None = Field(
        None,
        description="A local GGUF file to serve with llama.cpp; default: the starter model, if fetched.",
    )
    model_base_url: str | None = Field(
        None,
        description="Private OpenAI-compatible server (vLLM, Ollama, LM Studio) to use, ending in `/v1`.",
    )
    model_name: str | None = Field(
        None, description="Model name to ask that server for; default: its first one."
    )
    model_api_key: SecretStr | None = Field(None, description="Key for that server.")
    model_hosts: list[str] = Field(
        default_factory=list,
        description='Host names beyond private addresses that may be contacted, as JSON, e.g. `["vllm"]`.',
    )
    model_threads: int = Field(0, ge=0, description="Threads for the built-in model; 0: the number of cores.")
    model_timeout_s: float = Field(
        120.0, gt=0, description="Longest wait for one generated answer, in seconds."
    )
    model_max_tokens: int = Field(220, ge=16, description="Longest generated answer, in tokens.")
    prompt_tokens: int = Field(
        450, ge=200, description="Budget for passages in one prompt, in tokens; raise it with a fast model."
    )
    quote_only: bool = Field(
        False, description="Answer with verbatim quotes only and start no language model."
    )

    embedding_model: Path | None = Field(
        None, description="Local sentence-transformers folder; default: all-MiniLM-L6-v2 from its package."
    )
    embedding_dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="Arithmetic of the embedder."
    )

    upload_max_bytes: int = Field(200 * MIB, gt=0, description="Largest upload, in bytes.")
    question_max_chars: int = Field(32_000, gt=0, description="Longest conversation accepted, in characters.")
    parse_memory_bytes: int = Field(
        2048 * MIB, gt=0, description="Address space of one parsing child, in bytes."
    )
    parse_cpu_s: int = Field(60, gt=0, description="CPU time of one parsing child, in seconds.")
    parse_wall_s: int = Field(120, gt=0, description="Wall-clock time of one parsing child, in seconds.")
    parse_max_pages: int = Field(5000, gt=0, description="Most pages, slides or sheets in one document.")
    parse_max_expanded_bytes: int = Field(
        1024 * MIB, gt=0, description="Most bytes a compressed document may expand to."
    )

    answer_from_hidden_text: bool = Field(
        False,
        description="Let answers use text of new files that readers do not see (white, tiny, comments).",
    )

    sources: list[WatchedSource] = Field(
        default_factory=list,
        description="Folders and S3 buckets whose files are kept in step with, as JSON (docs/sync.md).",
    )

    session_hours: int = Field(12, gt=0, description="How long a sign-in lasts without use, in hours.")
    audit_timeout_s: float = Field(
        2.0, gt=0, description="Longest wait for the ledger before refusing, in seconds."
    )
    strict_answers: bool = Field(
        False,
        description="Hold every answer back until its end is on the record; otherwise sentence by sentence.",
    )
    break_glass: bool = Field(
        False, description="Reading recorded contents takes a second auditor's approval."
    )
    break_glass_minutes: int = Field(
        60, gt=0, le=10_080, description="How long such an approval lasts, in minutes; at most a week."
    )
    witnesses: list[WitnessAddress] = Field(
        default_factory=list, description="Witnesses that cosign the record, as JSON."
    )
    syslog_url: str | None = Field(
        None, description="Where the record is forwarded to while it grows, `syslog+tls://host:6514`."
    )
    syslog_ca_file: Path | None = Field(
        None, description="Certificate of a private authority that the receiver's is checked with, in PEM."
    )
    syslog_certificate_file: Path | None = Field(
        None, description="Certificate that is shown to a receiver that asks for one, in PEM."
    )
    syslog_key_file: Path | None = Field(None, description="Private key of that certificate, in PEM.")
    leak_test_hour: int = Field(
        3, ge=0, le=23, description="Hour of the night's leak test, 0 to 23, in the server's local time."
    )

    retention_days: dict[RetentionName, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="Days that `answers`, `searches`, `administration` and `records` are kept, as JSON; 0 or "
        "nothing: for ever.",
    )
    retention_hour: int = Field(
        4, ge=0, le=23, description="Hour in which retention is kept, 0 to 23, in the server's local time."
    )

    oidc: list[OidcProvider] = Field(
        default_factory=list, description="OpenID Connect providers that people sign in with, as JSON."
    )
    ldap: list[LdapDirectory] = Field(
        default_factory=list, description="LDAP servers that people sign in with, as JSON."
    )
    scim_directory: DirectoryName = Field(
        "directory", description="Name of the directory that pushes people and groups over SCIM."
    )

    @field_validator("oidc", "ldap")
    @classmethod
    def _own_names(cls, directories: list[_Directory], info: ValidationInfo) -> list[_Directory]:
        # The name is part of every group's id: two directories of one name would share their groups.
        names = [directory.name for directory in (*info.data.get("oidc", ()), *directories)]
        if len(names) != len(set(names)):
            raise ValueError("each company directory needs a name of its own")
        return directories

    @field_validator("sources")
    @classmethod
    def _usable_sources(cls, sources: list[WatchedSource], info: ValidationInfo) -> list[WatchedSource]:
        if "data_dir" in info.data and "model_hosts" in info.data:
            check_sources(sources, info.data["data_dir"], info.data["model_hosts"])
        return sources

    @property
    def resolved_database_url(self) -> str:
        """The database address, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'strongroom.sqlite3'}"

    @property
    def resolved_master_key_file(self) -> Path:
        """The master key's file, with the default filled in."""
        return self.master_key_file or self.data_dir / "keys" / "master.key"


def environment_value(name: str) -> str | None:
    """Return one raw environment variable; for the command line, which has keys of its own."""
    return os.environ.get(name)
