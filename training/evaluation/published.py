"""The published figures, and which tasks make up which group: data, in published.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from calibration.contract import Contract
from calibration.metrics.contracts import Count

_FILE = Path(__file__).with_name("published.yaml")

Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class PublishedTask(Contract):
    """Figures of one task, or of all together, in per cent."""

    name: str = ""
    """As the paper spells it."""
    n: Count
    accuracy: Percent
    f1: Percent
    """Weighted by how often labels occur, as the public script has it: f1_score(average="weighted") of scikit-learn."""


class PublishedGroup(PublishedTask):
    """Figures of several tasks; all but macro_accuracy are pooled."""

    tasks: tuple[str, ...]
    """Names of taxonomies."""
    ece: Percent
    brier: Percent
    auroc: Percent
    macro_accuracy: Percent


class Published(Contract):
    """All that was published of VECBench."""

    temperature: float
    tasks: dict[str, PublishedTask]
    groups: dict[str, PublishedGroup]
    overall: PublishedTask


@cache
def published() -> Published:
    """The figures of arXiv 2512.15528."""
    return Published.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))
