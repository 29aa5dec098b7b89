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
