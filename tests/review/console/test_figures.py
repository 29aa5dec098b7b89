"""An analyst and a lead at the figures, and at the items behind them, in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from calibration.ledger.topic import publish
from review.analysis import desk
from review.golden import read_items
from tests.calibration.gates import make_policy
from tests.review.console.browser import clean_page
from tests.review.console.history import History, fill
from tests.review.console.platform import PASSWORD, Platform
from tests.waiting import eventually

TAXONOMY = "scenes"
THEMES = ("light", "dark")
SIZES = ((1280, 720), (820, 1180))


def test_where_there_is_nothing_yet_the_way_to_it_is_said(browser: Browser, platform: Platform) -> None:
    policy = make_policy(taxonomy="harbour", created_at=datetime.now(UTC))
    publish(platform.kafka, "policies", "harbour", policy.model_dump_json().encode())
    with platform.page(browser, "lead", "/live?taxonomy=harbour", expected="404|503") as page:
        problem = page.get_by_role("alert")
        for path in ("/live", "/reliability", "/events"):
            page.goto(f"{path}?taxonomy=harbour")
            expect(problem).to_contain_text("there is no ledger at")
            expect(problem).to_contain_text("`tidegate ledger sync` makes one.")
        page.goto("/live?taxonomy=nowhere")
        expect(problem).to_have_text("nowhere has no policy: publish one, and its gates follow.")


@pytest.fixture(scope="module")
def history(platform: Platform) -> History:
    filled = fill(platform, TAXONOMY, readings=1_500)
    with platform.client("analyst") as client:
        eventually(lambda: TAXONOMY in client.get("/api/v1/policies").json())
    return filled


@pytest.fixture(scope="module")
def standing(platform: Platform, history: History) -> dict[str, Any]:
    found: dict[str, Any] = asked(platform, "standing", taxonomy=TAXONOMY, hours=48)
    return found


def asked(platform: Platform, what: str, **parameters: object) -> Any:
    with platform.client("analyst") as client:
        answer = client.get(f"/api/v1/analysis/{what}", params={k: str(v) for k, v in parameters.items()})
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def pretending(page: Page, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """The server's figures, changed on their way."""

    def answer(route: Route) -> None:
        response = route.fetch()
        found = response.json()
        change(found)
        route.fulfill(response=response, body=json.dumps(found))

    page.route("**/api/v1/analysis/standing?*", answer)
    yield
    page.unroute("**/api/v1/analysis/standing?*")


def renew(page: Page) -> None:
    """What the page does by itself every few seconds."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_live_says_how_it_stands(browser: Browser, platform: Platform, standing: dict[str, Any]) -> None:
    error, audits = standing["error"], standing["audits"]
    with platform.page(browser, "analyst", f"/live?taxonomy={TAXONOMY}") as page:
        expect(page.locator("#verdict .heading")).to_have_text("The promise holds")
        expect(page.locator("#verdict")).to_contain_text(
            f"Of {error['answered']:,} audited images that passed or would have, {error['wrong']} were wrong"
        )
        figures = page.locator("#figures")
        expect(figures).to_contain_text(f"{audits['due']:,}audits due{audits['overdue']:,} overdue")
        expect(figures).to_contain_text("promised: 5.0 %")
        expect(page.locator("#forecast")).to_contain_text("images an hour come to review, by the last 24 hours.")
        expect(page.locator("#gates")).to_contain_text("gate-2")
        expect(page.get_by_role("region", name="Drift")).to_contain_text("verbal confidence")
        for chart in ("Traffic by the hour", "Error of what passed"):
            expect(page.get_by_role("img", name=re.compile(f"^{chart}: .*"))).to_be_visible()
        page.get_by_label("Traffic of").select_option("24 hours")
        expect(page.get_by_role("img", name=re.compile("^Traffic by the hour: 24 hours"))).to_be_visible()
        assert page.url.endswith(f"/live?taxonomy={TAXONOMY}&hours=24")


def test_behind_a_figure_are_its_items(browser: Browser, platform: Platform, standing: dict[str, Any]) -> None:
    with platform.page(browser, "analyst", f"/live?taxonomy={TAXONOMY}") as page:
        for figure, items in (("wrong of", standing["error"]["wrong"]), ("audits due", standing["audits"]["due"])):
            page.locator("#figures").get_by_role("link", name=figure).press("Enter")
            expect(page).to_have_url(re.compile(r"/events\?taxonomy=scenes&"))
            expect(page.locator("#found")).to_have_text(f"{items} found.")
            expect(page.locator("#items tbody a")).to_have_count(items)
            page.go_back()


@pytest.fixture(scope="module")
def live_page(browser: Browser, platform: Platform, history: History) -> Iterator[Page]:
    with platform.page(browser, "analyst", f"/live?taxonomy={TAXONOMY}") as page:
        expect(page.locator("#chart-error svg")).to_be_visible()
        yield page


def test_what_stays_the_same_is_left_alone(live_page: Page) -> None:
    def more(found: dict[str, Any]) -> None:
        found["traffic"]["readings"] = 123_456

    link = live_page.locator("#figures").get_by_role("link", name="readings")
    link.focus()
    live_page.evaluate("window.before = [document.activeElement, document.querySelector('#chart-error svg')]")
    with pretending(live_page, more):
        renew(live_page)
        expect(link).to_contain_text("123,456")
    assert live_page.evaluate("window.before[0] === document.activeElement && window.before[1].isConnected")


@pytest.mark.parametrize(
    ("change", "heading", "sentence"),
    [
        ({"error": {"alarms": ["awe: 9 of 20 audits were wrong"]}}, "does not hold", "awe: 9 of 20 audits were wrong."),
        ({"live": {"passes": False, "shut": "expired"}}, "Nothing passes", "its certificate expired at"),
        ({"live": {"passes": False, "shut": "other_reader"}}, "Nothing passes", "another model, prompt or decoder"),
        ({"live": {"passes": False, "shut": "no_certificate"}}, "Nothing passes", "it has no certificate"),
        ({"live": {"max_error": None}}, "Nothing is promised", "nobody has certified"),
        ({"error": {"answered": 0, "error": None, "series": []}}, "its certificate alone", "no audit is answered yet"),
        ({"error": {"low": 0.06, "high": 0.2}}, "in doubt", "lies above the promise of 5.0 %"),
        ({"error": {"low": 0.0, "high": 0.04}}, "The promise holds", "lies within the promise of 5.0 %"),
    ],
)
def test_the_promise_is_spoken_of_plainly(
    live_page: Page, change: dict[str, dict[str, Any]], heading: str, sentence: str
) -> None:
    def other(found: dict[str, Any]) -> None:
        for part, fields in change.items():
            found[part].update(fields)

    with pretending(live_page, other):
        renew(live_page)
        expect(live_page.locator("#verdict .heading")).to_contain_text(heading)
        expect(live_page.locator("#verdict")).to_contain_text(sentence)


def test_figures_can_be_taken_along(
    browser: Browser, platform: Platform, standing: dict[str, Any], tmp_path: Path
) -> None:
    with platform.page(browser, "analyst", f"/live?taxonomy={TAXONOMY}") as page:
        with page.expect_download() as taken:
            page.get_by_role("link", name="traffic as CSV").click()
        rows = list(csv.DictReader(io.StringIO(Path(taken.value.path()).read_text())))
        assert sum(int(row["readings"]) for row in rows) == standing["traffic"]["readings"]
        with page.expect_download() as taken:
            page.get_by_role("link", name="error as PNG").click()
        assert taken.value.suggested_filename == "error.png"
        with Image.open(taken.value.path()) as picture:
            assert picture.format == "PNG"
    with platform.client("lead") as client:
        for path in ("charts/traffic/csv", "charts/traffic/png", "agreement/csv", "items/csv"):
            assert client.get(f"/api/v1/analysis/{path}", params={"taxonomy": TAXONOMY}).status_code == 403
        assert client.get("/api/v1/analysis/charts/traffic", params={"taxonomy": TAXONOMY}).status_code == 200
    with platform.page(browser, "lead", f"/live?taxonomy={TAXONOMY}") as page:
        expect(page.get_by_role("link", name="Items", exact=True).first).to_be_visible()
        expect(page.get_by_role("link", name=re.compile("CSV|PNG"))).to_have_count(0)


def test_reliability_says_what_scored(browser: Browser, platform: Platform, history: History) -> None:
    found = asked(platform, "diagrams", taxonomy=TAXONOMY)
    with platform.page(browser, "analyst", f"/reliability?taxonomy={TAXONOMY}") as page:
        for chart in ("Reliability diagram", "Risk-coverage curve", "Histogram of scores"):
            expect(page.get_by_role("img", name=re.compile(f"^{chart}: "))).to_be_visible()
        expect(page.locator("#scored")).to_contain_text("Scored by the live gate, gate-1, with the calibrator c-")
        expect(page.locator("#scored")).to_contain_text(f"{found['labelled']:,} readings with a verdict")
        page.get_by_text("The same in numbers").first.click()
        expect(page.locator("#numbers-reliability tbody tr")).to_have_count(len(found["reliability"]))
        page.get_by_role("link", name="Wrong items: awe").click()
        expect(page.locator("#filter").get_by_label("Label", exact=True)).to_have_value("awe")
        expect(page.get_by_label("Verdict")).to_have_value("wrong=true")
        expect(page.locator("#items .right")).to_have_count(0)
        expect(page.locator("#items .wrong").first).to_be_visible()


def test_the_filter_is_kept_in_the_address(browser: Browser, platform: Platform, history: History) -> None:
    wanted = {"taxonomy": TAXONOMY, "label": "fear", "audited": "true", "low": "0.5"}
    expected = asked(platform, "items", **wanted)
    with platform.page(browser, "analyst", f"/events?taxonomy={TAXONOMY}") as page:
        expect(page.locator("#items tbody tr")).to_have_count(100)
        page.locator("#filter").get_by_label("Label", exact=True).fill("fear")
        page.get_by_label("Drawn for an audit").select_option("yes")
        page.get_by_label("Score from").fill("0.5")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"\?taxonomy=scenes&label=fear&audited=true&low=0.5$"))
        expect(page.locator("#found")).to_have_text(f"{len(expected)} found.")
        expect(page.locator("#filter").get_by_label("Label", exact=True)).to_have_value("fear")
        with page.expect_download() as taken:
            page.get_by_role("link", name="All as CSV").click()
        rows = list(csv.DictReader(io.StringIO(Path(taken.value.path()).read_text())))
        assert [row["event_id"] for row in rows] == [each["event_id"] for each in expected]
        page.locator("#items tbody a").first.click()
        expect(page.get_by_role("heading", level=2)).to_have_text(expected[0]["event_id"])
        page.get_by_role("link", name="Back to the list").click()
        expect(page.locator("#found")).to_have_text(f"{len(expected)} found.")


def test_times_of_the_filter_are_the_readers_own(browser: Browser, platform: Platform, history: History) -> None:
    since = history.decisions[-20].decided_at.replace(second=0, microsecond=0)
    until = history.decisions[-5].decided_at
    path = f"/events?taxonomy={TAXONOMY}&since={since:%Y-%m-%dT%H:%M:%SZ}&until={until:%Y-%m-%dT%H:%M:%S.%fZ}"
    expected = sum(since <= each.decided_at < until for each in history.decisions)
    with platform.page(browser, "analyst", path) as page:
        expect(page.locator("#found")).to_have_text(f"{expected} found.")
        page.get_by_role("button", name="Show").last.click()
        expect(page.locator("#found")).to_have_text(f"{expected} found.")
        page.get_by_label("until").fill("")
        page.keyboard.press("Enter")
        expect(page.locator("#found")).to_have_text(
            f"{sum(since <= each.decided_at for each in history.decisions)} found."
        )


def test_one_event_and_its_image_on_demand(browser: Browser, platform: Platform, history: History) -> None:
    waiting = platform.queue(lambda queue: queue.waiting(1))[0].event_id
    with platform.page(browser, "analyst", "/events", expected="404") as page:
        page.get_by_label("Event", exact=True).fill(waiting)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=2)).to_have_text(waiting)
        expect(page.locator("#facts")).to_contain_text("none yet")
        frame = page.locator("#frame")
        expect(frame.locator("img")).to_have_count(0)
        page.get_by_role("button", name="Show the image").press("Enter")
        expect(frame.locator("img")).to_have_js_property("naturalWidth", 640)
        expect(frame).to_have_class("frame blurred grey")
        page.get_by_role("button", name="Reveal").press("Enter")
        expect(frame).to_have_class("frame blurred grey revealed")
        page.get_by_role("button", name="Hide").press("Enter")
        expect(frame).to_have_class("frame blurred grey")
        expect(page.get_by_role("button", name="Ask for a review")).to_have_count(0)
        page.goto(f"/events?event_id={history.decisions[0].event_id}")
        page.get_by_role("button", name="Show the image").click()
        expect(page.locator("#image-note")).to_contain_text("The image cannot be had: ")
        page.goto("/events?event_id=unheard-of")
        expect(page.get_by_role("alert")).to_have_text("unheard-of: the ledger has no decision on it.")


def test_a_lead_asks_for_a_review_and_a_golden_item(browser: Browser, platform: Platform, history: History) -> None:
    passed = next(each for each in reversed(history.decisions) if each.route == "auto_accept")
    with platform.page(browser, "lead", f"/events?event_id={passed.event_id}", expected="422") as page:
        page.get_by_role("button", name="Ask for a review").press("Enter")
        page.keyboard.type("a user complained")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="It waits for review, in front")).to_be_visible()
        page.get_by_role("button", name="Make it golden").press("Enter")
        expect(page.locator("#golden-label")).to_be_focused()
        page.keyboard.press("Control+A")
        page.keyboard.type("boredom")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("'boredom' is not one of its labels: amusement, anger")
        page.get_by_role("button", name="Make it golden").press("Enter")
        page.keyboard.press("Control+A")
        page.keyboard.type("awe")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="It is a golden item now: awe is right.")).to_be_visible()
    _, entry = platform.queue(lambda queue: queue.find(passed.event_id))
    assert entry.note is not None
    assert (entry.forced, entry.note.text) == (True, "a user complained")
    assert read_items(platform.kafka)[passed.event_id].label == "awe"


def test_reviewers_beside_each_other(browser: Browser, platform: Platform, history: History) -> None:
    found = asked(platform, "agreement")[TAXONOMY]
    alpha = found["agreement"]["alpha"]["value"]
    with platform.page(browser, "lead", "/reviewers") as page:
        expect(page.get_by_role("heading", level=2)).to_have_text(TAXONOMY)
        expect(page.locator(".figures")).to_contain_text(f"{alpha:.3f}Krippendorff's alpha")
        names = page.get_by_role("region", name="Each beside the others").locator("tbody tr td:first-child")
        expect(names).to_have_text([each["name"] for each in found["reviewers"]])
        pairs = page.get_by_role("region", name="What is taken for what").locator("tbody tr")
        expect(pairs).to_have_count(len(found["agreement"]["confused"]))


def test_who_signs_in_again_is_where_they_wanted_to_be(browser: Browser, platform: Platform, history: History) -> None:
    with clean_page(browser, platform.url) as page:
        page.goto(f"/events?taxonomy={TAXONOMY}&wrong=true")
        page.keyboard.type("analyst")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{platform.url}/events?taxonomy={TAXONOMY}&wrong=true")


def test_a_ledger_that_cannot_be_read_is_away(platform: Platform, history: History) -> None:
    def broken(*asked: object, **more: object) -> None:
        raise duckdb.IOException("No files found that match")

    with pytest.MonkeyPatch.context() as patch, platform.client("analyst") as client:
        patch.setattr(desk, "items", broken)
        answer = client.get("/api/v1/analysis/items", params={"taxonomy": TAXONOMY})
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")
    assert "No files found" not in answer.text


@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("/live", "#chart-error svg"),
        ("/reliability", "#chart-scores svg"),
        ("/events", "#items table"),
        ("/events?event_id=scenes-00007", "#facts dt"),
        ("/reviewers", "#taxonomies table"),
    ],
)
def test_pages_are_for_everybody(browser: Browser, platform: Platform, history: History, path: str, ready: str) -> None:
    with platform.page(browser, "lead", path) as page:
        expect(page.locator(ready).first).to_be_visible()
        for summary in page.locator("summary").all():
            summary.click()
        for theme, (width, height) in zip(THEMES, SIZES, strict=True):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (theme, width)
            found = Axe().run(page).response["violations"]
            assert not found, [(each["id"], each["nodes"][0]["html"]) for each in found]
