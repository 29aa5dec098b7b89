"""The console as `tidegate console` serves it, on a real broker and Valkey, with people and images to judge."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import pytest
import uvicorn
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page

from calibration.settings import KafkaSettings
from deploy.local import die_with_parent, free_port
from review.access.account import Account
from review.access.accounts import AccountBook, new_generation
from review.access.passwords import Passwords
from review.access.roles import Role
from review.access.settings import AccessSettings
from review.durable import DurableWriter
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import ReviewTask
from tests.review.console.browser import clean_page

_Answer = TypeVar("_Answer")

PASSWORD = "tide comes in twice"
QUICK = {
    "TIDEGATE_ACCESS_SECURE_COOKIES": "false",
    "TIDEGATE_ACCESS_PASSWORD_TIME_COST": "1",
    "TIDEGATE_ACCESS_PASSWORD_MEMORY_KIB": "8",
    "TIDEGATE_ACCESS_PASSWORD_LANES": "1",
    "TIDEGATE_ACCESS_LOGIN_LIMITS": "1000/minute",
    "TIDEGATE_ACCESS_ADDRESS_LIMITS": "1000/minute",
    "TIDEGATE_ACCESS_API_LIMITS": "100000/minute",
    "TIDEGATE_CONSOLE_CHECK_QUEUE_EVERY_S": "0",
    "TIDEGATE_INTAKE_DECODE_PROCESSES": "1",
}


class Platform:
    """Everything around the console: topics, Valkey, images, people. What it does, it does from the test's thread."""

    def __init__(self, kafka: KafkaSettings, valkey: ValkeySettings, folder: Path) -> None:
        self.kafka, self.valkey, self.images = kafka, valkey, folder / "images"
        self.images.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = QUICK | {
            "TIDEGATE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "TIDEGATE_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
            "TIDEGATE_VALKEY_URL": valkey.url,
            "TIDEGATE_VALKEY_KEY_PREFIX": valkey.key_prefix,
            "TIDEGATE_LEDGER_PATH": str(folder / "ledger"),
            "TIDEGATE_INTAKE_OBJECT_STORE": f"file://{self.images}",
            "TIDEGATE_CONSOLE_PORT": str(self.port),
        }

    def add(self, name: str, *roles: Role) -> None:
        """Somebody who may come in with `PASSWORD`."""
        settings = AccessSettings(password_time_cost=1, password_memory_kib=8, password_lanes=1)

        async def adding() -> None:
            writer, passwords = DurableWriter(self.kafka, 10.0), Passwords(settings)
            book = AccountBook(self.kafka, writer)
            await book.start()
            now = datetime.now(UTC)
            await book.add(
                Account(
                    name=name,
                    roles=frozenset(roles),
                    password_hash=await passwords.hash(name, PASSWORD),
                    generation=new_generation(),
                    created_at=now,
                    changed_at=now,
                    changed_by="the test",
                )
            )
            await book.close()
            passwords.close()
            writer.close()

        run(adding())

    def queue(self, work: Callable[[ReviewQueue], Awaitable[_Answer]]) -> _Answer:
        """Do something with the queue."""

        async def doing() -> _Answer:
            queue = ReviewQueue(self.valkey, ReviewSettings())
            try:
                return await work(queue)
            finally:
                await queue.close()

        return run(doing())

    def put(self, *tasks: ReviewTask) -> None:
        """Have them wait for review, each with an image of its own."""
        for number, task in enumerate(tasks):
            self.draw(task.event_id, number)

        async def putting(queue: ReviewQueue) -> None:
            for task in tasks:
                await queue.put(task)

        self.queue(putting)

    def draw(self, event_id: str, number: int = 0) -> None:
        """Its image, at the key that `make_task` gives it."""
        place = self.images / "photos" / f"{event_id}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (640, 420), ((37 * number) % 200, 90, 140))
        ImageDraw.Draw(image).text((40, 180), event_id, fill="white", font_size=60)
        image.save(place)

    @contextmanager
    def client(self, name: str) -> Iterator[httpx.Client]:
        """A program that has signed in as somebody; it sends what unsafe requests need."""
        with httpx.Client(base_url=self.url, timeout=20.0) as client:
            answer = client.post("/api/v1/sessions", json={"name": name, "password": PASSWORD})
            assert answer.status_code == 201, answer.text
            client.headers["x-csrf-token"] = answer.json()["csrf_token"]
            yield client

    @contextmanager
    def page(
        self, browser: Browser, name: str, path: str = "/", at: str | None = None, **options: object
    ) -> Iterator[Page]:
        """A page of somebody who has signed in; `at`: of another console of the same platform."""
        url = at or self.url
        with self.client(name) as client:
            cookies = [{"name": each.name, "value": each.value or "", "url": url} for each in client.cookies.jar]
        with clean_page(browser, url, **options) as page:  # type: ignore[arg-type]  # of clean_page
            page.context.add_cookies(cookies)  # type: ignore[arg-type]  # as Playwright has them
            page.goto(path)
            yield page


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Settings as the shell would give them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@contextmanager
def serving(platform: Platform, **further: str) -> Iterator[None]:
    """The console in a thread of this process."""
    from deploy.console import serve  # not before the clients' own warnings are filtered

    servers: list[uvicorn.Server] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve(servers.append)), name="console")
    with environment(platform.environment | further):
        thread.start()
        try:
            answers(platform.url)
            yield
        finally:
            for server in servers:
                server.should_exit = True
            thread.join(20)
    assert not thread.is_alive(), "the console does not stop"


def answers(url: str, deadline_s: float = 30.0) -> None:
    """Wait until the console answers."""
    until = time.monotonic() + deadline_s
    with httpx.Client(base_url=url) as client:
        while True:
            try:
                client.get("/healthz").raise_for_status()
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return


def run(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """In a thread with an event loop of its own: the test's thread has Playwright's."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class ConsoleProcess:
    """`tidegate console` as a process of its own, beside the one in this process."""

    def __init__(self, platform: Platform) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, **platform.environment, "TIDEGATE_CONSOLE_PORT": str(self.port)}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = die_with_parent([sys.executable, "-m", "deploy.cli", "console"])
        self._process = subprocess.Popen(command, env=self._environment)
        answers(self.url)

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
