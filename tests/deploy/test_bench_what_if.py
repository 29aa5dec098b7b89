"""`tidegate bench what-if` prints what it promises, on a small survey."""

import json

import typer
from typer.testing import CliRunner

from deploy.bench.what_if import what_if

app = typer.Typer()
app.command()(what_if)


def test_one_line_with_every_number() -> None:
    run = CliRunner().invoke(app, ["--rows", "3000", "--labels", "300", "--questions", "50", "--scans", "50"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert (result["bench"], result["rows"], result["questions"]) == ("what-if", 3000, 50)
    assert result["coverage_error"] == 0.0
    assert result["passing_share"] > 0.1
    times = ("p50_ms", "p95_ms", "max_ms", "certificate_p50_ms", "counting_p50_ms", "scan_p50_ms", "prepare_s")
    assert min(result[name] for name in (*times, "ratio_scan", "ratio_whole", "terrain_mb", "peak_mb")) > 0
    assert 0 < result["cpu_p95_ms"] <= result["cpu_max_ms"]
    assert result["p50_ms"] <= result["p95_ms"] <= result["max_ms"]
