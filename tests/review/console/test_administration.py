"""Administrators' pages and one's own settings, in a real browser."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from review.lease import NotWaitingError
from tests.review.console.browser import clean_page
from tests.review.console.platform import Platform
from tests.review.tasks import make_task


def test_somebody_is_added_comes_in_changes_their_password_and_is_sent_away(
    browser: Browser, platform: Platform
) -> None:
    with platform.page(browser, "admin", "/users", expected="409") as admin:
        form = admin.locator("#add")
        form.get_by_label("Name").fill("eve")
        form.get_by_label("moderator").check()
        form.get_by_role("button", name="Add").click()
        expect(admin.locator("#secret")).to_contain_text("The first password of eve, shown this once")
        first = admin.locator("#secret-text").inner_text()
        expect(admin.locator("#one-title")).to_have_text("eve")
        with clean_page(browser, platform.url, expected="401") as eve:
            eve.goto("/me")
            eve.get_by_label("Name").fill("eve")
            eve.get_by_label("Password").fill(first)
            eve.get_by_role("button", name="Sign in").click()
            expect(eve.get_by_role("heading", name="eve")).to_be_visible()
            eve.get_by_label("Old").fill(first)
            eve.get_by_label("New").fill("a tide that nobody knows")
            eve.get_by_role("button", name="Change it").click()
            expect(eve.locator("#told")).to_have_text("Your password is changed.")
            eve.get_by_label("Colours").select_option("dark")
            eve.get_by_role("button", name="Save").click()
            expect(eve.locator("html")).to_have_attribute("data-theme", "dark")
            admin.locator("#change").get_by_label("lead").check()
            admin.get_by_role("button", name="Save").click()
            expect(admin.locator("#problem")).to_contain_text("It is shown as it is now.")  # she has changed it, too
            admin.locator("#change").get_by_label("lead").check()
            admin.get_by_role("button", name="Save").click()
            expect(admin.locator("#users")).to_contain_text("lead, moderator")
            eve.get_by_role("button", name="Sign out everywhere else").click()
            expect(eve).to_have_title("Sign in · Tidegate")  # other roles: their session is over
        admin.get_by_role("button", name="Disable").click()
        admin.get_by_label("Name", exact=True).last.fill("eve")
        admin.get_by_role("button", name="Go on").click()
        expect(admin.locator("#users")).to_contain_text("disabled")
        admin.get_by_role("button", name="admin", exact=True).click()
        expect(admin.locator("#one-title")).to_have_text("admin")
        admin.locator("#change").get_by_label("admin").uncheck()
        admin.get_by_role("button", name="Save").click()
        expect(admin.locator("#problem")).to_contain_text("admin")
        admin.goto("/audit-log?action=manage_users")
        expect(admin.locator("#entries")).to_contain_text("eve")


def test_a_persons_data_is_deleted_and_the_receipt_shown(browser: Browser, platform: Platform) -> None:
    platform.put(make_task("theirs-1", uploader_id="u-17"), make_task("others-1", uploader_id="u-18"))
    with platform.page(browser, "admin", "/system") as page:
        page.get_by_label("Id", exact=True).fill("u-17")
        page.get_by_label("Id again").fill("u-71")
        page.get_by_role("button", name="Delete").click()
        expect(page.locator("#problem")).to_have_text("The two ids differ: nothing was deleted.")
        page.get_by_label("Id again").fill("u-17")
        page.get_by_role("button", name="Delete").click()
        expect(page.locator("#receipt-text")).to_contain_text('"tasks": 1')
        expect(page.locator("#receipt-text")).not_to_contain_text("u-17")
    with pytest.raises(NotWaitingError):
        platform.queue(lambda queue: queue.find("theirs-1"))
    platform.queue(lambda queue: queue.find("others-1"))


@pytest.mark.parametrize(("theme", "width", "height"), [("light", 1280, 720), ("dark", 820, 1180)])
@pytest.mark.parametrize("path", ["/users", "/audit-log", "/system", "/me"])
def test_everybody_can_use_them(
    browser: Browser, platform: Platform, path: str, theme: str, width: int, height: int
) -> None:
    with platform.page(browser, "admin", path, width=width, height=height) as page:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
        expect(page.locator("main table, main .figures li").first).to_be_visible()
        found = Axe().run(page)
        assert not found.response["violations"], found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
