"""A moderator at work in a real browser: by keyboard, beside others, and while things go wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import redis
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from calibration.ledger.topic import publish
from review.queue import ReviewQueue
from review.reconcile import rebuild
from review.task import Verdict
from review.truth import Truth, records
from tests.review.console.browser import clean_page
from tests.review.console.platform import PASSWORD, ConsoleProcess, Platform
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
    expect(page.locator("#image")).to_have_js_property("naturalWidth", 640)


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
        bob.evaluate("dispatchEvent(new Event('online'))")
        expect(bob.locator("#event")).to_have_text("race-1")
        with ada.expect_response("**/api/v1/verdicts") as refused:
            ada.keyboard.press("1")
            ada.keyboard.press("Enter")
        assert refused.value.status == 409
        expect(ada.locator("#notices")).to_contain_text("bob holds it now. Your verdict was not recorded.")
        bob.keyboard.press("2")
        with bob.expect_response("**/api/v1/verdicts"):
            bob.keyboard.press("Enter")
        expect(bob.locator("#empty")).to_be_visible()
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


def test_a_lease_that_runs_out(browser: Browser, platform: Platform) -> None:
    """The page learns it with its next heartbeat, says so, and goes on with what it still holds."""
    platform.put(make_task("late-1"), make_task("late-2", priority=10))
    with platform.page(browser, "ada") as page:
        shown(page, "late-1")

        async def expired(queue: ReviewQueue) -> None:
            _, entry = await queue.find("late-1")
            assert entry.lease is not None
            await queue.release("late-1", entry.lease.token)
            assert (await queue.take("late-1", "bob")).lease.holder == "bob"

        platform.queue(expired)
        page.evaluate("dispatchEvent(new Event('online'))")  # what a page asks after it was away
        expect(page.locator("#notices")).to_contain_text("bob holds it now. Nothing was recorded of it.")
        shown(page, "late-2")


def test_an_answer_that_is_lost(browser: Browser, platform: Platform) -> None:
    """The verdict arrives, its answer does not: it is sent again, and there is one record."""
    platform.put(make_task("lost-1"))
    lost: list[str] = []

    def lose(route: Route) -> None:
        route.fetch()
        lost.append(route.request.url)
        route.abort()

    with platform.page(browser, "ada", expected="ERR_FAILED") as page:
        shown(page, "lost-1")
        page.route("**/api/v1/verdicts", lose, times=1)
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(page.locator("#connection")).to_contain_text("1 verdict waits here until it is taken.")
        expect(page.locator("#connection")).to_be_hidden()
        expect(page.locator("#notices")).to_be_empty()
    assert lost
    assert [each.label for each in verdicts(platform, "lost-1")] == [LABELS[0]]


def test_the_server_is_killed_in_mid_verdict(browser: Browser, platform: Platform) -> None:
    """The page says that verdicts wait, gives them to the next server, and has lost neither them nor its tasks."""
    platform.put(*(make_task(f"killed-{n}", priority=90 - n) for n in range(3)))
    with ConsoleProcess(platform) as server, platform.page(browser, "ada", at=server.url, expected="ERR_") as page:
        shown(page, "killed-0")
        expect(page.locator("#ahead")).to_have_text("2")
        server.kill()
        for _ in range(2):
            page.keyboard.press("1")
            page.keyboard.press("Enter")
        shown(page, "killed-2")
        expect(page.locator("#connection")).to_contain_text("2 verdicts wait here until")
        server.start()
        expect(page.locator("#connection")).to_be_hidden(timeout=20_000)
        page.keyboard.press("2")
        with page.expect_response("**/api/v1/verdicts"):
            page.keyboard.press("Enter")
        expect(page.locator("#notices")).to_be_empty()
    said = verdicts(platform, "killed-0", "killed-1", "killed-2")
    assert [(each.event_id, each.label) for each in said] == [
        ("killed-0", LABELS[0]),
        ("killed-1", LABELS[0]),
        ("killed-2", LABELS[1]),
    ]


def test_valkey_is_flushed(browser: Browser, platform: Platform) -> None:
    """Everybody is signed out. The verdict under way is kept in the page, and is refused after the rebuild by name."""
    decisions = [make_task(f"flushed-{n}") for n in range(2)]
    for decision in decisions:
        record = json.dumps(decision.model_dump(mode="json") | {"route": "review"}).encode()
        publish(platform.kafka, "decisions", decision.event_id, record)
    platform.put(*decisions)
    with platform.page(browser, "ada", expected="401|409") as page:
        shown(page, "flushed-0")
        with redis.Redis.from_url(platform.valkey.url) as client:
            client.flushall()
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(page).to_have_title("Sign in · Tidegate")
        rebuilt = platform.queue(lambda queue: rebuild(Truth(platform.kafka, queue.wants_second_answer), queue))
        assert rebuilt.added == 2
        page.keyboard.type("ada")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("#notices")).to_contain_text("flushed-0: ")
        expect(page.locator("#event")).to_have_text(re.compile("flushed-[01]"))
        first = page.locator("#event").inner_text()
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(page.locator("#event")).not_to_have_text(first)
        page.keyboard.press("1")
        with page.expect_response("**/api/v1/verdicts"):
            page.keyboard.press("Enter")
        expect(page.locator("#empty")).to_be_visible()
    assert {(each.event_id, each.label) for each in verdicts(platform, "flushed-0", "flushed-1")} == {
        ("flushed-0", LABELS[0]),
        ("flushed-1", LABELS[0]),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (820, 1180)])
def test_everybody_can_use_it(browser: Browser, platform: Platform, theme: str, width: int, height: int) -> None:
    """axe finds nothing, at a desk and on a tablet, in the dark and in the light, and nothing hides beside the page."""
    one, other = f"axe-{theme}-{width}", f"axe-{theme}-{width}-blind"
    platform.put(make_task(one), blind_task(other))
    with platform.page(browser, "ada", "/review", width=width, height=height) as page:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
        for path in ("/review", "/queue"):
            page.goto(path)
            if path == "/review":
                shown(page, one)
            found = Axe().run(page)
            assert not found.response["violations"], found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.goto("/review")
        shown(page, one)
        assert page.locator("#submit").bounding_box() is not None
        inside = page.evaluate("document.getElementById('submit').getBoundingClientRect().bottom <= innerHeight")
        assert inside, "the verdict is given without scrolling"
