"""Owns every setting of a Tenantry process: its name, unit, default and bounds; read once, at start, from TENANTRY_*.

A secret may lie in a file instead, since an environment is shown to whoever may look at a process.

Leaves policies (data, with versions) to `core.policy`, and flags of single commands to the command line.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "TENANTRY_"
DEFAULT_DATA = Path("~/.tenantry")
DATABASE_FILE = "tenantry.db"
KEY_OF_32_BYTES = re.compile(r"[A-Za-z0-9_-]{43}=")
LOCAL_CONTROL_CALLS_PER_SECOND = 50.0
AWS_CONTROL_CALLS_PER_SECOND = 1.0  # what SES grants an account for nearly every control operation


class Cloud(StrEnum):
    """Where mail is handed over: a local SES (the default, so that nobody mails by accident), or Amazon's."""

    LOCAL = "local"
    AWS = "aws"


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class FromFiles(PydanticBaseSettingsSource):
    """Reads settings from the folder that TENANTRY_SECRETS names: a file each, called like the variable, ends stripped."""

    def __call__(self) -> dict[str, str]:
        """Return what is there; raises ValidationError for a folder or file that cannot be read."""
        given = self.current_state.get("secrets")
        if not given:
            return {}
        folder = Path(str(given)).expanduser()
        if not folder.is_dir():
            raise _unread("secrets", "there is no such folder")
        found = {name: self._read(name, folder) for name in self.settings_cls.model_fields}
        return {name: text for name, text in found.items() if text is not None}

    def _read(self, name: str, folder: Path) -> str | None:
        try:
            return (folder / f"{PREFIX}{name.upper()}").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise _unread(name, f"its file cannot be read ({getattr(error, 'strerror', None) or 'no text'})") from error

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """Nobody asks for a single field: the call reads all."""
        raise AssertionError(field_name)


def _unread(name: str, why: str) -> ValidationError:
    """Return an error of one setting; its value is not in it."""
    problem = InitErrorDetails(type=PydanticCustomError("unread", "{why}", {"why": why}), loc=(name,), input=None)
    return ValidationError.from_exception_data("Settings", [problem], hide_input=True)


class Settings(BaseSettings):
    """The settings; each field NAME is read from TENANTRY_NAME. Described one by one in docs/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", validate_default=True, hide_input_in_errors=True
    )

    # where things are
    data: Path = Field(
        default=DEFAULT_DATA, description="Folder of the database file, the secret key and the CLI's profile."
    )
    secrets: Path | None = Field(
        default=None,
        description="Folder with a file for each secret, called like its variable, which wins over the file.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="`sqlite:///path` or `postgresql://...`; none: an SQLite file in the data folder."
    )
    secret_key: SecretStr | None = Field(
        default=None, description="Encrypts key secrets at rest; none: `up` makes one in the data folder."
    )

    # PostgreSQL
    database_roles: bool = Field(
        default=True, description="Whether transactions take the roles that keep tenants apart inside PostgreSQL."
    )
    database_writers: int = Field(default=6, ge=1, le=100, description="Connections of a process that write, at most.")
    database_readers: int = Field(default=4, ge=1, le=100, description="Connections of a process that read, at most.")
    accept_connections: int = Field(
        default=2, ge=1, le=100, description="Connections that accept has for itself, in a process with doors."
    )
    database_statement_seconds: float = Field(
        default=30.0, ge=1, description="A statement that takes longer ends; one of accept after 3 seconds."
    )
    database_lock_seconds: float = Field(
        default=3.0, gt=0, description="A statement that waits longer for a lock ends."
    )
    database_idle_seconds: float = Field(
        default=5.0, ge=1, description="A process that stops inside a transaction loses its locks after this."
    )

    # how long things are kept
    retention_days: int = Field(
        default=90, ge=2, le=3_650, description="Settled mail is kept so long, where its tenant has no days of its own."
    )
    content_retention_days: int = Field(
        default=3, ge=0, le=3_650, description="What was sent is kept so long after its message is settled."
    )
    event_raw_retention_days: int = Field(
        default=7, ge=0, le=3_650, description="The raw text of events, and poison in quarantine, is kept so long."
    )

    # the doors
    host: str = Field(default="127.0.0.1", description="Address on which the doors listen.")
    port: int = Field(default=8025, ge=0, le=65535, description="Port of the doors; 0: any free one.")
    max_body_bytes: int = Field(default=41_943_040, ge=1_024, description="Largest request body; SES takes 40 MiB.")
    drain_seconds: float = Field(
        default=1.0,
        ge=0,
        le=300,
        description="A gateway that is told to end is not ready for so long, and still answers, before its port closes.",
    )
    accept_batch_size: int = Field(default=64, ge=1, le=1_000, description="Submissions that share one commit at most.")

    # the SMTP door
    smtp_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of SMTP with STARTTLS, usually 587; 0: any free one; none: closed.",
    )
    smtps_port: int | None = Field(
        default=None, ge=0, le=65535, description="Port of SMTP in TLS from the first byte, usually 465; as above."
    )
    smtp_hostname: str = Field(
        default="localhost",
        pattern=r"^[A-Za-z0-9.-]{1,253}$",
        description="Name by which it greets, and of its own certificate.",
    )
    smtp_certificate: Path | None = Field(
        default=None, description="PEM file with its certificate and chain; none: it makes one in the data folder."
    )
    smtp_certificate_key: Path | None = Field(
        default=None, description="PEM file with the key; none: it lies in the file of the certificate."
    )
    smtp_login_in_clear: bool = Field(
        default=False, description="Whether a key's secret may be sent without TLS: for a laptop, where nobody listens."
    )
    smtp_connections: int = Field(default=1_000, ge=1, le=100_000, description="Connections at a time, at most.")
    smtp_connections_per_address: int = Field(
        default=100, ge=1, le=100_000, description="Of one IPv4 address or IPv6 /64."
    )
    smtp_connections_per_key: int = Field(default=50, ge=1, le=100_000, description="Logged in with one key.")
    smtp_login_seconds: float = Field(default=60.0, gt=0, le=3_600, description="Who is not logged in by then is cut.")
    smtp_idle_seconds: float = Field(
        default=300.0,
        gt=0,
        le=3_600,
        description="Who sends no command for so long is cut; RFC 5321 asks for 5 minutes.",
    )
    smtp_data_seconds: float = Field(
        default=600.0, gt=0, le=7_200, description="A message that is not whole by then is cut."
    )

    # the cell
    cloud: Cloud = Field(default=Cloud.LOCAL, description="`local` or `aws`: where mail is handed over.")
    aws_endpoint_url: str | None = Field(
        default=None, description="Endpoint of SES and SQS; none: Amazon's, or with `local` a child that `up` starts."
    )
    region: str = Field(default="us-east-1", min_length=1, description="Region of the cell.")
    account_id: str = Field(default="123456789012", pattern=r"^\d{12}$", description="AWS account of the cell.")
    cell_name: str = Field(default="main", min_length=1, description="Name of the cell.")
    event_queue_name: str = Field(default="tenantry-events", description="SQS queue of the events.")
    event_queue_url: str | None = Field(
        default=None, description="Its URL; none: made from endpoint, account and name."
    )
    event_topic_arn: str | None = Field(
        default=None, description="SNS topic of the events; none: named like the queue, in this account and Region."
    )
    control_calls_per_second: float | None = Field(
        default=None, gt=0, description="Budget of control calls; none: 1 for AWS, 50 for a local SES."
    )

    # dispatch
    in_flight: int = Field(default=64, ge=1, le=10_000, description="Sends under way at a time.")
    claim_ahead_seconds: float = Field(default=0.5, gt=0, le=5, description="How much of the rate one turn may claim.")
    settle_batch_size: int = Field(
        default=64, ge=1, le=1_000, description="Finished sends settled in one commit at most."
    )
    send_deadline_seconds: float = Field(
        default=10.0, gt=0, le=60, description="A send without an answer by then is unknown."
    )
    idle_connection_seconds: float = Field(
        default=5.0, gt=0, description="Unused connections to SES are dropped after this."
    )

    unknown_silence_seconds: float = Field(
        default=900.0, gt=0, description="Silence about an unknown outcome, the feed proven healthy, before one resend."
    )

    # the guard
    ramp_stage_seconds: float = Field(
        default=86_400.0, gt=0, description="Shortest stage of the ramp after reinstatement."
    )

    # how often the loops look
    turn_poll_seconds: float = Field(default=0.02, gt=0, description="Pause between turns that found no mail.")
    sweep_seconds: float = Field(default=1.0, gt=0, le=2, description="Between looks for stranded lanes.")
    guard_poll_seconds: float = Field(
        default=0.1, gt=0, description="Between looks for crossings that nobody acted on."
    )
    ramp_poll_seconds: float = Field(default=1.0, gt=0, description="Between looks at streams on a ramp.")
    provision_poll_seconds: float = Field(
        default=0.25, gt=0, description="Between comparisons of what SES should look like."
    )
    identity_poll_seconds: float = Field(
        default=5.0, gt=0, description="Between looks at identities that SES has not verified."
    )
    account_poll_seconds: float = Field(default=30.0, gt=0, description="Between readings of GetAccount.")
    feed_wait_seconds: int = Field(default=10, ge=0, le=20, description="Long poll of the event queue.")
    feed_hidden_seconds: int = Field(
        default=60,
        ge=1,
        le=43_200,
        description="An event that a worker took comes again after this, if it was not done.",
    )
    backoff_seconds: float = Field(
        default=1.0,
        gt=0,
        description="First wait of a loop after an error; doubled up to 5 s, or a minute after a bug.",
    )

    # what watches it
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Whoever reads `/metrics` sends it as a bearer token; none: anybody on loopback, nobody at other doors.",
    )
    watch_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of a worker's `/metrics`, `/healthz` and `/readyz`; 0: any free one.",
    )

    # logs
    log_level: str = Field(
        default="info", pattern=r"(?i)^(debug|info|warning|error)$", description="Least level that is shown."
    )
    log_format: LogFormat = Field(default=LogFormat.TEXT, description="`text` or `json`.")

    # the local SES that `up` starts
    local_ses_port: int = Field(default=0, ge=0, le=65535, description="Its port; 0: any free one.")
    local_ses_rate: float = Field(default=200.0, gt=0, description="Recipients a second that it grants.")
    local_ses_quota: float = Field(default=1_000_000.0, gt=0, description="Recipients in 24 hours that it grants.")
    local_ses_control_rate: float = Field(default=100.0, gt=0, description="Control calls a second that it allows.")
    local_ses_verifies: bool = Field(default=True, description="Whether identities verify by themselves.")
    local_ses_seed: int = Field(default=0, ge=0, description="Seed of its chance.")
    local_ses_recipients: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Scripts of recipient domains, with blanks between them; see `tenantry ses-local --help`.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over variables, variables over our files; pydantic's own ways of reading files are not used."""
        return init_settings, env_settings, FromFiles(settings_cls)

    @field_validator("local_ses_recipients", mode="before")
    @classmethod
    def _rules_apart(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("secret_key")
    @classmethod
    def _key_of_32_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not KEY_OF_32_BYTES.fullmatch(value.get_secret_value()):
            raise ValueError("it takes 32 bytes in URL-safe base64, which is 44 characters")
        return value

    @field_validator("data")
    @classmethod
    def _whole_path(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def starts_local_ses(self) -> bool:
        """Whether `up` runs a local SES of its own as a child."""
        return self.cloud is Cloud.LOCAL and self.aws_endpoint_url is None

    @property
    def has_smtp(self) -> bool:
        """Whether a process with doors has one for SMTP."""
        return self.smtp_port is not None or self.smtps_port is not None

    @property
    def database(self) -> str:
        """The URL of the store, with its password."""
        given = self.database_url.get_secret_value() if self.database_url is not None else ""
        return given or f"sqlite:///{self.data / DATABASE_FILE}"

    @property
    def topic_arn(self) -> str:
        """The topic to which configuration sets publish their events."""
        return self.event_topic_arn or f"arn:aws:sns:{self.region}:{self.account_id}:{self.event_queue_name}"

    @property
    def control_rate(self) -> float:
        """Control calls a second that provision may make in the cell."""
        if self.control_calls_per_second is not None:
            return self.control_calls_per_second
        return AWS_CONTROL_CALLS_PER_SECOND if self.cloud is Cloud.AWS else LOCAL_CONTROL_CALLS_PER_SECOND
