"""A process of the engine ends with the worker that it belongs to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from worker.engine.lifeline import OWNER

BELONGING = "import worker.engine.lifeline, time; print('here', flush=True); time.sleep(60)"


def belonging_to(owner: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BELONGING], env=os.environ | {OWNER: str(owner)}, stdout=subprocess.PIPE, text=True
    )


def test_it_ends_when_its_owner_is_killed() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as owner,
        belonging_to(owner.pid) as it,
    ):
        assert it.stdout is not None
        assert it.stdout.readline() == "here\n"
        assert it.poll() is None
        owner.kill()
        assert it.wait(10) == -signal.SIGTERM


def test_it_ends_at_once_when_its_owner_is_already_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as owner:
        owner.wait(10)
    with belonging_to(owner.pid) as it:
        assert it.wait(10) == -signal.SIGTERM
