"""`tidegate bench gate` prints what it promises, on a small table."""

import json

import typer
from typer.testing import CliRunner

from deploy.bench.gate import gate

app = typer.Typer()
app.command()(gate)


def test_one_line_with_every_number() -> None:
    run = CliRunner().invoke(app, ["--rows", "2000", "--rounds", "1"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert (result["bench"], result["rows"], result["labels"]) == ("gate", 2000, 20)
    assert 0.1 < result["passing"] < 0.9
    assert min(result[name] for name in ("route_us", "table_s", "predict_proba_s", "ratio_predict_proba")) > 0
