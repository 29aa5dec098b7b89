"""What the loop reads: columns of numpy, of the right rows, in the order of decisions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from calibration.audit import Audit
from calibration.ledger.erasure import erase
from calibration.ledger.place import LedgerError
from calibration.ledger.reading import Ledger
from calibration.ledger.tables import compact
from calibration.loop.evidence import EvidenceSource, moment
from calibration.outcome import Reader
from calibration.routing import Reason, Route, ShadowRouting
from calibration.settings import KafkaSettings, LedgerSettings
from deploy.local import EmbeddedBroker
from tests.calibration.ledger.records import START, VERSIONS, audited, decision, reviewed, verdict
from tests.calibration.ledger.topics import Topics, raw_rows

READER = Reader(model="m1", prompt="p1", decoder="d1")
TAXONOMY = "emoset-8"


@pytest.fixture(scope="module")
def ledger(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """One of each: passed, below the threshold, an audit answered, open, unsure, unparsed, of others."""
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    settings = LedgerSettings(path=str(tmp_path_factory.mktemp("reading") / "ledger"))
    said = [
        decision(0, shadow=ShadowRouting(gate="g2", route=Route.REVIEW, reason=Reason.BELOW_THRESHOLD)),
        reviewed(1, label="fear", audit=Audit(selected=False, propensity=0.5, would_pass=False)),
        audited(2, label="awe", rate=0.05),
        audited(3, label="awe"),
        audited(4, label="fear"),
        reviewed(5, label=None),
        reviewed(6, versions=VERSIONS.model_copy(update={"model": "m2"})),
        reviewed(7, taxonomy="fi-2"),
    ]
    with Topics(kafka) as topics:
        topics.put(*said)
        topics.put(*(verdict(each, "awe") for each in said if each.route is Route.REVIEW and each is not said[3]))
        topics.put(verdict(said[4], None, hours=3.0))
        topics.sync(settings)
    return Ledger.open(settings)


def test_it_is_a_source_of_evidence_for_the_loop(ledger: Ledger) -> None:
    source: EvidenceSource = ledger
    evidence = source.evidence(TAXONOMY, READER, START)
    assert evidence.reader == READER
    assert [len(each) for each in (evidence.outcomes, evidence.audits, evidence.traffic)] == [3, 3, 6]


def test_outcomes_name_a_label(ledger: Ledger) -> None:
    outcomes = ledger.outcomes(TAXONOMY, READER)
    assert list(outcomes.event_id) == ["event-000001", "event-000002", "event-000005"]
    assert list(outcomes.correct) == [False, True, False]
    assert list(outcomes.propensity) == [1.0, 0.05, 1.0]
    np.testing.assert_equal(outcomes.audit_propensity, [np.nan, 0.05, np.nan])
    assert list(outcomes.signals.label) == ["fear", "awe", ""]
    assert list(outcomes.signals.source) == ["app", "web", "app"]
    assert outcomes.signals.verbal_confidence.dtype == np.float64
    assert list(outcomes.signals.verbal_confidence) == [0.51, 0.52, 0.55]
    assert outcomes.decided_at.dtype == np.dtype("datetime64[us]")
    assert list(outcomes.decided_at) == [moment(START + timedelta(minutes=n)) for n in (1, 2, 5)]


def test_audits_are_open_right_or_wrong(ledger: Ledger) -> None:
    audits = ledger.audits(TAXONOMY, READER)
    assert list(audits.event_id) == ["event-000002", "event-000003", "event-000004"]
    assert list(audits.answered) == [True, False, True]
    assert list(audits.wrong) == [False, False, True]
    assert list(audits.rate) == [0.05, 0.02, 0.02]
    assert list(audits.floor) == [0.0, 0.0, 0.0]
    assert (list(audits.gate), list(audits.calibrator)) == (["g1"] * 3, ["c1"] * 3)
    assert list(audits.would_pass) == [True] * 3
    assert list(np.isnat(audits.given_at)) == [False, True, False]
    assert audits.given_at[2] == moment(START + timedelta(minutes=4, hours=3))


def test_traffic_is_everything_of_the_reader(ledger: Ledger) -> None:
    traffic = ledger.traffic(TAXONOMY, READER)
    assert list(traffic.passed) == [True, False, False, False, False, False]
    assert list(traffic.shadow_gate) == ["g2", "", "", "", "", ""]
    assert not traffic.shadow_passed.any()
    assert len(ledger.traffic(TAXONOMY)) == 7
    newest = ledger.traffic(TAXONOMY, READER, limit=2)
    assert list(newest.decided_at) == [moment(START + timedelta(minutes=n)) for n in (4, 5)]


def test_nothing_at_all_is_empty_columns(ledger: Ledger) -> None:
    evidence = ledger.evidence("unknown", None, START)
    assert (len(evidence.outcomes), len(evidence.audits), len(evidence.traffic)) == (0, 0, 0)
    assert evidence.outcomes.correct.dtype == np.bool_
    assert evidence.audits.given_at.dtype == np.dtype("datetime64[us]")
    assert ledger.reader("unknown") is None


def test_the_present_reader_is_the_one_on_whom_the_newest_agree(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(decision(number) for number in range(5)))
    topics.sync(settings)
    ledger = Ledger.open(settings)
    assert ledger.reader(TAXONOMY) == READER
    newer = VERSIONS.model_copy(update={"prompt": "p2"})
    topics.put(*(decision(number, versions=newer) for number in range(5, 10)))
    topics.sync(settings)
    assert ledger.reader(TAXONOMY) is None
    topics.put(*(decision(number, versions=newer) for number in range(10, 30)))
    topics.sync(settings)
    assert ledger.reader(TAXONOMY) == READER.model_copy(update={"prompt": "p2"})


def test_a_window_starts_at_its_moment(topics: Topics, settings: LedgerSettings) -> None:
    days = [audited(number, decided_at=START + timedelta(days=number, hours=12)) for number in range(10)]
    topics.put(*days, *(verdict(each, hours=24 * 3) for each in days[:9]))
    topics.sync(settings)
    ledger = Ledger.open(settings)
    since = days[4].decided_at
    evidence = ledger.evidence(TAXONOMY, READER, since)
    assert [len(each) for each in (evidence.outcomes, evidence.audits, evidence.traffic)] == [5, 6, 6]
    assert list(evidence.audits.answered) == [True] * 5 + [False]
    assert evidence.traffic.decided_at[0] == moment(since)
    assert len(ledger.traffic(TAXONOMY, since=since + timedelta(microseconds=1))) == 5


def test_small_files_are_joined_and_nothing_else_changes(topics: Topics, settings: LedgerSettings) -> None:
    for number in range(6):
        topics.put(reviewed(number), verdict(number))
        topics.sync(settings)
    before = raw_rows(settings, "decisions")
    assert compact(settings)["decisions"] == (6, 1)
    assert raw_rows(settings, "decisions") == before
    assert compact(settings)["decisions"] == (0, 0)
    topics.put(reviewed(3, label="fear"), reviewed(6))
    assert topics.sync(settings).decisions.replaced == 1
    assert Ledger.open(settings).stats().tables["decisions"].rows == 7


def test_a_deletion_under_the_reader_is_read_around(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(reviewed(number) for number in range(4)))
    topics.sync(settings)
    ledger = Ledger.open(settings)
    real = ledger._tables
    deleted: list[int] = []

    def opened_before_the_deletion() -> object:
        tables = real()
        if not deleted:
            receipt = erase(settings, "event", "event-000001", START, topics={"decisions": "d"}, retentions={})
            deleted.append(receipt.tables["decisions"].rows)
        return tables

    ledger._tables = opened_before_the_deletion  # type: ignore[method-assign,assignment]
    assert len(ledger.traffic(TAXONOMY)) == 3
    assert deleted == [1]


def test_figures_name_what_is_odd(ledger: Ledger) -> None:
    stats = ledger.stats()
    assert (stats.events, stats.events_with_verdicts, stats.repeated_verdicts) == (8, 6, 1)
    assert (stats.contradicted, stats.cannot_tell, stats.verdicts_before_decisions) == (1, 1, 0)
    assert (stats.audits_drawn, stats.audits_unanswered) == (3, 1)
    assert stats.oldest_unanswered == START + timedelta(minutes=3)
    assert stats.by_taxonomy == {"emoset-8": 7, "fi-2": 1}
    assert stats.tables["decisions"].bytes > 0


def test_where_there_is_no_ledger_the_way_to_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="tidegate ledger sync"):
        Ledger.open(LedgerSettings(path=str(tmp_path / "nothing")))
    with pytest.raises(LedgerError, match="TIDEGATE_LEDGER_PATH"):
        Ledger.open(LedgerSettings(path="ftp://host/ledger"))
