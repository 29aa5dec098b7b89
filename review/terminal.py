"""What every command of the review room does alike: settings, one thing with the queue, errors as sentences."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer
from pydantic import ValidationError
from pydantic_core import to_json
from pydantic_settings import BaseSettings

from review.lease import QueueError
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.verdicts import UnknownLabelError, VerdictError

_Answer = TypeVar("_Answer")
_Settings = TypeVar("_Settings", bound=BaseSettings)


def user_name(reviewer: str | None) -> str:
    """Who acts: as given, or the user that runs the command."""
    try:
        name = reviewer or getpass.getuser()
    except (KeyError, OSError) as error:  # a container whose user has no name
        raise typer.BadParameter("your user has no name here: say who you are", param_hint="--reviewer") from error
    if not name.isprintable() or len(name) > 128:
        raise typer.BadParameter("a name has at most 128 printable characters", param_hint="--reviewer")
    return name


def settings_of(kind: type[_Settings]) -> _Settings:
    """Settings from the environment; what is wrong with them is said with exit code 2."""
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config["env_prefix"].upper()
        wrong = [f"{prefix}{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors()]
        raise failure("\n".join([*wrong, "`tidegate doctor` lists all settings with their meanings."]), 2) from error


def with_queue(work: Callable[[ReviewQueue], Awaitable[_Answer]]) -> _Answer:
    """Do one thing with the queue, and turn what goes wrong into a sentence and an exit code."""

    async def session() -> _Answer:
        try:
            queue = ReviewQueue(settings_of(ValkeySettings), settings_of(ReviewSettings))
        except ValueError as error:
            raise failure(str(error), 2) from error
        try:
            return await work(queue)
        finally:
            await queue.close()

    try:
        return asyncio.run(session())
    except UnknownLabelError as error:
        raise failure(str(error), 2) from error
    except (QueueError, VerdictError) as error:
        raise failure(str(error), 1) from error


def failure(sentence: str, code: int) -> typer.Exit:
    """Say why, and what to raise for that exit code."""
    typer.echo(sentence, err=True)
    return typer.Exit(code)


def print_json(document: object) -> None:
    """One line for scripts."""
    typer.echo(to_json(document).decode())
