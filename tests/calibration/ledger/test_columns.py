"""A column that a release adds: older ledgers get it when they are first written, and are read before that."""

from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import pytest
from deltalake import DeltaTable, write_deltalake

from calibration.ledger.columns import DECISIONS
from calibration.ledger.place import LedgerError, Place
from calibration.ledger.reading import Ledger
from calibration.ledger.rebuild import rebuild
from calibration.ledger.store import DeltaStore
from calibration.ledger.tables import compact
from calibration.settings import LedgerSettings
from tests.calibration.ledger.records import START, reviewed, signals, verdict
from tests.calibration.ledger.test_erasure import delete
from tests.calibration.ledger.topics import Topics, ask, files_holding, raw_rows
from worker.events import Decision

TAXONOMY = "emoset-8"


def looked_at(number: int, agreement: float, label: str = "fear", hours: int = 0) -> Decision:
    """A decision whose reading was looked at twice."""
    said = signals(number).model_copy(update={"agreement": agreement})
    at = START + timedelta(minutes=number, hours=hours)
    return reviewed(number, signals=said, label=label, decided_at=at)


def narrowed(settings: LedgerSettings, *columns: str) -> None:
    """Make the tables what a release without these columns would have made of them."""
    state = Place(settings).state()
    assert state is not None
    for name in ("decisions", "verdicts"):
        uri = Place(settings).uri(state.tables, name)
        rows = DeltaTable(uri).to_pyarrow_table()
        kept = [column for column in rows.column_names if column not in columns]
        write_deltalake(uri, rows.select(kept), mode="overwrite", schema_mode="overwrite", partition_by=["day"])
        table = DeltaTable(uri)
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
        assert [field.name for field in table.schema().fields] == kept


@pytest.fixture
def older(topics: Topics, settings: LedgerSettings) -> LedgerSettings:
    """A ledger of five decisions and their verdicts, of a release that knew no second look."""
    topics.put(*(reviewed(number) for number in range(5)), *(verdict(number) for number in range(5)))
    topics.sync(settings)
    narrowed(settings, "agreement", "withdrawn")
    return settings


def agreements(settings: LedgerSettings) -> list[float]:
    found: list[float] = Ledger.open(settings).outcomes(TAXONOMY).signals.agreement.tolist()
    return found


def test_an_older_ledger_is_read_as_it_is(older: LedgerSettings) -> None:
    ledger = Ledger.open(older)
    outcomes = ledger.outcomes(TAXONOMY)
    assert len(outcomes) == 5
    assert not outcomes.signals.looked.any()
    assert outcomes.signals.label_entropy.tolist() == [0.7] * 5
    assert len(ledger.traffic(TAXONOMY)) == 5
    assert ask(older, "SELECT count(*) AS n, count(agreement) AS known FROM outcomes") == [{"n": 5, "known": 0}]
    assert "agreement" not in raw_rows(older, "decisions")[0]


def test_an_older_ledger_goes_on_where_it_was_left(topics: Topics, older: LedgerSettings) -> None:
    said = looked_at(5, 0.625)
    topics.put(said, verdict(said, "fear"))
    report = topics.sync(older)
    assert (report.decisions.read, report.verdicts.read) == (1, 1)
    assert [row["agreement"] for row in raw_rows(older, "decisions")] == [None] * 5 + [0.625]
    np.testing.assert_equal(agreements(older), [np.nan] * 5 + [0.625])
    assert topics.sync(older).decisions.read == 0


def test_an_older_row_is_replaced_joined_and_deleted_like_any(topics: Topics, older: LedgerSettings) -> None:
    topics.put(looked_at(3, 0.5, hours=5))
    assert topics.sync(older).decisions.replaced == 1
    assert [row["agreement"] for row in raw_rows(older, "decisions")] == [None, None, None, 0.5, None]
    before = raw_rows(older, "decisions")
    compact(older)
    assert raw_rows(older, "decisions") == before
    delete(topics, older, "event", "event-000002")
    assert files_holding(older, "event-000002") == []
    assert len(raw_rows(older, "verdicts")) == 4


def test_an_older_ledger_can_be_rebuilt_with_what_the_topics_have_forgotten(
    topics: Topics, older: LedgerSettings
) -> None:
    for name in ("decisions", "verdicts"):
        topics.recreate(name)
    said = looked_at(5, 0.25)
    topics.put(said, verdict(said, "awe"))
    assert rebuild(topics.kafka, older).carried_over["decisions"] == 5
    np.testing.assert_equal(agreements(older), [np.nan] * 5 + [0.25])


def test_other_columns_are_refused_with_the_way_out(topics: Topics, older: LedgerSettings) -> None:
    narrowed(older, "label_mass")
    topics.put(reviewed(6))
    with pytest.raises(LedgerError, match="columns of another version: `tidegate ledger rebuild`"):
        topics.sync(older)
    with pytest.raises(LedgerError, match="columns of another version"):
        Ledger.open(older).outcomes(TAXONOMY)
    rebuild(topics.kafka, older)
    assert len(raw_rows(older, "decisions")) == 6


def test_two_who_add_it_at_once_do_not_hinder_each_other(older: LedgerSettings) -> None:
    state = Place(older).state()
    assert state is not None
    tables = state.tables
    together = threading.Barrier(4)
    failures: list[Exception] = []

    def widen() -> None:
        store = DeltaStore(Place(older), [tables, "decisions"], DECISIONS, "decided_at")
        together.wait()
        try:
            store.open()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=widen) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(raw_rows(older, "decisions")[0]) == DECISIONS.names
