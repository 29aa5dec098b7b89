"""How any room reaches Kafka and the ledger: connection, names of the topics, paths. Settings only, no client."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class KafkaSettings(BaseSettings):
    """The Kafka cluster, read from `TIDEGATE_KAFKA_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_KAFKA_", frozen=True, extra="ignore")

    bootstrap_servers: str = Field("127.0.0.1:9092", description="comma-separated host:port list")
    topic_prefix: str = Field("tidegate.", pattern=r"^[A-Za-z0-9._-]*$", description="stands before every topic name")
    client_id: str = Field("tidegate", description="shown in broker logs and quotas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as the brokers' listener has it"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; all three SASL_* are needed with a SASL protocol"
    )
    sasl_username: str | None = Field(None, description="who logs in")
    sasl_password: SecretStr | None = Field(None, description="with which password")
    ssl_cafile: Path | None = Field(None, description="PEM file of the authority that signed the brokers' certificates")
    ssl_certfile: Path | None = Field(None, description="PEM file of the client's own certificate (mutual TLS)")
    ssl_keyfile: Path | None = Field(None, description="PEM file of that certificate's key")
    ssl_check_hostname: bool = Field(True, description="whether a broker's certificate must name its host")
    request_timeout_ms: int = Field(
        30_000, gt=0, description="of one request to a broker; a record's delivery is given 5 s more"
    )

    @model_validator(mode="after")
    def _complete_login(self) -> Self:
        """Without all three the client would try for minutes, and then say no more than that Kafka is away."""
        login = (self.sasl_mechanism, self.sasl_username, self.sasl_password)
        if "SASL" in self.security_protocol and None in login:
            raise ValueError(
                f"{self.security_protocol} needs TIDEGATE_KAFKA_SASL_MECHANISM, TIDEGATE_KAFKA_SASL_USERNAME and "
                "TIDEGATE_KAFKA_SASL_PASSWORD"
            )
        return self

    def topic(self, name: TopicName) -> str:
        """The full name of a topic on this cluster."""
        return self.topic_prefix + name

    def connection(self) -> dict[str, Any]:
        """Keyword arguments that every kafka-python client takes to reach and authenticate with the cluster."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": self.request_timeout_ms,
        }
        if "SASL" in self.security_protocol:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value() if self.sasl_password else None,
            }
        if "SSL" in self.security_protocol:
            options |= {
                "ssl_check_hostname": self.ssl_check_hostname,
                "ssl_cafile": str(self.ssl_cafile) if self.ssl_cafile else None,
                "ssl_certfile": str(self.ssl_certfile) if self.ssl_certfile else None,
                "ssl_keyfile": str(self.ssl_keyfile) if self.ssl_keyfile else None,
            }
        return options


class LedgerSettings(BaseSettings):
    """Where reviewed decisions are kept, read from `TIDEGATE_LEDGER_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_LEDGER_", frozen=True, extra="ignore")

    path: str = Field(
        "var/ledger",
        min_length=1,
        description="folder, or s3://, gs:// or az:// address, of the ledger; credentials as AWS_*, GOOGLE_*, AZURE_*",
    )
    batch_records: int = Field(50_000, gt=0, description="at most so many records are committed together")
    interval_s: float = Field(10.0, gt=0, description="what was read is committed at the latest after so long")
    deletion_key: SecretStr | None = Field(
        None, description="key of the hashes that keep deleted ids away; without it the ledger keeps one of its own"
    )


TopicName = Literal[
    "images",
    "decisions",
    "verdicts",
    "policies",
    "gates",
    "dead-letters",
    "golden",
    "checks",
    "accounts",
    "audit-log",
    "proposals",
]
