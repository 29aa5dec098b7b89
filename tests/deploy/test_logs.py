"""What reaches the log when something fails."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import structlog
from deploy.logs import configure_logs

configure_logs("json")
audit_key = "a secret"
try:
    raise LookupError("no such thing")
except LookupError:
    structlog.get_logger().exception("failed")
"""


def test_a_traceback_in_json_tells_where_but_no_values() -> None:
    """Variables hold secrets and whole images."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], stderr=subprocess.PIPE, text=True, check=True)
    (failure,) = json.loads(done.stderr)["exception"]
    assert (failure["exc_type"], failure["exc_value"]) == ("LookupError", "no such thing")
    assert failure["frames"][0]["lineno"] == 8
    assert "a secret" not in done.stderr


_CHATTER = """
import logging
from deploy.logs import configure_logs

configure_logs("json")
for name in ("kafka.net.manager", "other"):
    for pause in (0.1, 2.5):
        logging.getLogger(name).error("Connection to node %d failed (backoff %0.2f secs)", 1, pause)
    logging.getLogger(name).error("something else")
"""


def test_what_the_kafka_client_repeats_at_every_try_is_written_once() -> None:
    done = subprocess.run([sys.executable, "-c", _CHATTER], stderr=subprocess.PIPE, text=True, check=True)
    loggers = [json.loads(line)["logger"] for line in done.stderr.splitlines()]
    assert loggers == ["kafka.net.manager"] * 2 + ["other"] * 3
