"""What a person sees of a running system."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from calibration.gate import Reason, Route
from calibration.outcome import ParseStatus, Signals
from deploy.live import LiveView, PlainView, Snapshot
from deploy.outcomes import Tally
from review.task import KeyReference, RecordPosition, Versions
from worker.events import Decision, Timings


def decision(event_id: str, metadata: dict[str, str]) -> Decision:
    now = datetime.now(UTC)
    return Decision(
        event_id=event_id,
        position=RecordPosition(topic="images", partition=0, offset=0),
        image=KeyReference(key="a.jpg"),
        content_sha256=None,
        taxonomy="scenes",
        priority=50,
        metadata=metadata,
        label="awe",
        signals=Signals(parse_status=ParseStatus.OK, verbal_confidence=0.85, label_probability=0.61),
        route=Route.REVIEW,
        reason=Reason.NO_CERTIFICATE,
        versions=Versions(model="m", prompt="p", decoder="d", calibrator="c", policy="p", gate="g"),
        timings=Timings(total=1.25),
        created_at=now,
        decided_at=now,
    )


def snapshot(*decisions: Decision) -> Snapshot:
    tally = Tally()
    for each in decisions:
        tally.send(each.event_id)
        tally.decide(each)
    return Snapshot(worker="working", tally=tally, figures=None, addresses=(("Kafka", "127.0.0.1:9092"),))


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")


@pytest.mark.usefixtures("wide")
def test_the_live_view_shows_counts_latency_and_the_last_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView() as view:
        view.show(snapshot(decision("event-7", {}), decision("0f3a", {"file": "trip/beach.jpg"})))
    shown = capsys.readouterr().err
    for text in ("working", "to review", "no_certificate 2", "1.25 s", "event-7", "trip/beach.jpg", "0.85", "0.61"):
        assert text in shown
    assert "nobody vouches" in shown


@pytest.mark.usefixtures("wide")
def test_names_of_strangers_do_not_speak_to_the_view(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView() as view:
        view.show(snapshot(decision("event[/bold]", {}), decision("0f3a", {"file": "\x1b]0;mine\x07.jpg"})))
    shown = capsys.readouterr().err
    assert "event[/bold]" in shown
    assert "\x1b]0;mine" not in shown


def test_the_plain_view_ends_with_the_last_state(capsys: pytest.CaptureFixture[str]) -> None:
    """However short the time since its last line."""
    with PlainView() as view:
        view.show(snapshot())
        view.show(snapshot(decision("a", {})))
        view.show(snapshot(decision("a", {}), decision("b", {})))
    lines = [line for line in capsys.readouterr().err.splitlines() if "decided" in line]
    assert [line.partition("decided ")[2][:1] for line in lines] == ["0", "2"]
