"""What `tidegate up` starts for people, beside the worker: the console with an account, the ledger and the loop."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.util import find_spec

from calibration.settings import KafkaSettings
from deploy.local import free_port, is_free
from deploy.rig import Rig, embedded_settings, start_command
from review.access.account import Account, Preferences
from review.access.accounts import AccountBook, new_generation
from review.access.passwords import Passwords
from review.access.roles import Role
from review.access.settings import AccessSettings
from review.durable import DurableWriter
from review.settings import ConsoleSettings

_NAME = "you"
_STOP_S = 15.0


@asynccontextmanager
async def people(system: Rig, settings: Mapping[str, str]) -> AsyncIterator[tuple[tuple[str, str], ...]]:
    """Start them, and yield what to tell whoever sits there, by name.

    Args:
        settings: TIDEGATE_* variables that the worker was given, beside those that name the servers.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        yield (("console", "pip install 'tidegate[console]' for the pages"),)
        return
    usual = ConsoleSettings().port
    port = usual if is_free(usual) else free_port()
    environment = (
        embedded_settings(system.broker.bootstrap, system.valkey.url)
        | {
            "TIDEGATE_CONSOLE_PORT": str(port),
            "TIDEGATE_ACCESS_SECURE_COOKIES": "false",  # http, on this machine only
            "TIDEGATE_LEDGER_PATH": str(system.folder / "ledger"),
        }
        | dict(settings)
    )
    password = secrets.token_urlsafe(9)
    await add_account(system.kafka, _NAME, password, frozenset(Role))  # on one's own machine one is all of them
    running = [
        await start_command(list(command), environment, system.folder / f"{command[0]}.log")
        for command in (("console",), ("calibrate", "run"))
    ]
    try:
        yield (
            ("console", f"http://127.0.0.1:{port} (name: {_NAME}, password: {password})"),
            ("logs", ", ".join(str(system.folder / f"{name}.log") for name in ("console", "calibrate"))),
        )
    finally:
        for process in running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()


async def add_account(
    kafka: KafkaSettings, name: str, password: str, roles: frozenset[Role], preferences: Preferences | None = None
) -> None:
    """An account on an installation that nobody else administers meanwhile.

    Raises:
        AccessError: it cannot be read whether there is one, or it cannot be added.
    """
    passwords, writer = Passwords(AccessSettings()), DurableWriter(kafka)
    book = AccountBook(kafka, writer)
    now = datetime.now(UTC)
    try:
        await book.start()
        await book.add(
            Account(
                name=name,
                roles=roles,
                password_hash=await passwords.hash(name, password),
                preferences=preferences or Preferences(),
                generation=new_generation(),
                created_at=now,
                changed_at=now,
                changed_by="tidegate",
            )
        )
    finally:
        await book.close()
        passwords.close()
        writer.close()
