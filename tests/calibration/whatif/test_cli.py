"""`tidegate calibrate what-if` as an analyst types it, on a real broker and a real ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from calibration.audit import Audit
from calibration.cli import app
from calibration.ledger.topic import publish
from calibration.policy import AuditRates, Policy
from calibration.routing import Reason
from calibration.settings import KafkaSettings, LedgerSettings
from calibration.whatif.contracts import Answer
from deploy.local import EmbeddedBroker
from review.task import Verdict
from tests.calibration.ledger.records import LABELS, VERSIONS, reviewed, signals, verdict
from tests.calibration.ledger.topics import Topics
from worker.events import Decision
from worker.stream.topics import ensure_topics

DECISIONS = 600
OPEN = 25
"""Of them, the newest, which nobody has answered yet."""
TAXONOMY = "emoset-8"
NOW = datetime.now(UTC)
_RNG = np.random.default_rng(0)
SURE = _RNG.beta(4.0, 0.6, DECISIONS)
"""How sure the model is,"""
RIGHT = _RNG.random(DECISIONS) < SURE
"""and whether it is right, which is as often as it says."""


@pytest.fixture(scope="module")
def environment(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Four days of a closed gate that audits everything; and the settings that name where they lie."""
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    place = LedgerSettings(path=str(tmp_path_factory.mktemp("what-if") / "ledger"))
    decided = [_decision(number) for number in range(DECISIONS)]
    other = _decision(7).model_copy(
        update={"event_id": "of-another-reader", "versions": VERSIONS.model_copy(update={"model": "m0"})}
    )
    again = decided[40].model_copy(update={"decided_at": decided[40].decided_at + timedelta(minutes=1)})
    with Topics(kafka) as topics:
        topics.put(other, *decided, again, *(_verdict(number, each) for number, each in enumerate(decided[:-OPEN])))
        topics.sync(place)
    ensure_topics(kafka, partitions=1)
    for name in (TAXONOMY, "empty"):
        policy = Policy(
            policy_id="p-1",
            taxonomy=name,
            created_at=NOW - timedelta(days=5),
            max_error=0.02,
            audit_rates=AuditRates(closed=1.0),
        )
        publish(kafka, "policies", name, policy.model_dump_json().encode())
    return {
        "TIDEGATE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "TIDEGATE_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "TIDEGATE_LEDGER_PATH": place.path,
        "COLUMNS": "200",
    }


@pytest.fixture(autouse=True)
def _in_it(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def _decision(number: int) -> Decision:
    token = float(SURE[number])
    at = NOW - timedelta(days=4) * (1.0 - number / DECISIONS)
    read = signals(number).model_copy(
        update={"verbal_confidence": round(token, 2), "label_probability": token, "label_margin": 2.0 * token - 1.0}
    )
    audit = Audit(selected=True, propensity=1.0, would_pass=False)
    return reviewed(
        number, signals=read, audit=audit, reason=Reason.AUDIT, decided_at=at, created_at=at - timedelta(seconds=5)
    )


def _verdict(number: int, decided: Decision) -> Verdict:
    right = RIGHT[number]
    label = decided.label if right else LABELS[(number + 1) % len(LABELS)]
    return verdict(decided, label, hours=0.1, seconds_spent=8.0, reviewer=f"r{number % 3}")


def what_if(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["what-if", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def test_now_and_then_stand_side_by_side() -> None:
    shown = what_if(TAXONOMY, "--max-error", "0.3", "--severe", "fear", "--reviewers", "2", "--hours", "0.05").stdout
    for words in ("passes without a person", "reviewer hours a day", "load of the reviewers", "certified above"):
        assert words in shown
    assert "never" in next(line for line in shown.splitlines() if "fear" in line and "│" in line)
    assert "images would pass that are reviewed now" in shown
    assert "event-000" in shown


def test_the_whole_answer_is_one_line_for_a_program() -> None:
    knobs = ("--max-error", "0.3", "--label-error-cost", "awe=4", "--reviewers", "1")
    lines = what_if(TAXONOMY, *knobs, "--json").stdout.splitlines()
    answer = Answer.model_validate_json(lines[-1])
    assert answer.readings == DECISIONS  # one of them repeated; and none of another reader
    assert answer.now.queue is not None
    assert answer.now.queue.waiting == OPEN
    assert answer.now.coverage.value == 0.0
    assert answer.then.coverage.value > 0.2
    assert answer.to_pass.count == sum(each.passes_then for each in answer.labels) > 0
    assert answer.to_review.count == 0
    assert answer.as_the_loop
    assert answer.now.hours_per_day is not None
    per_day = DECISIONS / 4
    assert answer.now.reviews_per_day.value == pytest.approx(per_day, rel=0.02)
    assert answer.now.hours_per_day.value == pytest.approx(per_day * 8.0 / 3600.0, rel=0.02)
    assert answer.policy.label_error_costs == {"awe": 4.0}
    assert answer.labels_until_attempt == 0


def test_a_promise_too_strict_for_the_labels_at_hand_says_so() -> None:
    shown = what_if(TAXONOMY, "--max-error", "0.001").stdout
    assert "Nothing can be certified yet: at least" in shown
    assert json.loads(what_if(TAXONOMY, "--max-error", "0.001", "--json").stdout)["then"]["coverage"]["value"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((TAXONOMY, "--max-error", "5"), 2, "max_error: Input should be less than 1"),
        ((TAXONOMY, "--audit-rate", "0"), 2, "audit_rate: Input should be greater than or equal to 0.01"),
        ((TAXONOMY, "--severe", "angst"), 2, "no reading has the label 'angst'; there are: awe, contentment"),
        ((TAXONOMY, "--label-error-cost", "awe"), 2, "--label-error-cost: 'awe' is not of the form LABEL=COST"),
        ((TAXONOMY, "--label-review-cost", "awe=x"), 2, "'awe=x' is not of the form LABEL=COST"),
        ((TAXONOMY, "--severe", "awe", "--no-severe"), 2, "contradict each other"),
        (("fi-2",), 1, "fi-2 has no policy to begin from (there are policies of emoset-8, empty)"),
        (("empty",), 1, "the ledger has no decision of empty"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(arguments: tuple[str, ...], code: int, message: str) -> None:
    assert message in what_if(*arguments, code=code).stderr


def test_a_ledger_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_LEDGER_PATH", str(tmp_path / "none"))
    assert "there is no ledger at" in what_if(TAXONOMY, code=1).stderr


def test_before_any_verdict_nothing_can_be_certified(
    kafka_settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = LedgerSettings(path=str(tmp_path / "ledger"))
    with Topics(kafka_settings) as topics:
        topics.put(*(_decision(number) for number in range(0, DECISIONS, 50)))
        topics.sync(place)
    ensure_topics(kafka_settings, partitions=1)
    policy = Policy(policy_id="p-1", taxonomy=TAXONOMY, created_at=NOW - timedelta(days=5), max_error=0.02)
    publish(kafka_settings, "policies", TAXONOMY, policy.model_dump_json().encode())
    monkeypatch.setenv("TIDEGATE_KAFKA_TOPIC_PREFIX", kafka_settings.topic_prefix)
    monkeypatch.setenv("TIDEGATE_LEDGER_PATH", place.path)
    shown = what_if(TAXONOMY).stdout
    assert "Nothing can be certified: no verdict names a label yet" in shown
    assert "not measured" in shown
