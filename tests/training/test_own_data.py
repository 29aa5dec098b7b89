"""From somebody's own files to a checkpoint that serves: prepare, all three stages, hand-over."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from typer.testing import CliRunner

from tests.training.conftest import CHECKPOINT, small
from training.cli import app
from training.dialogue import answer_text
from training.scenes import LABELS, encode, scene
from worker.engine.weights import folder_version

SCENES = 48


def record(folder: Path, number: int) -> str:
    """One line of VEC-CoT, and its image."""
    drawn = scene(41, number)
    (folder / f"{number}.png").write_bytes(encode(drawn.image, "PNG"))
    said = answer_text(drawn.cues.reasoning(), LABELS[drawn.label])
    turns = [
        {"role": "user", "content": "<image>Which emotion might this image evoke?"},
        {"role": "assistant", "content": said},
    ]
    return json.dumps({"messages": turns, "images": [f"{number}.png"]})


def test_own_images_become_a_checkpoint(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    lines = [record(photos, number) for number in range(SCENES)]
    (photos / "7.png").unlink()
    (photos / "8.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (tmp_path / "cot.jsonl").write_text("\n".join([*lines, '{"messages": [']) + "\n")
    run = CliRunner().invoke

    prepared = run(app, ["prepare", "--out", str(tmp_path / "data"), "--vec-cot", str(tmp_path / "cot.jsonl"),
                         "--images", str(photos), "--taxonomy", "scenes"])  # fmt: skip
    assert prepared.exit_code == 0, prepared.output
    said = json.loads(prepared.stdout)
    assert said["kept"] == SCENES - 2
    assert sum(said["dropped"].values()) == 3

    config = small(
        name="own",
        model={"kind": "pretrained", "name": str(CHECKPOINT)},
        data={"kind": "prepared", "folder": "elsewhere"},
        reasoning={"batch": 4, "per_device": 4},
        confidence={"batch": 2, "per_device": 2},
        calibration={"batch": 2, "mini_batch": 1, "per_device": 4},
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    trained = run(app, ["all", str(tmp_path / "run"), "--config", str(tmp_path / "config.yaml"),
                        "--data", str(tmp_path / "data")])  # fmt: skip
    assert trained.exit_code == 0, trained.output
    version = json.loads(trained.stdout.splitlines()[-1])["model_version"]
    assert version.startswith("own-")
    assert folder_version(tmp_path / "run" / "model") == version
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert json.loads((tmp_path / "data" / "report.json").read_text())["fingerprint"][:16] in card
    assert "scenes" in card
