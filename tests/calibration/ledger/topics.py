"""The topics of a ledger, as their writers see them; and a look at the ledger's files, as they are."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deltalake import DeltaTable

from calibration.ledger.following import SyncReport, sync
from calibration.ledger.place import Place
from calibration.ledger.reading import Ledger
from calibration.settings import KafkaSettings, LedgerSettings, TopicName
from review.task import Verdict
from tests.system.cluster import Cluster
from worker.events import Decision

PARTITIONS = 3


class Topics:
    """`decisions` and `verdicts` on a broker, keyed as their writers key them."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self._cluster = Cluster(kafka.bootstrap_servers)
        self._producer: Any = None

    def __enter__(self) -> Self:
        self._cluster.__enter__()
        self._producer = self._cluster.producer()
        for name in ("decisions", "verdicts"):
            self.create(name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cluster.__exit__(kind, error, at)

    def create(self, name: TopicName, partitions: int = PARTITIONS) -> None:
        options = {"num_partitions": partitions, "replication_factor": 1}
        self._cluster.admin.create_topics({self.kafka.topic(name): options}, wait_for_metadata=True)

    def recreate(self, name: TopicName) -> None:
        """Delete it with all its records, and make another of the same name."""
        self._cluster.admin.delete_topics([self.kafka.topic(name)])
        self.create(name)

    def put(self, *records: Decision | Verdict) -> None:
        """Write these; they are there when this returns."""
        for record in records:
            name: TopicName = "decisions" if isinstance(record, Decision) else "verdicts"
            self._send(name, record.event_id.encode(), record.model_dump_json().encode())
        self._producer.flush()

    def put_bytes(self, name: TopicName, value: bytes | None, key: bytes | None = None) -> None:
        self._send(name, key, value)
        self._producer.flush()

    def _send(self, name: TopicName, key: bytes | None, value: bytes | None) -> None:
        self._producer.send(self.kafka.topic(name), key=key, value=value)

    def sync(self, settings: LedgerSettings, *, accept_gap: bool = False) -> SyncReport:
        return sync(self.kafka, settings, accept_gap=accept_gap)


def raw_rows(settings: LedgerSettings, table: str) -> list[dict[str, Any]]:
    """The rows of the Parquet files themselves, without any view."""
    state = Place(settings).state()
    assert state is not None
    rows = DeltaTable(Place(settings).uri(state.tables, table)).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: (row.get("event_id", ""), row["partition"], row["offset"]))


def ask(settings: LedgerSettings, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Ledger.open(settings).query(sql).to_pylist()
    return rows


def files_holding(settings: LedgerSettings, text: str) -> list[str]:
    """Every file below the ledger's folder that has these bytes in it, compressed pages of Parquet read as well."""
    import pyarrow.parquet as pq

    wanted = text.encode()
    found = []
    for path in sorted(Path(settings.path).rglob("*")):
        if path.is_dir():
            continue
        content = path.read_bytes()
        held = wanted in content or wanted in str(path).encode()
        if path.suffix == ".parquet":
            held = held or text in repr(pq.ParquetFile(path).read().to_pylist())
        if held:
            found.append(str(path))
    return found
