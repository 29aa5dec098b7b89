"""The doctor finds what is missing and says what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from calibration.settings import KafkaSettings
from deploy.doctor import doctor
from deploy.local import EmbeddedBroker, EmbeddedValkey
from worker.stream.topics import ensure_topics

app = typer.Typer()
app.command()(doctor)


def examine() -> tuple[int, list[dict[str, Any]]]:
    run = CliRunner().invoke(app, ["--json"])
    return run.exit_code, [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture
def healthy(
    monkeypatch: pytest.MonkeyPatch,
    broker: EmbeddedBroker,
    kafka_settings: KafkaSettings,
    valkey: EmbeddedValkey,
    tmp_path: Path,
) -> pytest.MonkeyPatch:
    ensure_topics(kafka_settings)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("")
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
        "KAFKA_TOPIC_PREFIX": kafka_settings.topic_prefix,
        "VALKEY_URL": valkey.url,
        "ENGINE_MODEL": str(tmp_path),
        "INTAKE_OBJECT_STORE": tmp_path.as_uri(),
        "INTAKE_ALLOWED_HOSTS": '["cdn.example.com"]',
        "LEDGER_PATH": str(tmp_path / "ledger"),
    }.items():
        monkeypatch.setenv(f"TIDEGATE_{name}", value)
    return monkeypatch


def test_a_healthy_installation(healthy: pytest.MonkeyPatch) -> None:
    code, findings = examine()
    assert code == 0
    assert {finding["state"] for finding in findings} == {"ok"}, findings
    assert [finding["part"] for finding in findings] == [
        "settings", "broker", "topics", "valkey", "engine", "model", "images", "taxonomies", "gate", "ledger",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "part", "found"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1", "broker", "127.0.0.1:1"),
        ("KAFKA_TOPIC_PREFIX", "other.", "topics", "other.images does not exist"),
        ("VALKEY_URL", "redis://127.0.0.1:1", "valkey", "127.0.0.1:1"),
        ("ENGINE_MODEL", "{tmp}/ledger", "model", "ledger"),
        ("ENGINE_KIND", "scripted", "model", "script None"),
        ("INTAKE_OBJECT_STORE", "file:///nowhere/at/all", "images", "nowhere"),
        ("GATE_UNCERTIFIED_THRESHOLD", "0.9", "gate", "TIDEGATE_GATE_AUDIT_KEY is not set"),
        ("GATE_FILE", "/nowhere.json", "gate", "/nowhere.json is not a gate document"),
        ("GATE_SEVERE_LABELS", '["feer"]', "settings", ""),
        ("LEDGER_PATH", "{tmp}/config.json/ledger", "ledger", "config.json/ledger cannot be written"),
        ("STREAM_POLL_MS", "-1", "settings", "TIDEGATE_STREAM_POLL_MS"),
        ("INTAKE_ALLOWED_HOSTS", "cdn.example.com", "settings", "TIDEGATE_INTAKE_"),
        ("STREAM_POLLMS", "100", "settings", "TIDEGATE_STREAM_POLLMS is no setting"),
        ("KAFAK_TOPIC_PREFIX", "x.", "settings", "TIDEGATE_KAFAK_TOPIC_PREFIX is no setting"),
    ],
)
def test_what_is_wrong_is_found(
    healthy: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, part: str, found: str
) -> None:
    (tmp_path / "ledger").mkdir()
    healthy.setenv(f"TIDEGATE_{name}", value.replace("{tmp}", str(tmp_path)))
    code, findings = examine()
    wrong = [finding for finding in findings if finding["state"] == "missing"]
    if name == "GATE_SEVERE_LABELS":  # matters to a configured gate only
        healthy.setenv("TIDEGATE_GATE_UNCERTIFIED_THRESHOLD", "0.9")
        healthy.setenv("TIDEGATE_GATE_AUDIT_KEY", "secret")
        code, findings = examine()
        wrong = [finding for finding in findings if finding["state"] == "missing"]
        part, found = "gate", "feer"
    assert code == 1
    assert part in {finding["part"] for finding in wrong}, findings
    assert any(found in finding["found"] for finding in wrong), wrong


def test_the_settings_are_listed_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_GATE_AUDIT_KEY", "hidden-value")
    monkeypatch.setenv("COLUMNS", "200")
    run = CliRunner().invoke(app, ["--settings"])
    assert run.exit_code == 0
    assert "TIDEGATE_STREAM_WINDOW_EVENTS" in run.stdout
    assert "hidden-value" not in run.stdout
