"""Settings of the review room: where Valkey is, how long a lease lasts, where the console listens."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ValkeySettings(BaseSettings):
    """The Valkey (or Redis) server, read from `TIDEGATE_VALKEY_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_VALKEY_", frozen=True, extra="ignore")

    url: str = Field("redis://127.0.0.1:6379/0", description="redis://, rediss:// (TLS) or unix:// address")
    key_prefix: str = Field("tidegate", pattern=r"^[A-Za-z0-9_-]+$", description="stands before every key")
    timeout_s: float = Field(5.0, gt=0, description="of connecting, and of one command")


class ReviewSettings(BaseSettings):
    """The review queue, read from `TIDEGATE_REVIEW_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_REVIEW_", frozen=True, extra="ignore")

    lease_s: float = Field(300.0, gt=0, description="how long a claimed task is held before it returns to the front")
    ageing_s: float = Field(
        3600.0, gt=0, description="waiting this long is worth ten points of priority, so that nothing waits for ever"
    )
    decided_ttl_s: int = Field(
        14 * 86400,
        gt=0,
        description="how long a decided event id is remembered, so that a redelivered event does not come back; "
        "keep it above the retention of the images topic",
    )
    hold_limit_s: float = Field(86_400.0, gt=0, description="the longest that a reviewer may put a task aside")
    transfer_s: float = Field(
        14_400.0, gt=0, description="how long a task waits for the reviewer it was handed to; then it is everybody's"
    )
    undo_s: float = Field(600.0, gt=0, description="how long a verdict can be taken back")
    second_answer_share: float = Field(
        0.0, ge=0, le=1, description="of all tasks, those that a second reviewer answers; a lead settles disagreements"
    )
    near_duplicate_bits: int = Field(
        31, ge=0, le=64, description="of the 256 of a perceptual hash (PDQ), in which near-duplicates may differ"
    )
    memory_limit_ratio: float = Field(
        0.9,
        gt=0,
        le=1,
        description="of Valkey's maxmemory; above it workers wait, rather than be refused in the middle",
    )


class ConsoleSettings(BaseSettings):
    """The API and the console, read from `TIDEGATE_CONSOLE_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_CONSOLE_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address that the console listens on")
    port: int = Field(8600, ge=1, le=65_535, description="port that the console listens on")
    allowed_hosts: list[str] = Field(
        default=["localhost", "127.0.0.1", "[::1]"], description="names under which browsers may ask for it; JSON list"
    )
    trusted_proxies: str = Field(
        "", description="addresses of proxies, comma-separated, that may say whom they ask for (X-Forwarded-For)"
    )
    ahead: int = Field(
        3, ge=1, le=20, description="tasks that a reviewer's page holds at once; all but the shown one are loaded ahead"
    )
    policies_need_approval: bool = Field(
        False, description="whether a second person must approve a policy before it is published"
    )
    survey_days: int = Field(28, ge=1, le=400, description="of readings that analysts' figures and what-ifs rest on")
    survey_every_s: float = Field(900.0, ge=10, description="how old those readings may be")
    check_queue_every_s: float = Field(
        300.0, ge=0, description="how often the queue is compared with the topics; 0: never"
    )
    golden_share: float = Field(
        0.0, ge=0, le=0.5, description="golden items to mix in, as a share of the tasks decided since the last time"
    )
    golden_every_s: float = Field(600.0, ge=10, description="how often golden items are mixed in")
