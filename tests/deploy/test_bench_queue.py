"""`tidegate bench queue` prints what it promises, on a short queue, with both yardsticks where they are installed."""

import json

import typer
from typer.testing import CliRunner

from deploy.bench.postgres import postgres_binaries
from deploy.bench.queue import queue

app = typer.Typer()
app.command()(queue)


def test_one_line_with_every_number() -> None:
    run = CliRunner().invoke(app, ["--waiting", "600", "--moderators", "20", "--seconds", "1"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert (result["bench"], result["waiting"], result["moderators"], result["offered_per_s"]) == ("queue", 600, 20, 10)
    names = ("claims_per_s", "verdicts_per_s", "p50_ms", "p99_ms", "p99_ms_10k", "complete_p99_ms", "bytes_per_item")
    assert min(result[name] for name in names) > 0
    assert result["p50_ms"] <= result["p99_ms"]
    assert result["arq"]["jobs_per_s"] > 0
    assert result["ratio_arq"] > 0
    assert (result["postgres"] is None) is (postgres_binaries() is None)
