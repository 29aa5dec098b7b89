"""A ledger of a few records, in tables of its own, as the recorder writes them; no broker is needed for that."""

from __future__ import annotations

from pathlib import Path

from calibration.ledger.columns import KINDS, TopicKind, table
from calibration.ledger.place import LedgerState, Place
from calibration.ledger.tables import Tables
from calibration.ledger.topic import Record
from calibration.settings import LedgerSettings
from review.task import Verdict
from worker.events import Decision


def ledger_of(folder: Path, *records: Decision | Verdict) -> LedgerSettings:
    """All on one partition, each kind in the order given."""
    settings = LedgerSettings(path=str(folder / "ledger"))
    place = Place(settings)
    with place.writing():
        place.change(LedgerState(tables="tables-1"), None)
    tables = Tables.of(place, "tables-1").open()
    kept: dict[TopicKind, list[Decision | Verdict]] = {
        "decisions": [each for each in records if isinstance(each, Decision)],
        "verdicts": [each for each in records if isinstance(each, Verdict)],
    }
    for name, said in kept.items():
        kind = KINDS[name]
        rows = []
        for offset, each in enumerate(said):
            value = each.model_dump_json().encode()
            where = Record(0, offset, 0, each.event_id.encode(), value)
            rows.append(kind.row(kind.record.model_validate_json(value), where, "topic-1"))
        if rows:
            store = tables.decisions if name == "decisions" else tables.verdicts
            store.append(table(kind.schema, rows))
    return settings
