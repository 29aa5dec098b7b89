"""The tally that decides whether something was lost or doubled."""

from datetime import UTC, datetime

from calibration.gate import Reason, Route
from calibration.outcome import ParseStatus, Signals
from deploy.outcomes import Tally
from review.task import RecordPosition, UrlReference, Versions
from worker.events import DeadLetter, DeadLetterReason, Decision, Timings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = RecordPosition(topic="images", partition=0, offset=0)


def decision(event_id: str, route: Route = Route.REVIEW, seconds: float = 1.0) -> Decision:
    return Decision(
        event_id=event_id,
        position=HERE,
        image=UrlReference(url="https://cdn.example.com/1.jpg"),
        content_sha256=None,
        taxonomy="scenes",
        priority=50,
        label=None,
        signals=Signals(parse_status=ParseStatus.NOT_READ),
        route=route,
        reason=Reason.UNSURE_IMAGE,
        versions=Versions(model="m", prompt="p", decoder="d", calibrator="c", policy="p", gate="g"),
        timings=Timings(total=seconds),
        created_at=NOW,
        decided_at=NOW,
    )


def letter(event_id: str | None) -> DeadLetter:
    return DeadLetter(
        reason=DeadLetterReason.BAD_JSON, detail="", position=HERE, event_id=event_id, failed_at=NOW, original=b""
    )


def test_each_event_settles_once() -> None:
    tally = Tally()
    for event_id in "abc":
        tally.send(event_id)
    tally.decide(decision("a", Route.AUTO_ACCEPT))
    tally.bury(letter("b"))
    assert (tally.sent, tally.settled, tally.waiting, tally.duplicates) == (3, 2, {"c"}, 0)
    assert tally.routes["auto_accept"] == 1


def test_a_second_outcome_is_a_duplicate_and_so_is_one_of_nobody() -> None:
    tally = Tally()
    tally.send("a")
    tally.decide(decision("a"))
    tally.bury(letter("a"))
    tally.decide(decision("stranger"))
    tally.bury(letter(None))
    assert tally.duplicates == 3


def test_latency_quantiles_of_what_came_last() -> None:
    tally = Tally()
    assert tally.latency(0.5) is None
    for n in range(100):
        tally.send(str(n))
        tally.decide(decision(str(n), seconds=float(n)))
    assert tally.latency(0.5) == 50.0
    assert tally.latency(0.99) == 99.0
