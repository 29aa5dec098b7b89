"""One morning of a platform: what passed, what was reviewed, what was said of it. All of it can be counted by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from calibration.audit import Audit
from calibration.gate import Gate, Provenance
from calibration.loop.settings import LoopSettings
from calibration.outcome import Reader
from calibration.rollout import Rollout
from review.task import Verdict
from tests.calibration.gates import certified, certified_gate, make_policy, make_rollout
from tests.calibration.ledger.records import START, VERSIONS, audited, decision, reviewed, verdict
from worker.events import Decision

TAXONOMY = "emoset-8"
READER = Reader(model="m1", prompt="p1", decoder="d1")
POLICY = make_policy(taxonomy=TAXONOMY)
NOW = START + timedelta(hours=10, minutes=30)
SETTINGS = LoopSettings(audit_patience=timedelta(hours=9, minutes=31, seconds=30))

PASSED = [decision(number) for number in range(40)]
AUDITS = [audited(number, label="awe") for number in range(40, 60)]
"""Of what would have passed: every fifth is wrong; the last two are not answered, and one of them is overdue."""
BELOW = audited(60, label="fear", audit=Audit(selected=True, propensity=0.5, would_pass=False))
DOUBTFUL = [reviewed(number, label="fear", probability=0.4 + (number - 70) / 100) for number in range(70, 80)]
"""Five right, one wrong, one that nobody can tell, three that wait."""
ELSEWHERE = reviewed(80, taxonomy="fi-2")
EARLIER_GATE = audited(90, label="awe", versions=VERSIONS.model_copy(update={"gate": "g0"}))
SAME_BYTES = reviewed(91, label="awe", content_sha256=DOUBTFUL[0].content_sha256)

DECISIONS: list[Decision] = [*PASSED, *AUDITS, BELOW, *DOUBTFUL, ELSEWHERE, EARLIER_GATE, SAME_BYTES]
VERDICTS: list[Verdict] = [
    *(verdict(each, "awe" if number % 5 else "fear") for number, each in enumerate(AUDITS[:-2])),
    verdict(BELOW, "fear"),
    *(verdict(each, "fear") for each in DOUBTFUL[:5]),
    verdict(DOUBTFUL[5], "awe"),
    verdict(DOUBTFUL[6], None),
    verdict(EARLIER_GATE, "fear"),
]


def gate(**changes: Any) -> Gate:
    """What routed: certified on the first half hour's readings."""
    fields: dict[str, Any] = {
        "gate_id": "g1",
        "taxonomy": TAXONOMY,
        "created_at": START - timedelta(hours=1),
        "policy": POLICY,
        "reader": READER,
        "provenance": Provenance(
            fitted_on=1000,
            certified_on=1000,
            certifying_from=START,
            certifying_until=START + timedelta(minutes=29, seconds=30),
            unreviewed=0,
            attempt=1,
            confidence=0.9,
            traffic=2000,
            software="test",
        ),
    } | changes
    promises = fields.pop("promises", (certified(0.8, "awe", "contentment", "disgust", "fear", "sadness"),))
    return certified_gate(fields.pop("gate_id"), *promises, **fields)


def rollout(live: Gate | None = None, **changes: Any) -> Rollout:
    """Since the day before."""
    return make_rollout(live or gate(), **{"since": START - timedelta(days=1)} | changes)
