"""An analyst's what-if and publish, and gates moved by hand, in a real browser on a platform with a history."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect

from calibration.ledger.topic import read_latest
from calibration.policy import Policy, Stage
from calibration.rollout import Rollout
from review.access.roles import Role
from tests.review.console.history import History, fill
from tests.review.console.platform import Platform, serving

TAXONOMY = "scenes"
NO_IMAGES = "404"  # most events of the history have none


@pytest.fixture(scope="module")
def history(platform: Platform) -> History:
    return fill(platform, TAXONOMY, readings=1_500)


def policy(platform: Platform, taxonomy: str = TAXONOMY) -> Policy:
    return Policy.model_validate_json(read_latest(platform.kafka, "policies")[taxonomy][1])


def rollout(platform: Platform) -> Rollout:
    return Rollout.model_validate_json(read_latest(platform.kafka, "gates")[TAXONOMY][1])


def reason(page: Page, text: str, button: str) -> None:
    page.get_by_role("dialog").get_by_role("textbox").fill(text)
    page.get_by_role("dialog").get_by_role("button", name=button).click()


def test_a_knob_is_moved_by_keyboard_and_the_policy_published(
    browser: Browser, platform: Platform, history: History
) -> None:
    before = policy(platform)
    with platform.page(browser, "analyst", f"/what-if?taxonomy={TAXONOMY}", expected=f"{NO_IMAGES}|503") as page:
        expect(page.locator("#verdict")).to_contain_text("Nothing would pass", timeout=60_000)
        page.get_by_role("slider", name="Max error").focus()
        for _ in range(3):
            page.keyboard.press("PageUp")
        expect(page.locator("#verdict")).not_to_contain_text("Nothing would pass")
        expect(page).to_have_url(re.compile("max_error="))
        asked = page.url
        expect(page.locator("#compared")).to_contain_text("Coverage")
        page.get_by_role("button", name="Propose this policy").click()
        expect(page.get_by_role("dialog")).to_contain_text("→")
        reason(page, "complaints of slow reviews", "Propose")
        expect(page.locator("#told")).to_contain_text("is published")
        page.goto(asked)  # as a colleague opens it
        expect(page.get_by_role("slider", name="Max error")).to_be_visible()
    after = policy(platform)
    assert after.max_error > before.max_error
    assert (after.author, after.note) == ("analyst", "complaints of slow reviews")
    assert after.policy_id != before.policy_id
    unmoved = set(Policy.model_fields) - {"max_error", "policy_id", "author", "note", "created_at"}
    assert all(getattr(after, name) == getattr(before, name) for name in unmoved)


def test_labels_are_moved_and_put_back_and_only_the_newest_question_is_answered(
    browser: Browser, platform: Platform, history: History
) -> None:
    under_way: list[str] = []
    most = 0

    def sent(request: Request) -> None:
        nonlocal most
        if request.url.endswith("/what-if"):
            under_way.append(request.url)
            most = max(most, len(under_way))

    def done(request: Request) -> None:
        if request.url.endswith("/what-if"):
            under_way.pop()

    with platform.page(browser, "analyst", f"/what-if?taxonomy={TAXONOMY}", expected=f"{NO_IMAGES}|503") as page:
        page.on("request", sent)
        page.on("requestfinished", done)
        answer = page.locator("#answer")
        expect(answer).to_have_attribute("aria-busy", "false", timeout=60_000)
        page.get_by_role("slider", name="Max error").focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("End")
        row = page.get_by_role("row", name="amusement")
        expect(row.locator("td").nth(5)).not_to_have_text("0")
        row.get_by_role("checkbox").press("Space")
        expect(row.locator("td").nth(5)).to_have_text("0")
        page.get_by_role("spinbutton", name="Cost of an error of awe").fill("7.5")
        expect(page).to_have_url(re.compile(r"severe_labels=amusement&label_error_costs.awe=7.5"))
        expect(answer).to_have_attribute("aria-busy", "false")
        assert most == 1

        page.reload()  # as a colleague opens it
        expect(row.get_by_role("checkbox")).to_be_checked()
        expect(page.get_by_role("spinbutton", name="Cost of an error of awe")).to_have_value("7.5")
        expect(page.get_by_role("spinbutton", name="Max error, as a number in %")).to_have_value("50")
        page.get_by_role("button", name="Put Max error back to").click()
        expect(page.get_by_role("slider", name="Max error")).to_be_focused()
        page.get_by_role("button", name="Put all back").click()
        expect(page).to_have_url(re.compile(rf"/what-if\?taxonomy={TAXONOMY}$"))
        expect(row.get_by_role("checkbox")).not_to_be_checked()
        expect(page.get_by_role("button", name="Propose this policy")).to_be_disabled()


def test_an_image_that_would_go_another_way_is_veiled_until_it_is_revealed(
    browser: Browser, platform: Platform, history: History
) -> None:
    moved = {"taxonomy": TAXONOMY, "question": {"severe_labels": list(history.decisions[0].labels)}, "examples": 12}
    with platform.client("analyst") as client:
        answer = ready(client, moved)
    events = [each["event_id"] for each in answer["to_review"]["examples"]]
    for number, event_id in enumerate(events):
        platform.draw(event_id, number)
    severe = "&".join(f"severe_labels={label}" for label in history.decisions[0].labels)
    with platform.page(browser, "analyst", f"/what-if?taxonomy={TAXONOMY}&{severe}", expected="503") as page:
        tiles = page.locator("#to-review .example")
        expect(tiles).to_have_count(len(events), timeout=60_000)
        first = page.get_by_role("button", name=f"Reveal the image of {events[0]}")
        first.scroll_into_view_if_needed()
        expect(first.locator("img")).to_have_js_property("naturalWidth", 640)
        assert "blur" in first.locator("img").evaluate("image => getComputedStyle(image).filter")
        first.press("Enter")
        expect(first).to_have_attribute("aria-pressed", "true")
        expect(first.locator("img")).to_have_css("filter", "none")
        page.keyboard.press("r")
        expect(page.locator('#to-review .example button[aria-pressed="true"]')).to_have_count(len(events))
        expect(tiles.first.get_by_role("link")).to_have_attribute("href", f"/events?event_id={events[0]}")


def ready(client: httpx.Client, question: dict[str, object]) -> dict[str, Any]:
    """The answer, as soon as the survey is there."""
    until = time.monotonic() + 60
    while (answer := client.post("/api/v1/analysis/what-if", json=question)).status_code == 503:
        assert time.monotonic() < until, answer.text
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_gates_are_moved_by_hand(browser: Browser, platform: Platform, history: History) -> None:
    with (
        platform.page(browser, "analyst", "/gates", expected="409") as page,
        platform.page(browser, "lead", "/gates") as lead,
    ):
        expect(lead.get_by_role("button", name="Promote")).to_have_count(0)
        page.get_by_role("button", name="Promote to canary").click()
        reason(page, "the launch is on Monday", "Promote it")
        expect(page.locator("#gates .told")).to_contain_text("gate-2 is in canary")
        promoted = rollout(platform)
        assert promoted.candidate is not None
        assert promoted.candidate.stage is Stage.CANARY
        assert "analyst: the launch is on Monday" in " ".join(promoted.steps[-1].reasons)

        page.get_by_role("button", name="Promote to full force").click()
        with platform.client("lead") as client:  # somebody is faster
            shut = {"taxonomy": TAXONOMY, "sequence": promoted.sequence, "reason": "complaints from the feed"}
            assert client.post("/api/v1/gates/shut", json=shut).status_code == 201
            assert client.post("/api/v1/gates/shut", json=shut).status_code == 409
        reason(page, "the launch is on Monday", "Promote it")
        expect(page.locator("#gates")).to_contain_text("have changed since you saw them")
        expect(page.get_by_role("button", name="Promote")).to_have_count(0)
        page.get_by_role("button", name="Put the gate before back").click()
        reason(page, "it was a false alarm", "Put it back")
        refusal = page.get_by_role("dialog").get_by_role("alert")
        expect(refusal).to_contain_text("does not count any more: a gate was shut or rolled back then")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_label("Steps").select_option("by people")
        expect(page.locator(".history tbody tr")).to_have_count(2)
        page.get_by_label("with").fill("from the feed")
        expect(page.locator(".history tbody tr")).to_have_count(1)
    closed = rollout(platform)
    assert not closed.live.passes_anything
    assert closed.candidate is None


def test_two_people_stand_behind_a_policy(browser: Browser, platform: Platform, tmp_path: Path) -> None:
    strict = Platform(platform.kafka, platform.valkey, tmp_path)
    strict.add("second", Role.ANALYST)
    terms = {"max_error": 0.03, "confidence": 0.95, "error_cost": 5.0}
    wanted = {"taxonomy": "emoset-8", "terms": terms, "reason": "the first promise"}
    with serving(strict, TIDEGATE_CONSOLE_POLICIES_NEED_APPROVAL="true"):
        with strict.client("analyst") as client:
            proposal = client.post("/api/v1/policies", json=wanted).json()
            assert proposal["state"] == "open"
            said = {"taxonomy": "emoset-8", "proposal_id": proposal["proposal_id"], "approve": True}
            refused = client.post("/api/v1/policies/decisions", json=said)
            assert (refused.status_code, "yourself" in refused.json()["detail"]) == (403, True)
            assert "emoset-8" not in read_latest(strict.kafka, "policies")
        with strict.page(browser, "analyst", "/gates?taxonomy=emoset-8") as page:
            expect(page.get_by_role("button", name="Take it back")).to_be_visible()
            expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        with strict.page(browser, "second", "/gates?taxonomy=emoset-8") as page:
            page.get_by_role("button", name="Approve and publish").click()
            reason(page, "agreed", "Approve and publish")
            expect(page.locator("#gates")).to_contain_text("is published")
    published = policy(platform, "emoset-8")
    assert (published.author, published.max_error) == ("analyst", 0.03)


def test_the_first_policy_of_a_taxonomy_is_published_from_its_form(browser: Browser, platform: Platform) -> None:
    with platform.page(browser, "analyst", "/gates") as page:
        page.locator("#first").evaluate("details => (details.open = true)")
        page.get_by_label("Taxonomy", exact=True).last.fill("fi-8")
        page.get_by_label("Max error, %").fill("4")
        page.get_by_label("Always to a person").fill("fear, disgust")
        page.get_by_label("Reason").fill("a new taxonomy")
        page.get_by_role("button", name="Publish the first policy").click()
        expect(page.locator("#first-told")).to_contain_text("is published")
        expect(page.get_by_role("region", name="fi-8", exact=True)).to_contain_text("Nothing passes")
    made = policy(platform, "fi-8")
    assert (made.max_error, made.severe_labels, made.note) == (0.04, frozenset({"fear", "disgust"}), "a new taxonomy")


@pytest.fixture
def client(platform: Platform, history: History) -> Iterator[httpx.Client]:
    with platform.client("analyst") as client:
        yield client


@pytest.mark.parametrize(
    ("terms", "status", "said"),
    [
        ({"max_eror": 0.1}, 409, "no such terms: max_eror"),
        ({"policy_id": "mine"}, 409, "no such terms: policy_id"),
        ({"max_error": 7}, 422, "max_error"),
        ({"confidence": "high"}, 422, "confidence"),
        ({"promise": [["awe", "fear"], ["fear"]]}, 422, "in more than one group: fear"),
    ],
)
def test_terms_that_are_none_are_refused(
    client: httpx.Client, platform: Platform, terms: dict[str, object], status: int, said: str
) -> None:
    before = policy(platform)
    answer = client.post("/api/v1/policies", json={"taxonomy": TAXONOMY, "terms": terms, "reason": "a trial"})
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert policy(platform) == before


def test_what_is_not_there_is_said(client: httpx.Client) -> None:
    for path in ("/api/v1/gates?taxonomy=none", "/api/v1/analysis/standing?taxonomy=none"):
        assert client.get(path).status_code == 404
    ready(client, {"taxonomy": TAXONOMY, "question": {}})
    for question, said in (
        ({"severe_labels": ["angst"]}, "angst"),
        ({"promise": [["awe", "fear"], ["fear"]]}, "in more than one group"),
        ({"max_error": 2}, "max_error"),
        ({"max_eror": 0.2}, "max_eror"),
    ):
        answer = client.post("/api/v1/analysis/what-if", json={"taxonomy": TAXONOMY, "question": question})
        assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
    nowhere = client.post("/api/v1/analysis/what-if", json={"taxonomy": "none", "question": {}})
    assert nowhere.status_code == 404


@pytest.mark.parametrize(("theme", "width", "height"), [("light", 1280, 720), ("dark", 820, 1180)])
@pytest.mark.parametrize("path", ["/what-if", "/gates"])
def test_everybody_can_use_them(
    browser: Browser, platform: Platform, history: History, path: str, theme: str, width: int, height: int
) -> None:
    where = f"{path}?taxonomy={TAXONOMY}&max_error=0.15"
    with platform.page(browser, "analyst", where, width=width, height=height, expected=f"{NO_IMAGES}|503") as page:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
        expect(page.locator("main table:visible").first).to_be_visible(timeout=60_000)
        found = Axe().run(page)
        assert not found.response["violations"], found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_who_may_judge_is_not_shown_what_waits_to_be_judged_blind(platform: Platform, history: History) -> None:
    asked: dict[str, str | bool] = {"taxonomy": TAXONOMY, "audited": True, "judged": False}
    with platform.client("analyst") as analyst, platform.client("lead") as lead:
        waiting = analyst.get("/api/v1/analysis/items", params=asked).json()
        assert waiting
        assert lead.get("/api/v1/analysis/items", params=asked).json() == []
        one = {"event_id": waiting[0]["event_id"]}
        assert analyst.get("/api/v1/analysis/item", params=one).status_code == 200
        refused = lead.get("/api/v1/analysis/item", params=one)
        assert (refused.status_code, "blind" in refused.json()["detail"]) == (403, True)
