"""A moderator at work in a real browser: by keyboard, beside others, and while things go wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from review.queue import ReviewQueue
from review.task import Verdict
from review.truth import records
from tests.review.console.browser import clean_page
from tests.review.console.platform import PASSWORD, Platform
from tests.review.tasks import LABELS, blind_task, make_task


@pytest.fixture(autouse=True)
def _nothing_waits(platform: Platform) -> Iterator[None]:
    yield

    async def empty(queue: ReviewQueue) -> None:
        await queue.erase([entry.event_id for entry in [*await queue.claimed(99), *await queue.waiting(99)]])

    platform.queue(empty)


def verdicts(platform: Platform, *events: str) -> list[Verdict]:
    found = [Verdict.model_validate_json(record.value or b"") for record in records(platform.kafka, "verdicts", {})]
    return [verdict for verdict in found if verdict.event_id in events]


def shown(page: Page, event_id: str) -> None:
    """That this task, and its image, is on the page."""
    expect(page.locator("#event")).to_have_text(event_id)
    page.wait_for_function("document.getElementById('image').naturalWidth > 0")


def test_an_hour_by_keyboard(browser: Browser, platform: Platform) -> None:
    """Sign in, judge, look closer, cannot tell, skip, escalate, hold, take back; nothing but keys."""
    events = [f"hour-{n}" for n in range(8)]
    platform.put(*(make_task(event, priority=90 - n) for n, event in enumerate(events)))
    with clean_page(browser, platform.url) as page:
        page.goto("/")
        expect(page).to_have_title("Sign in · Tidegate")
        page.keyboard.type("moderator")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        shown(page, events[0])
        stage = page.locator("#stage")
        expect(stage).to_have_class("blurred grey")
        page.keyboard.down(" ")
        expect(stage).to_have_class("blurred grey revealed")
        page.keyboard.up(" ")
        page.keyboard.press("+")
        expect(stage).to_have_class("blurred grey zoomed")
        expect(page.locator("#model-label")).to_have_text("awe")
        expect(page.locator("#sections")).to_contain_text("one small figure")

        page.keyboard.press("5")
        expect(page.get_by_role("button", name="anger")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Enter")
        shown(page, events[1])
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        shown(page, events[2])
        page.keyboard.press("s")
        shown(page, events[3])
        page.keyboard.press("e")
        page.keyboard.type("who is this?")
        page.keyboard.press("Enter")
        shown(page, events[4])
        page.keyboard.press("h")
        page.keyboard.type("after lunch")
        page.keyboard.press("Enter")
        shown(page, events[5])
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        shown(page, events[6])
        page.keyboard.press("z")
        shown(page, events[5])
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        shown(page, events[6])
        page.keyboard.press("a")
        expect(page.locator("#at-once")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("3")
        shown(page, events[7])
        expect(page.locator("#count")).to_have_text("4")
        page.keyboard.press("a")
        page.keyboard.press("g")
        expect(stage).to_have_class("blurred")
        page.keyboard.press("g")
        expect(page.locator("#at-once")).to_have_attribute("aria-pressed", "false")
        page.reload()
        shown(page, events[7])
    said = [(each.event_id, each.label, each.withdrawn) for each in verdicts(platform, *events)]
    assert said == [
        ("hour-0", LABELS[4], False),
        ("hour-1", None, False),
        ("hour-5", LABELS[0], False),
        ("hour-5", LABELS[0], True),
        ("hour-5", LABELS[1], False),
        ("hour-6", LABELS[2], False),
    ]
    _, escalated = platform.queue(lambda queue: queue.find("hour-3"))
    assert escalated.lead
    assert escalated.note is not None
    assert escalated.note.text == "who is this?"


def test_a_blind_task_says_nothing_of_the_model(browser: Browser, platform: Platform) -> None:
    platform.put(blind_task("blind-1"))
    answers: list[str] = []
    with platform.page(browser, "ada") as page:
        page.on("response", lambda answer: answers.append(answer.text()) if "/api/v1/claims" in answer.url else None)
        page.reload()
        shown(page, "blind-1")
        expect(page.locator("#blind")).to_be_visible()
        expect(page.locator("#reading")).to_be_hidden()
        page.wait_for_timeout(100)
    assert answers
    assert not any(word in answer for answer in answers for word in ('"probability"', "grey cliff", "verbal", "audit"))


def test_two_people_on_one_task(browser: Browser, platform: Platform) -> None:
    """A lead's hand-over takes it from the first: their verdict is refused, said so, and only the second one counts."""
    platform.put(make_task("race-1"))
    with platform.page(browser, "ada", expected="409") as ada, platform.page(browser, "bob") as bob:
        expect(ada.locator("#event")).to_have_text("race-1")
        expect(bob.locator("#empty")).to_be_visible()

        async def taken(queue: ReviewQueue) -> None:
            _, entry = await queue.find("race-1")
            assert entry.lease is not None
            await queue.transfer("race-1", entry.lease.token, "bob", "yours")

        platform.queue(taken)
        expect(bob.locator("#event")).to_have_text("race-1")
        with ada.expect_response("**/api/v1/verdicts") as refused:
            ada.keyboard.press("1")
            ada.keyboard.press("Enter")
        assert refused.value.status == 409
        expect(ada.locator("#notices")).to_contain_text("bob holds it now. Your verdict was not recorded.")
        bob.keyboard.press("2")
        bob.keyboard.press("Enter")
        expect(bob.locator("#empty")).to_be_visible()
        bob.wait_for_function("JSON.parse(sessionStorage.getItem('tidegate-verdicts') || '[]').length === 0")
    assert [(each.reviewer, each.label) for each in verdicts(platform, "race-1")] == [("bob", LABELS[1])]


def test_an_image_that_is_gone(browser: Browser, platform: Platform) -> None:
    platform.put(make_task("gone-1"))
    (platform.images / "photos" / "gone-1.jpg").unlink()
    with platform.page(browser, "ada", expected="404") as page:
        expect(page.locator("#image-note")).to_contain_text("The image cannot be had")
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        expect(page.locator("#empty")).to_be_visible()


def test_near_duplicates_take_the_same_verdict(browser: Browser, platform: Platform) -> None:
    alike = [f"alike-{n}" for n in range(3)]
    platform.put(*(make_task(event, pdq="f0" * 32, priority=60 - n) for n, event in enumerate(alike)))
    with platform.page(browser, "ada") as page:
        shown(page, alike[0])
        expect(page.locator("#alike-count")).to_have_text("2")
        page.keyboard.press("c")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(page.locator("#told")).to_contain_text("2 near-duplicates have the same verdict")
    assert {(each.event_id, each.copied_from) for each in verdicts(platform, *alike)} == {
        ("alike-0", None),
        ("alike-1", "alike-0"),
        ("alike-2", "alike-0"),
    }
