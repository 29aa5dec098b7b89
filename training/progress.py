"""A bar for whoever waits, or a line now and then where there is no terminal to draw it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINES = 20
"""Of a whole task, without a terminal."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on standard error; what it yields takes how much is done and a word on how it goes."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        told = 0

        def report(done: int, word: str) -> None:
            nonlocal told
            bar.update(task, completed=done, description=f"{title} {word}")
            if not console.is_terminal and (done * _LINES // max(total, 1) > told or done == total):
                told = done * _LINES // max(total, 1)
                console.print(f"{title}: {done} of {total} {word}", highlight=False, soft_wrap=True)

        yield report
