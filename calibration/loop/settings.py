"""How patient and how careful the loop is; what is promised stands in the policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from calibration.outcome import Probability

_Positive = Annotated[timedelta, Field(gt=timedelta(0))]


class LoopSettings(BaseSettings):
    """`tidegate calibrate run`, read from `TIDEGATE_CALIBRATION_*`. Durations are ISO 8601, or seconds."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_CALIBRATION_", frozen=True, extra="ignore")

    tick_s: float = Field(10.0, gt=0, description="pause between two looks at the ledger")
    least_labels: int = Field(200, ge=50, description="new answered audits before a next attempt to certify")
    growth: float = Field(
        1.5, gt=1, description="they must have grown so much since the last attempt: each one spends confidence"
    )
    fit_share: Probability = Field(
        0.4, description="oldest share of the audits whose time fits a calibrator; the newer ones certify it"
    )
    window: _Positive = Field(timedelta(days=90), description="how far back outcomes count")
    audit_patience: _Positive = Field(
        timedelta(days=2), description="an audit unanswered for longer counts as wrong, and as overdue"
    )
    shadow_events: int = Field(300, ge=1, description="readings that a new gate scores beside the live one")
    coverage_band: float = Field(
        1.5, gt=1, description="what passes in shadow may differ from the certified coverage by this factor"
    )
    canary_audits: int = Field(50, ge=1, description="answered audits of the canary before it is promoted")
    alarm_level: Probability = Field(0.05, description="probability of a false alarm over the life of a gate")
    valid_for: _Positive = Field(timedelta(days=7), description="a gate that nobody renews shuts itself after this")
    overdue_share: Probability = Field(
        0.2, description="with more of a gate's audits overdue it is not renewed: nobody watches it"
    )
