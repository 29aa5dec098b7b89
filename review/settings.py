"""Settings of the review room: where Valkey is, and how long a lease lasts."""

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
