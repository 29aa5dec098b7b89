"""Configurations: the published recipe as the default, and errors that name the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from training.config import SHIPPED, ConfigError, load_config

NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_ones_can_be_read(name: str) -> None:
    assert load_config(name).name.startswith(name.split("-", maxsplit=1)[0])


def test_the_published_hyper_parameters_are_the_default() -> None:
    """arXiv 2512.15528."""
    config = load_config("emocaliber")
    stages = config.reasoning, config.confidence, config.calibration
    assert [stage.learning_rate for stage in stages] == [1e-5, 4e-6, 1e-6]
    assert [stage.batch for stage in stages] == [128, 128, 64]
    assert [stage.epochs for stage in stages] == [1, 1, 1]
    assert [stage.warm_up for stage in stages[:2]] == [0.05, 0.05]
    assert (config.pixels.min, config.pixels.max) == (256 * 28 * 28, 576 * 28 * 28)
    assert config.tuning.method == "full"
    assert config.precision == "bfloat16"
    assert config.gradient_checkpointing
    grpo = config.calibration
    assert (grpo.answers, grpo.mini_batch, grpo.beta, grpo.entropy) == (8, 32, 0.01, 0.0)
    assert grpo.objective.objective == "decoupled"


def broken(tmp_path: Path, **changes: Any) -> Path:
    given = yaml.safe_load((SHIPPED / "tiny.yaml").read_text())
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            given[section][key] = value
        else:
            given[section] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reasoning__learning_rat": 1}, r"reasoning.learning_rat: Extra inputs"),
        ({"reasoning__batch": 0}, r"reasoning.batch: Input should be greater than 0"),
        ({"calibration__objective": {"objective": "bryer"}}, r"calibration.objective: .*'decoupled'"),
        ({"calibration__mini_batch": 5}, r"must be a multiple of mini_batch 5"),
        ({"calibration__objective": {"objective": "brier"}}, r"brier has one reward for all tokens"),
        ({"calibration__objective": {"objective": "log_clipped", "weight": 1.0}}, r"pays for answers"),
        ({"model": {"kind": "huge"}}, r"model: .*'tiny', 'pretrained'"),
        ({"confidence__answers": 1}, r"confidence.answers: Input should be greater than or equal to 2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = broken(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message) as refused:
        load_config(str(path))
    assert str(path) in str(refused.value)


def test_a_name_that_is_none_is_answered_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"emocalibr is neither a file nor one of .*tiny; did you mean emocaliber\?"):
        load_config("emocalibr")


def test_no_yaml_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{")
    with pytest.raises(ConfigError, match="no YAML file"):
        load_config(str(path))


def test_data_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    config = load_config("emocaliber", tmp_path)
    assert config.data.kind == "prepared"
    assert config.data.folder == tmp_path.resolve()
