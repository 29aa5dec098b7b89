"""The commands: what they print, and how they exit."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from calibration.ledger.cli import app
from calibration.settings import LedgerSettings
from tests.calibration.ledger.records import reviewed, verdict
from tests.calibration.ledger.topics import Topics, files_holding, raw_rows
from tests.waiting import eventually


@pytest.fixture
def environment(topics: Topics, settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {
        "TIDEGATE_KAFKA_BOOTSTRAP_SERVERS": topics.kafka.bootstrap_servers,
        "TIDEGATE_KAFKA_TOPIC_PREFIX": topics.kafka.topic_prefix,
        "TIDEGATE_LEDGER_PATH": settings.path,
        "TIDEGATE_LEDGER_INTERVAL_S": "0.2",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def tidegate(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_from_sync_to_receipt(
    environment: dict[str, str], topics: Topics, settings: LedgerSettings, tmp_path: Path
) -> None:
    topics.put(*(reviewed(number) for number in range(10)), *(verdict(number) for number in range(10)))
    synced = tidegate("sync")
    assert synced.exit_code == 0
    assert json.loads(synced.stdout)["decisions"]["added"] == 10

    sql = "SELECT label, count(*) AS n, avg(correct::INT) AS accuracy FROM outcomes GROUP BY label ORDER BY label"
    rows = [json.loads(line) for line in tidegate("query", sql, "--json").stdout.splitlines()]
    assert rows[0] == {"label": "awe", "n": 2, "accuracy": 1.0}
    table = list(csv.reader(tidegate("query", sql, "--csv").stdout.splitlines()))
    assert table[:2] == [["label", "n", "accuracy"], ["awe", "2", "1.0"]]
    assert "contentment" in tidegate("query", sql).stdout

    stats = json.loads(tidegate("stats", "--json").stdout)
    assert (stats["events"], stats["events_with_verdicts"]) == (10, 10)
    assert "events with verdicts" in tidegate("stats").stdout

    receipt = tmp_path / "receipt.json"
    deleted = tidegate("delete", "--event", "event-000007", "--receipt", str(receipt))
    assert deleted.exit_code == 0
    assert json.loads(deleted.stdout) == json.loads(receipt.read_text())
    assert json.loads(deleted.stdout)["tables"]["verdicts"]["rows"] == 1
    assert files_holding(settings, "event-000007") == []

    assert json.loads(tidegate("rebuild").stdout)["read"] == {"decisions": 10, "verdicts": 10}
    assert len(raw_rows(settings, "decisions")) == 9
    assert tidegate("compact").exit_code == 0
    assert json.loads(tidegate("expire", "--days", "400").stdout)["rows"]["decisions"] == 0


def test_deleting_does_not_need_kafka(
    environment: dict[str, str], topics: Topics, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.put(reviewed(7))
    assert tidegate("sync").exit_code == 0
    monkeypatch.setattr("calibration.ledger.topic._BOOTSTRAP_MS", 500)
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port}")
    deleted = tidegate("delete", "--event", "event-000007")
    assert deleted.exit_code == 0
    assert "retentions are not known" in deleted.stderr
    assert json.loads(deleted.stdout)["in_kafka"][0]["until"] is None
    failed = tidegate("sync")
    assert failed.exit_code == 1
    assert "is Kafka there?" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("delete",), 2, "give --event or --uploader"),
        (("delete", "--event", "a", "--uploader", "b"), 2, "give --event or --uploader"),
        (("query", "SELECT", "--json", "--csv"), 2, "not both"),
        (("query", "SELECT 1"), 1, "there is no ledger"),
        (("stats",), 1, "tidegate ledger sync"),
        (("compact",), 1, "there is no ledger"),
        (("expire", "--days", "0"), 2, "--days"),
    ],
)
def test_what_cannot_be_done_is_said(
    environment: dict[str, str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    run = tidegate(*arguments)
    assert run.exit_code == code
    assert words in run.stderr


def test_a_query_reads_the_ledger_and_nothing_else(environment: dict[str, str], topics: Topics) -> None:
    topics.put(reviewed(1))
    tidegate("sync")
    wrong = tidegate("query", "SELECT nothing FROM decisions")
    assert (wrong.exit_code, "nothing" in wrong.stderr) == (2, True)
    assert tidegate("query", "SELECT * FROM read_csv('/etc/passwd')").exit_code == 2
    assert tidegate("query", "DELETE FROM decisions").exit_code == 2


def test_run_follows_until_it_is_asked_to_stop(
    environment: dict[str, str], topics: Topics, settings: LedgerSettings
) -> None:
    topics.put(*(reviewed(number) for number in range(10)))
    command = [sys.executable, "-c", "from calibration.ledger.cli import app; app(['run'])"]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE) as process:
        eventually(lambda: Path(settings.path, "ledger.json").exists(), 30)
        eventually(lambda: list(Path(settings.path).rglob("*.parquet")), 30)
        assert len(raw_rows(settings, "decisions")) == 10
        topics.put(*(verdict(number) for number in range(5)))
        eventually(lambda: len(raw_rows(settings, "verdicts")) == 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
