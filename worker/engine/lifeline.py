"""Ends the engine's own processes when the worker is gone, even killed: nothing may keep holding the device.

The engine imports this file into its processes, because `Lifeline` is named to it as an extension of its workers.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time

OWNER = "TIDEGATE_ENGINE_OWNER"
"""The environment variable that holds the process id of the worker."""
_GRACE_S = 5.0


class Lifeline:
    """Adds nothing to the engine's worker: loading it is what counts."""


def _end_with(owner: int) -> None:
    try:
        alive = os.pidfd_open(owner)
    except ProcessLookupError:
        pass
    else:
        select.select([alive], [], [])  # readable once that process has ended
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


if (_owner := os.environ.get(OWNER)) and int(_owner) != os.getpid():
    threading.Thread(target=_end_with, args=(int(_owner),), name="lifeline", daemon=True).start()
