"""A blind review shows nothing that the model said or that follows from it."""

from __future__ import annotations

import json
from io import StringIO

from rich.console import Console

from calibration.gate import Reason
from calibration.outcome import ParseStatus, Signals
from review.blind import visible
from review.lease import Claim, Entry, Lease
from review.panel import claim_panel
from review.task import ReviewTask
from tests.review.tasks import blind_task, make_task


def panel(task: ReviewTask) -> str:
    at = task.decided_at
    lease = Lease(holder="ada", token=7, claimed_at=at, deadline=at)
    entry = Entry(event_id=task.event_id, reason=task.reason, since=at, expiries=0, lease=lease, at=at)
    console = Console(file=StringIO(), width=160)
    console.print(claim_panel(Claim(task, entry, lease)))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_blind_task_looks_the_same_whatever_the_model_said() -> None:
    task = blind_task()
    other = task.model_copy(
        update={
            "label": "fear",
            "alternatives": (),
            "reasoning": None,
            "signals": Signals(parse_status=ParseStatus.MISSING_TAG),
            "probability": 0.25,
            "reason": Reason.CERTIFIED,
            "audit": None,
            "versions": task.versions.model_copy(update={"gate": "another"}),
        }
    )
    assert panel(task) == panel(other)
    assert visible(task) == visible(other)
    for shown in (panel(task), json.dumps(visible(task))):
        assert all(word in shown for word in ("photos/event-1.jpg", "sadness", "emoset-8"))


def test_any_other_task_shows_what_the_model_said() -> None:
    task = make_task(probability=0.654, image_flags=("animated",))
    text = panel(task)
    for word in (
        "70.0%  awe",
        "81%",
        "0.654",
        "a grey cliff",
        "one small figure",
        "dusk",
        "looks up",
        "overwhelms",
        "animated",
    ):
        assert word in text
    assert ReviewTask.model_validate(visible(task)) == task


def test_texts_of_strangers_do_not_speak_to_the_terminal() -> None:
    text = panel(make_task(label="[red]\x1b]0;owned\x07\u202e"))
    assert "[red]\ufffd]0;owned\ufffd\ufffd" in text
