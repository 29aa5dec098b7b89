"""The doctor finds what is missing and says what to do."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from calibration.gate import Gate
from calibration.policy import Stage
from calibration.rollout import Rollout, StepKind
from calibration.settings import KafkaSettings
from deploy.all_settings import ALL_SETTINGS
from deploy.doctor import doctor
from deploy.local import EmbeddedBroker, EmbeddedValkey
from deploy.people import add_account
from review.access.roles import Role
from tests.calibration.gates import NOW, certified, certified_gate, make_policy, make_rollout, refused
from tests.worker.engine.openai_server import MODEL, OpenAiServer, serving
from tests.worker.gates.topic import write
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


def test_a_healthy_installation(healthy: pytest.MonkeyPatch, kafka_settings: KafkaSettings) -> None:
    code, findings = examine()
    assert code == 0
    (nobody,) = (finding for finding in findings if finding["state"] != "ok")
    assert (nobody["part"], nobody["found"]) == ("console", "0 accounts, and nobody is an admin")
    asyncio.run(add_account(kafka_settings, "ada", "tide comes in twice", frozenset({Role.ADMIN})))
    code, findings = examine()
    assert code == 0
    assert {finding["state"] for finding in findings} == {"ok"}, findings
    assert [finding["part"] for finding in findings] == [
        "settings", "broker", "topics", "valkey", "engine", "model", "images", "taxonomies", "gate", "ledger",
        "console",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "part", "found"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1", "broker", "ECONNREFUSED"),
        ("KAFKA_TOPIC_PREFIX", "other.", "topics", "other.images does not exist"),
        ("VALKEY_URL", "redis://127.0.0.1:1", "valkey", "127.0.0.1:1"),
        ("ENGINE_MODEL", "{tmp}/ledger", "model", "ledger"),
        ("ENGINE_KIND", "scripted", "model", "script None"),
        ("INTAKE_OBJECT_STORE", "file:///nowhere/at/all", "images", "nowhere"),
        ("GATE_UNCERTIFIED_THRESHOLD", "0.9", "gate", "TIDEGATE_GATE_AUDIT_KEY is not set"),
        ("GATE_FILE", "/nowhere.json", "gate", "/nowhere.json is not a gate document"),
        ("GATE_SEVERE_LABELS", '["fear"]', "gate", "goes with TIDEGATE_GATE_UNCERTIFIED_THRESHOLD only"),
        ("LEDGER_PATH", "{tmp}/config.json/ledger", "ledger", "config.json/ledger cannot be written"),
        ("LEDGER_PATH", "ftp://host/ledger", "ledger", "neither a folder nor an s3://"),
        ("STREAM_POLL_MS", "-1", "settings", "TIDEGATE_STREAM_POLL_MS"),
        ("INTAKE_ALLOWED_HOSTS", "cdn.example.com", "settings", "TIDEGATE_INTAKE_ALLOWED_HOSTS: not JSON"),
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
    assert code == 1
    assert part in {finding["part"] for finding in wrong}, findings
    assert any(found in finding["found"] for finding in wrong), wrong


SHUT = Gate(gate_id="closed-9", created_at=NOW, taxonomy="scenes", policy=make_policy(), audit_rate=0.5)
CANARY = certified_gate("gate-2", stage=Stage.CANARY)


@pytest.mark.parametrize(
    ("records", "state", "found", "advice"),
    [
        (
            [make_rollout(certified_gate(expires_at=datetime(2100, 1, 2, 3, 4, tzinfo=UTC)), candidate=CANARY)],
            "ok",
            "scenes: gate-1 in full, certified for 40% of the traffic, until 2100-01-02 03:04 UTC; "
            "gate-2 is in canary, certified for 40% of the traffic; step 1, full",
            "",
        ),
        (
            [make_rollout(certified_gate("g", certified(0.9, "awe"), refused("fear"), expires_at=NOW))],
            "warning",
            "scenes: g in full, certified for 40% of the traffic in 1 of 2 groups, expired 2026-01-01 00:00 UTC: "
            "everything goes to review; step 1, full",
            "does `tidegate calibrate run` run?",
        ),
        (
            [make_rollout(), make_rollout().step(NOW, StepKind.SHUT, "gate-1", "9 of 60 were wrong", live=SHUT)],
            "warning",
            "scenes: closed-9, closed: everything goes to review; step 2, shut",
            "9 of 60 were wrong",
        ),
        ([make_rollout(SHUT)], "ok", "scenes: closed-9, closed: everything goes to review; step 1, full", ""),
        (
            [make_rollout(SHUT), b"{}"],
            "warning",
            "{prefix}gates[0]@1 is refused (damaged): taxonomy: Field required",
            "workers keep the last good one",
        ),
        (
            [make_rollout(certified_gate("g", certified(0.9, "awe", "ave")))],
            "warning",
            "scenes: labels that scenes does not have here: ave",
            "TIDEGATE_WORKER_TAXONOMIES",
        ),
        ([make_rollout(), None], "warning", "closed: everything goes to review", "`tidegate calibrate run`"),
    ],
)
def test_what_the_gates_topic_holds_is_told(
    healthy: pytest.MonkeyPatch,
    kafka_settings: KafkaSettings,
    records: list[Rollout | bytes | None],
    state: str,
    found: str,
    advice: str,
) -> None:
    healthy.setenv("TIDEGATE_GATE_AUDIT_KEY", "secret")
    write(kafka_settings, *records)
    code, findings = examine()
    words = [(each["state"], each["found"], each["advice"]) for each in findings if each["part"] == "gate"]
    expected = found.replace("{prefix}", kafka_settings.topic_prefix)
    assert [word for word in words if word[0] == state and expected in word[1] and advice in word[2]], words
    assert code == 0


def test_a_missing_audit_key_is_told_where_a_gate_needs_it(
    healthy: pytest.MonkeyPatch, kafka_settings: KafkaSettings
) -> None:
    write(kafka_settings, make_rollout())
    _, findings = examine()
    words = [(each["state"], each["found"]) for each in findings if each["part"] == "gate"]
    assert words[0][0] == "warning"
    assert "is refused (no_audit_key): TIDEGATE_GATE_AUDIT_KEY is not set" in words[0][1]
    assert words[1] == ("warning", "closed: everything goes to review")


def test_the_settings_are_listed_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_GATE_AUDIT_KEY", "hidden-value")
    monkeypatch.setenv("COLUMNS", "200")
    run = CliRunner().invoke(app, ["--settings"])
    assert run.exit_code == 0
    assert "TIDEGATE_STREAM_WINDOW_EVENTS" in run.stdout
    assert "hidden-value" not in run.stdout


def test_every_setting_has_a_meaning() -> None:
    fields = {(kind.__name__, name): field for kind in ALL_SETTINGS for name, field in kind.model_fields.items()}
    assert [name for name, field in fields.items() if not field.description] == []


async def test_a_served_model_is_asked_for(healthy: pytest.MonkeyPatch) -> None:
    healthy.setenv("TIDEGATE_ENGINE_KIND", "http")
    healthy.setenv("TIDEGATE_ENGINE_MODEL", MODEL)
    async with serving(OpenAiServer()) as server:
        healthy.setenv("TIDEGATE_ENGINE_URL", server.url)
        code, findings = await asyncio.to_thread(examine)
        states = {finding["state"] for finding in findings if finding["part"] != "console"}
        assert (code, states) == (0, {"ok"})
        healthy.setenv("TIDEGATE_ENGINE_MODEL", "another")
        _, findings = await asyncio.to_thread(examine)
    assert [each["found"] for each in findings if each["part"] == "model"] == [
        f"{server.url} serves {MODEL}, not another"
    ]
    code, findings = await asyncio.to_thread(examine)
    (gone,) = [each for each in findings if each["part"] == "model"]
    assert code == 1
    assert "Cannot connect" in gone["found"]
    assert "TIDEGATE_ENGINE_URL" in gone["advice"]


def test_no_password_of_an_address_is_shown(healthy: pytest.MonkeyPatch, valkey: EmbeddedValkey) -> None:
    healthy.setenv("COLUMNS", "200")
    for address in (valkey.url.replace("//", "//:hidden-value@"), "redis://me:hidden-value@127.0.0.1:1"):
        healthy.setenv("TIDEGATE_VALKEY_URL", address)
        for arguments in (["--json"], [], ["--settings"]):
            assert "hidden-value" not in CliRunner().invoke(app, arguments).output
