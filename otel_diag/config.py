"""Every setting and its default, in one place.

Order of precedence: command line, environment (``OTEL_DIAG_*``; ``DATABASE_URL`` as an alias of ``OTEL_DIAG_STORE``),
the TOML file named by ``OTEL_DIAG_CONFIG`` (default ``otel-diag.toml`` in the working directory), the defaults here.
"""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from otel_diag.errors import BadInput

MIB = 1024 * 1024


def data_directory() -> Path:
    """Where the embedded store lives by default: ``$XDG_DATA_HOME/otel-diag``, else ``~/.local/share/otel-diag``."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "otel-diag"


def _settings_file() -> Path:
    """The TOML file to read. Raises BadInput for one that was named and is not there, or that is not TOML."""
    named = os.environ.get("OTEL_DIAG_CONFIG")
    path = Path(named or "otel-diag.toml")
    try:
        tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named:
            raise BadInput(f"there is no {named}", hint="Correct OTEL_DIAG_CONFIG, or unset it.") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadInput(
            f"cannot read the settings in {path}: {error}", hint="Correct the file, or remove it."
        ) from error
    return path


def default_store() -> str:
    return f"duckdb:///{data_directory() / 'otel-diag.duckdb'}"


def embedded_path(store_url: str) -> Path | None:
    """The file (DuckDB) or directory (chdb) behind an embedded store's URL; None for any other store.

    ``duckdb:///`` and a relative path or, with a fourth slash, an absolute one; a chdb path is always absolute.
    """
    parts = urlsplit(store_url)
    if parts.scheme == "clickhousedb" and ("interface", "chdb") in parse_qsl(parts.query):
        name = unquote(parts.path.lstrip("/"))
        return Path("/", name) if name else None
    prefix = "duckdb:///"
    if not store_url.startswith(prefix) or store_url in (prefix, prefix + ":memory:"):
        return None
    return Path(store_url.removeprefix(prefix).partition("?")[0]).absolute()


class Role(StrEnum):
    """What a token is for: sending telemetry (and recording executions), or asking questions."""

    INGEST = "ingest"
    READ = "read"


Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Token(BaseModel):
    """A token that is known, by its hash: what reads the settings cannot use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64, description="For people: in messages, never a secret.")
    tenant: Tenant = Field("default", description="Whose data it writes and reads.")
    roles: tuple[Role, ...] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the token, in hexadecimal.")


class Settings(BaseSettings):
    """One instance is made at start-up and passed down; nothing else reads the environment."""

    model_config = SettingsConfigDict(env_prefix="OTEL_DIAG_", frozen=True, extra="ignore", populate_by_name=True)

    store: str = Field(
        default_factory=default_store,
        validation_alias=AliasChoices("OTEL_DIAG_STORE", "DATABASE_URL", "store"),
        description="Store URL as SQLAlchemy writes it: duckdb:////path/file.duckdb or postgresql://user@host/db.",
    )
    host: str = Field("127.0.0.1", description="Address all three ports bind to.")
    grpc_port: int = Field(4317, ge=0, le=65535, description="OTLP over gRPC; 0 takes any free port.")
    http_port: int = Field(4318, ge=0, le=65535, description="OTLP over HTTP; 0 takes any free port.")
    port: int = Field(4319, ge=0, le=65535, description="REST, MCP and pages; 0 takes any free port.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default_factory=tuple, description="Further names under which REST and MCP may be addressed."
    )

    tokens: tuple[Token, ...] = Field(default_factory=tuple, description="Who may do what; none: anybody, anything.")
    allow_anonymous: bool = Field(False, description="Listen beyond this machine although nobody has to show a token.")
    tenant: Tenant = Field("default", description="Whose data is meant where no token says it.")
    token: SecretStr | None = Field(None, description="What commands show to a running server.")
    tls_cert: Path | None = Field(None, description="PEM certificate chain of the server: TLS on all three ports.")
    tls_key: Path | None = Field(None, description="Its private key, PEM.")
    tls_client_ca: Path | None = Field(None, description="PEM; clients must show a certificate that it signed.")
    client_cert: Path | None = Field(None, description="PEM certificate that commands show to such a server.")
    client_key: Path | None = Field(None, description="Its private key, PEM.")

    max_connections: int = Field(
        1_000, gt=0, description="Connections a port takes at once, and calls under way over gRPC."
    )
    head_seconds: float = Field(10.0, gt=0, description="A connection or a request's head takes at most this long.")
    body_seconds: float = Field(60.0, gt=0, description="A request's body takes at most this long to arrive.")
    idle_seconds: float = Field(75.0, gt=0, description="An HTTP connection without requests is closed after this.")
    grpc_connection_seconds: float = Field(
        3_600.0, gt=0, description="A gRPC connection is closed, after its calls, at this age: clients spread anew."
    )
    max_records_per_second: int = Field(
        0, ge=0, description="Spans, metric points and log records a tenant may send in a second; 0: any number."
    )
    max_request_bytes: int = Field(64 * MIB, gt=0, description="Largest OTLP request, on the wire and decompressed.")
    max_queued_bytes: int = Field(
        256 * MIB, gt=0, description="Requests waiting for their commit; past it, clients are told to retry."
    )
    max_attributes: int = Field(
        10_000, gt=0, description="Attributes kept of one span, event, link, resource, ...; the later ones are dropped."
    )
    max_value_bytes: int = Field(MIB, ge=1024, description="A longer text or nested value is cut, with a mark.")
    decode_processes: int = Field(
        1, ge=0, description="Processes that decode requests; 0 decodes in the server's own, which takes less memory."
    )
    commit_spans: int = Field(20_000, gt=0, description="Spans gathered into one transaction at most.")

    quiet_seconds: float = Field(2.0, ge=0, description="A trace without new spans for this long is summarised.")
    settle_seconds: float = Field(
        10.0, ge=0, description="Until its newest span is this old, a trace counts as still arriving."
    )
    max_trace_spans: int = Field(
        20_000, gt=0, description="Spans of one trace that are examined; of more, the failed, first called and longest."
    )
    fold_traces: int = Field(500, gt=0, description="Traces summarised in one transaction.")

    retention_days: int = Field(0, ge=0, description="Whole days after which spans and all else go; 0 keeps them.")
    retention_bytes: int = Field(0, ge=0, description="Bytes the store may take; past it the oldest go. 0: no limit.")
    self_traces: Literal["off", "store", "otlp"] = Field(
        "off", description="Spans of the server's own work: kept in its store, or sent where OTEL_EXPORTER_OTLP_* says."
    )

    ask_model: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+:\S+$",
        description="A language model, provider:name, that reads questions which the grammar does not, or not all.",
    )
    query_row_limit: int = Field(10_000, gt=0, description="Most rows a read-only SQL query returns.")
    query_seconds: float = Field(10.0, gt=0, description="A query running longer is cancelled.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [name for name in value.replace(",", " ").split() if name] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what in ("name", "sha256"):
            if len({getattr(token, what) for token in self.tokens}) < len(self.tokens):
                raise ValueError(f"two tokens have the same {what}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _settings_file())


def settings_of(**given: Any) -> Settings:
    """The settings with what was given elsewhere, None standing for nothing. Raises BadInput."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise BadInput(
            f"wrong setting: {problems_of(error)}", hint="Check the options, OTEL_DIAG_* and otel-diag.toml."
        ) from None


def problems_of(error: ValidationError) -> str:
    """What is wrong, without the values: they may be secrets."""
    return "; ".join(": ".join(filter(None, [".".join(map(str, e["loc"])), e["msg"]])) for e in error.errors())
