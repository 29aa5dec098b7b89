"""`tidegate review` as a moderator types it, against a real Valkey and a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from calibration.gate import Reason
from calibration.settings import KafkaSettings
from review.cli import app
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import ReviewTask, Verdict
from tests.review.tasks import blind_task, make_task


@pytest.fixture(autouse=True)
def _environment(
    monkeypatch: pytest.MonkeyPatch, valkey_settings: ValkeySettings, kafka_settings: KafkaSettings
) -> None:
    monkeypatch.setenv("TIDEGATE_VALKEY_URL", valkey_settings.url)
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", kafka_settings.bootstrap_servers)
    monkeypatch.setenv("TIDEGATE_KAFKA_TOPIC_PREFIX", kafka_settings.topic_prefix)
    monkeypatch.setenv("LOGNAME", "ada")


def review(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def document(*arguments: str) -> Any:
    return json.loads(review(*arguments, "--json").stdout)


def fill(settings: ValkeySettings, *tasks: ReviewTask) -> None:
    async def put_all() -> None:
        queue = ReviewQueue(settings, ReviewSettings())
        for task in tasks:
            await queue.put(task)
        await queue.close()

    asyncio.run(put_all())


def test_a_moderator_claims_decides_and_the_verdict_is_on_the_topic(
    valkey_settings: ValkeySettings, written: Callable[[], list[Verdict]]
) -> None:
    fill(valkey_settings, make_task("event-1", priority=90), make_task("event-2"))
    shown = review("next").stdout
    for word in (
        "event-1",
        "photos/event-1.jpg",
        "1:amusement",
        "8:sadness",
        "no_certificate",
        "70.0%",
        "a grey cliff",
    ):
        assert word in shown
    assert "event-1: fear" in review("decide", "event-1", "--label", "fear", "--note", "a cliff").stdout
    assert review("next").stdout.count("event-2") >= 1
    review("decide", "event-2", "--label", "2")
    verdicts = written()
    assert [(v.event_id, v.label, v.reviewer, v.note) for v in verdicts] == [
        ("event-1", "fear", "ada", "a cliff"),
        ("event-2", "awe", "ada", None),
    ]
    assert "Nothing waits for review." in review("next", code=1).stdout


def test_scripts_get_json(valkey_settings: ValkeySettings, written: Callable[[], list[Verdict]]) -> None:
    fill(valkey_settings, make_task("event-1"), make_task("event-2", reason=Reason.UNPARSED))
    claim = document("next", "--reviewer", "bob")
    event_id, token = claim["task"]["event_id"], claim["lease"]["token"]
    assert ReviewTask.model_validate(claim["task"]).event_id == event_id
    assert claim["lease"]["holder"] == "bob"
    listed = document("list")
    assert [entry["event_id"] for entry in listed["claimed"]] == [event_id]
    assert len(listed["waiting"]) == 1
    figures = document("stats")
    assert (figures["depth"], figures["claimed"], figures["by_reason"]) == (2, 1, {"no_certificate": 1, "unparsed": 1})
    verdict = document("decide", event_id, "--cannot-tell", "--token", str(token), "--reviewer", "bob")
    assert [Verdict.model_validate(verdict)] == written()
    assert verdict["label"] is None
    assert document("stats")["depth"] == 1


def test_a_blind_task_is_shown_without_the_answer(valkey_settings: ValkeySettings) -> None:
    fill(valkey_settings, blind_task("event-1"), blind_task("event-2"))
    text = review("next").stdout
    assert "blind review" in text
    assert "cliff" not in text
    assert {"label", "alternatives", "signals", "reasoning", "reason", "audit"}.isdisjoint(document("next")["task"])


def test_the_lists_for_people(valkey_settings: ValkeySettings) -> None:
    assert "The review queue is empty." in review("list").stdout
    fill(valkey_settings, make_task("event-1"), make_task("event-2"))
    review("next", "--reviewer", "bob")
    listed = review("list").stdout
    assert all(word in listed for word in ("event-1", "event-2", "bob"))
    assert "2, 1 of them claimed" in review("stats").stdout


def test_a_task_can_be_given_back(valkey_settings: ValkeySettings) -> None:
    fill(valkey_settings, make_task())
    review("next")
    review("release", "event-1")
    assert document("stats")["claimed"] == 0
    assert "nobody holds it now" in review("release", "event-1", code=1).stderr


def test_only_the_holder_may_answer(valkey_settings: ValkeySettings) -> None:
    fill(valkey_settings, make_task())
    token = document("next", "--reviewer", "bob")["lease"]["token"]
    for arguments in ([], ["--token", str(token)]):
        refused = review("decide", "event-1", "--label", "awe", *arguments, code=1)
        assert "event-1: ada does not hold it, bob holds it now" in refused.stderr
    assert "lease" in review("decide", "event-1", "--label", "awe", "--reviewer", "bob", "--token", "1", code=1).stderr
    assert "there is no such task" in review("decide", "ghost", "--label", "awe", code=1).stderr


def test_wrong_usage_is_code_two_and_says_what_is_right(valkey_settings: ValkeySettings) -> None:
    fill(valkey_settings, make_task())
    review("next")
    unknown = review("decide", "event-1", "--label", "joy", code=2)
    assert "'joy' is not one of its labels: amusement, awe, contentment" in unknown.stderr
    review("decide", "event-1", "--label", "9", code=2)
    for arguments in ([], ["--label", "awe", "--cannot-tell"]):
        assert "either --label or --cannot-tell" in review("decide", "event-1", *arguments, code=2).stderr
    assert "printable" in review("next", "--reviewer", "a\x1bb", code=2).stderr


def test_wrong_settings_and_servers_that_are_away_are_sentences(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("TIDEGATE_VALKEY_URL", f"redis://127.0.0.1:{free_port}/0")
    assert "Valkey does not serve" in review("stats", code=1).stderr
    monkeypatch.setenv("TIDEGATE_VALKEY_URL", "nowhere")
    assert "TIDEGATE_VALKEY_URL" in review("stats", code=2).stderr
    monkeypatch.setenv("TIDEGATE_REVIEW_LEASE_S", "-1")
    assert "TIDEGATE_REVIEW_LEASE_S: Input should be greater than 0" in review("stats", code=2).stderr


def test_what_a_moderator_does_beside_deciding(
    valkey_settings: ValkeySettings, written: Callable[[], list[Verdict]]
) -> None:
    fill(valkey_settings, *(make_task(f"event-{number}", priority=90 - number) for number in range(5)))
    for number in range(4):
        assert document("next")["task"]["event_id"] == f"event-{number}"
    assert "somebody else" in review("skip", "event-0").stdout
    assert "on hold for 2 h" in review("hold", "event-1", "--hours", "2", "--note", "asking").stdout
    assert "bob's next" in review("transfer", "event-2", "--to", "bob", "--note", "yours").stdout
    assert "escalated" in review("escalate", "event-3", "--note", "allowed?").stdout
    lists = document("list")
    assert {(each["lease"]["kind"], each["note"]["text"]) for each in lists["claimed"]} == {
        ("hold", "asking"),
        ("reserved", "yours"),
    }
    assert [each["note"]["text"] for each in lists["for_leads"]] == ["allowed?"]
    for word in ("hold)", "bob", "leads", "asking"):
        assert word in review("list").stdout
    assert document("next", "--oldest")["task"]["event_id"] == "event-4"
    assert "Nothing waits" in review("next", code=1).stdout
    handed = document("next", "--reviewer", "bob")
    assert (handed["task"]["event_id"], handed["note"]["text"]) == ("event-2", "yours")
    assert document("next", "--reviewer", "bob", "--label", "awe")["task"]["event_id"] == "event-0"
    assert "allowed?" in review("next", "--reviewer", "lea", "--lead").stdout
    assert "24 hours at most" in review("hold", "event-4", "--hours", "99", "--note", "x", code=1).stderr
    review("decide", "event-4", "--label", "awe")
    assert "only they or a lead" in review("undo", "event-4", "--reviewer", "bob", code=1).stderr
    assert "ada holds the task again" in review("undo", "event-4").stdout
    review("decide", "event-4", "--label", "fear")
    said = [(verdict.label, verdict.withdrawn) for verdict in written()]
    assert said == [("awe", False), ("awe", True), ("fear", False)]
    assert document("stats")["skips"] == 1


def test_asking_for_two_things_at_once_is_wrong_usage() -> None:
    assert "one of --oldest" in review("next", "--oldest", "--label", "awe", code=2).stderr


def test_a_second_reviewer_does_not_learn_the_first_answer(
    valkey_settings: ValkeySettings, written: Callable[[], list[Verdict]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_REVIEW_SECOND_ANSWER_SHARE", "1")
    fill(valkey_settings, make_task())
    review("next")
    review("decide", "event-1", "--label", "disgust")
    assert "Nothing waits" in review("next", code=1).stdout
    assert document("list")["waiting"][0]["answers"] == 1
    assert document("next", "--reviewer", "bob")["answers"] == []
    review("decide", "event-1", "--cannot-tell", "--reviewer", "bob")
    lead = document("next", "--reviewer", "lea", "--lead")
    assert [(each["reviewer"], each["label"]) for each in lead["answers"]] == [("ada", "disgust"), ("bob", None)]
    review("decide", "event-1", "--label", "awe", "--reviewer", "lea")
    found = document("agreement")["emoset-8"]
    assert found["agreement"]["events"] == 1
    assert found["agreement"]["confused"] == [["cannot tell", "disgust", 1]]
    assert [(each["name"], each["upheld"]["value"]) for each in found["reviewers"]] == [("ada", 0.0), ("bob", 0.0)]
    assert "cannot tell against disgust" in review("agreement").stdout
    assert "no verdict yet" in review("agreement", "--days", "0", code=1).stderr
    assert [verdict.round.value for verdict in written()] == ["first", "second", "adjudication"]


def test_one_verdict_for_near_duplicates_each_with_its_own_record(
    valkey_settings: ValkeySettings, written: Callable[[], list[Verdict]]
) -> None:
    picture = "0123456789abcdef" * 4
    fill(
        valkey_settings,
        make_task("seen", priority=90, pdq=picture),
        make_task("copy", pdq=picture),
        make_task("close", pdq="1" + picture[1:]),
        make_task("audit", blind=True, pdq=picture),
        make_task("other", pdq="f0" * 32),
    )
    assert document("next")["task"]["event_id"] == "seen"
    assert "close  1 of 256" in review("similar", "seen").stdout
    said = review("decide", "seen", "--label", "awe", "--similar").stdout
    assert "2 near-duplicates" in said
    assert "audit: it needs a look of its own" in said
    assert [(each.event_id, each.label, each.copied_from) for each in written()] == [
        ("seen", "awe", None),
        ("copy", "awe", "seen"),
        ("close", "awe", "seen"),
    ]
    assert {each["event_id"] for each in document("list")["waiting"]} == {"audit", "other"}
    assert "No task" in review("similar", "other").stdout
