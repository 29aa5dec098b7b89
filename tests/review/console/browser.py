"""Pages as a person has them, errors of theirs included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Page


@contextmanager
def clean_page(
    browser: Browser, base_url: str, *, width: int = 1280, height: int = 720, expected: str = ""
) -> Iterator[Page]:
    """A page of a context of its own. What goes wrong in it fails the test: exceptions, refusals by the content
    security policy, errors on the console unless they match `expected`."""
    context = browser.new_context(base_url=base_url, viewport={"width": width, "height": height})
    context.set_default_timeout(10_000)
    page = context.new_page()
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not (expected and re.search(expected, message.text)):
            wrong.append(f"{message.text} ({message.location['url']})")

    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert not wrong, wrong
