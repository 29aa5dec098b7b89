"""`tidegate bench console`: how long a moderator waits for the next image, and an analyst for an answer."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from unittest.mock import patch

import httpx
import numpy as np
import typer
from PIL import Image

from calibration.settings import KafkaSettings
from calibration.whatif.answer import what_if as answered
from calibration.whatif.terrain import Terrain
from deploy.bench.queue_load import tasks
from deploy.bench.what_if import drawn_question, surveyed
from deploy.browser import NoBrowserError, chromium
from deploy.local import EmbeddedBroker, EmbeddedServerError, EmbeddedValkey, free_port
from deploy.people import add_account
from review.access.account import Preferences
from review.access.roles import Role
from review.analysis.desk import Desk
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import KeyReference, ReviewTask
from worker.stream.topics import ensure_topics

if TYPE_CHECKING:
    import uvicorn
    from playwright.sync_api import Browser, Page

_PHOTO = (1600, 1200)
_DIFFERENT = 24
"""Photos that the tasks show in turn; a page has none of them twice, since each task has its own address."""
_PASSWORD = "of this measurement only"  # noqa: S105
_WATCH = """
window.took = [];
let since = null;
addEventListener("keydown", () => (since = performance.now()), true);
addEventListener("DOMContentLoaded", () => {
  const image = document.getElementById("image");
  if (!image) return;
  new MutationObserver(async () => {
    const begun = since;
    if (begun === null || !image.getAttribute("src")) return;
    since = null;
    await image.decode();
    requestAnimationFrame(() => requestAnimationFrame(() => window.took.push(performance.now() - begun)));
  }).observe(image, { attributeFilter: ["src"] });
});
"""


def console(
    verdicts: Annotated[int, typer.Option(min=20, help="given in the browser, one key each")] = 200,
    look_s: Annotated[float, typer.Option(min=0.05, help="how long each image is looked at")] = 0.5,
    rows: Annotated[int, typer.Option(min=2000, help="readings in the survey of what-ifs")] = 10_000_000,
    questions: Annotated[int, typer.Option(min=20, help="what-ifs, drawn at random, each asked once")] = 60,
) -> None:
    """The console in a real browser, on a broker and Valkey of its own, with photos of 1600 x 1200 pixels.

    next_image_p50_ms, next_image_p95_ms: from the key that gives a verdict until the next photo is drawn: decoded, and
    a frame painted after it. unloaded_*: the same where nothing is loaded ahead, which is the yardstick;
    ratio_ahead is its median over ours. what_if_p50_ms, what_if_p95_ms: of POST /api/v1/analysis/what-if with a dozen
    examples each way, seen by a client on this machine; direct_p50_ms is the same question asked of the survey without
    a server, and ratio_what_if the first median over it.
    """
    try:
        result = _Bench(verdicts, look_s).measured(rows, questions)
    except (EmbeddedServerError, NoBrowserError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(result))


class _Bench:
    def __init__(self, verdicts: int, look_s: float) -> None:
        self._verdicts = verdicts
        self._look_s = look_s

    def measured(self, rows: int, questions: int) -> dict[str, Any]:
        with (
            tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name,
            EmbeddedBroker(Path(name)) as broker,
            EmbeddedValkey(Path(name)) as valkey,
        ):
            kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, security_protocol="PLAINTEXT")
            ensure_topics(kafka)
            photos = _photos(Path(name) / "photos")
            asyncio.run(_fill(kafka, ValkeySettings(url=valkey.url), 2 * self._verdicts + 20))
            self._environment = {
                "TIDEGATE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
                "TIDEGATE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
                "TIDEGATE_VALKEY_URL": valkey.url,
                "TIDEGATE_INTAKE_OBJECT_STORE": photos.as_uri(),
                "TIDEGATE_ACCESS_SECURE_COOKIES": "false",
                "TIDEGATE_CONSOLE_CHECK_QUEUE_EVERY_S": "0",
                "TIDEGATE_LEDGER_PATH": str(Path(name) / "ledger"),
            }
            with chromium() as browser:
                ahead = self._verdicts_given(browser, 3)
                unloaded = self._verdicts_given(browser, 1)
            asked = self._questions_asked(rows, questions)
        return {
            "bench": "console",
            "verdicts": len(ahead),
            "look_s": self._look_s,
            "next_image_p50_ms": _quantile(ahead, 0.5),
            "next_image_p95_ms": _quantile(ahead, 0.95),
            "unloaded_p50_ms": _quantile(unloaded, 0.5),
            "unloaded_p95_ms": _quantile(unloaded, 0.95),
            "ratio_ahead": round(float(np.median(unloaded) / np.median(ahead)), 2),
            **asked,
        }

    def _verdicts_given(self, browser: Browser, ahead: int) -> list[float]:
        """Milliseconds from each key to the next image."""
        with self._serving(TIDEGATE_CONSOLE_AHEAD=str(ahead)) as address:
            context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 720})
            page = context.new_page()
            page.add_init_script(_WATCH)
            page.goto("/login")
            page.get_by_label("Name").fill("moderator")
            page.get_by_label("Password").fill(_PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/review")
            _shown(page)
            for number in range(self._verdicts):
                page.wait_for_timeout(1e3 * self._look_s)
                page.keyboard.press("1")
                _until(lambda: page.evaluate("took.length") > number)  # noqa: B023 - called at once
            took: list[float] = page.evaluate("took")
            context.close()
        return took

    def _questions_asked(self, rows: int, questions: int) -> dict[str, Any]:
        """What-ifs through HTTP, and without it."""
        rng = np.random.default_rng(0)
        terrain = surveyed(rng, rows, 2_000).terrain

        class AtHand(Desk):
            async def terrain(self, taxonomy: str) -> Terrain:
                return terrain

        over_http, direct = [], []
        with self._serving(AtHand) as address, httpx.Client(base_url=address, timeout=60.0) as client:
            signed_in = client.post("/api/v1/sessions", json={"name": "moderator", "password": _PASSWORD})
            client.headers["x-csrf-token"] = signed_in.raise_for_status().json()["csrf_token"]
            for _ in range(questions):
                question = drawn_question(rng)
                wanted = {"taxonomy": "bench", "question": question.model_dump(mode="json"), "examples": 12}
                before = time.perf_counter()
                client.post("/api/v1/analysis/what-if", json=wanted).raise_for_status()
                over_http.append(1e3 * (time.perf_counter() - before))
                other = drawn_question(rng)  # the first one's certificate is known by now
                before = time.perf_counter()
                answered(terrain, other, examples=12)
                direct.append(1e3 * (time.perf_counter() - before))
        return {
            "rows": rows,
            "questions": questions,
            "what_if_p50_ms": _quantile(over_http, 0.5),
            "what_if_p95_ms": _quantile(over_http, 0.95),
            "direct_p50_ms": _quantile(direct, 0.5),
            "ratio_what_if": round(float(np.median(over_http) / np.median(direct)), 2),
        }

    @contextmanager
    def _serving(self, desk_kind: type[Desk] = Desk, **further: str) -> Iterator[str]:
        """The console in a thread of this process; yields its address."""
        from deploy.console import serve  # noqa: PLC0415 - the web framework is an extra

        port, servers = free_port(), list["uvicorn.Server"]()
        settings = self._environment | {"TIDEGATE_CONSOLE_PORT": str(port)} | further
        thread = threading.Thread(target=lambda: asyncio.run(serve(servers.append, desk_kind)), name="console")
        with patch.dict(os.environ, settings):
            thread.start()
            _until(lambda: bool(servers and servers[0].started) or not thread.is_alive())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            for server in servers:
                server.should_exit = True
            thread.join()


async def _fill(kafka: KafkaSettings, valkey: ValkeySettings, count: int) -> None:
    """Somebody who may do everything, and tasks for them."""
    await add_account(kafka, "moderator", _PASSWORD, frozenset(Role), Preferences(submit_at_once=True))
    queue = ReviewQueue(valkey, ReviewSettings())
    try:
        for number, task in zip(range(count), tasks(), strict=False):
            await queue.put(_with_photo(task, number))
    finally:
        await queue.close()


def _with_photo(task: ReviewTask, number: int) -> ReviewTask:
    photo = KeyReference(key=f"{number % _DIFFERENT}.jpg")
    return task.model_copy(update={"image": photo, "blind": False})


def _photos(folder: Path) -> Path:
    """Noise under a gradient: about half a megabyte each, as photos are."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    width, height = _PHOTO
    slope = np.linspace(0, 160, width)[None, :, None]
    for number in range(_DIFFERENT):
        pixels = slope + rng.normal(40.0, 12.0, (height, width, 3)) + 2 * number
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=85)
    return folder


def _shown(page: Page) -> None:
    _until(lambda: bool(page.evaluate("document.getElementById('image').naturalWidth > 0")))


def _until(condition: Any, deadline_s: float = 60.0) -> None:
    until = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the console does not go on")
        time.sleep(0.01)


def _quantile(times: list[float], share: float) -> float:
    return round(float(np.quantile(times, share)), 1)
