"""`tidegate bench console` on a small scale: a real browser, a real server."""

import json

from typer.testing import CliRunner

from deploy.cli import app


def test_it_prints_one_line_with_its_yardsticks() -> None:
    few = ["--verdicts", "20", "--look-s", "0.05", "--rows", "2000", "--questions", "20"]
    run = CliRunner().invoke(app, ["--log-level", "error", "bench", "console", *few])
    assert run.exit_code == 0, run.output
    figures = json.loads(run.stdout.splitlines()[-1])
    assert (figures["bench"], figures["verdicts"], figures["questions"]) == ("console", 20, 20)
    assert 0 < figures["next_image_p50_ms"] <= figures["next_image_p95_ms"]
    assert figures["ratio_ahead"] > 0
    assert figures["ratio_what_if"] > 0
