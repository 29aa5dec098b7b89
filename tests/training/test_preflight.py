"""What would waste hours is said before they are spent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import psutil
import pytest

import deploy
from tests.training.conftest import CHECKPOINT, small
from training.config import ConfigError, RunConfig, load_config
from training.preflight import Processes, memory_needed, problems


def pretrained(folder: Path, **changes: object) -> RunConfig:
    return small(model={"kind": "pretrained", "name": str(folder)}, **changes)


def test_nothing_stands_in_the_way_of_the_tiny_model() -> None:
    assert problems(load_config("tiny")) == []


def test_a_checkpoint_of_the_right_kind_is_taken() -> None:
    assert problems(pretrained(CHECKPOINT)) == []


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (found,) = problems(pretrained(tmp_path))
    assert "is a llama; this code trains qwen2_5_vl and qwen3_vl" in found


def test_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (found,) = problems(pretrained(tmp_path / "none"))
    assert "cannot be read" in found


def test_a_model_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", type("Memory", (), {"available": 1_000_000}))
    (found,) = problems(pretrained(CHECKPOINT))
    assert "are free: shard over more GPUs" in found
    assert "or set tuning.method to lora" in found


@pytest.mark.parametrize(("name", "fits"), [("fsdp", True), ("ddp", False)])
def test_memory_is_judged_for_the_processes_that_will_train(
    monkeypatch: pytest.MonkeyPatch, name: str, fits: bool
) -> None:
    """A model that one process cannot hold fits when eight share it, and not when each has a copy."""
    monkeypatch.setattr(psutil, "virtual_memory", type("Memory", (), {"available": 8_000_000}))
    assert problems(pretrained(CHECKPOINT)) != []
    processes = Processes.of(Path(deploy.__file__).parent / "accelerate" / f"{name}.yaml")
    assert (problems(pretrained(CHECKPOINT), processes=processes) == []) == fits


def test_a_file_that_is_no_accelerate_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "accelerate.yaml").write_text("num_processes: many\n")
    with pytest.raises(ConfigError, match="no accelerate configuration that can be read"):
        Processes.of(tmp_path / "accelerate.yaml")


def test_seven_billion_parameters_need_what_they_need() -> None:
    """Float32 weights, gradients and both moments, and a reference: 20 bytes each."""
    assert memory_needed(8_290_000_000, load_config("emocaliber")) == pytest.approx(166e9, rel=0.01)
    assert memory_needed(8_290_000_000, load_config("emocaliber-lora")) == pytest.approx(17e9, rel=0.05)


@pytest.mark.parametrize(
    ("library", "version", "message"),
    [
        ("transformers", "5.3.1", "fails on batches of questions without padding"),
        ("transformers", "4.57.0", "mm_token_type_ids"),
        ("trl", "1.15.0", "one advantage for each token"),
    ],
)
def test_libraries_known_to_corrupt_questions_are_refused(library: str, version: str, message: str) -> None:
    good = {"transformers": "5.19.0", "trl": "1.16.0"}
    assert problems(load_config("tiny"), good) == []
    (found,) = problems(load_config("tiny"), good | {library: version})
    assert f"{library} {version} must not be used" in found
    assert message in found


def test_a_rollout_server_needs_a_vllm_that_trl_knows() -> None:
    served = small(calibration={"rollouts": {"kind": "vllm_server"}})
    versions = {"transformers": "5.19.0", "trl": "1.16.0", "vllm": "0.32.0"}
    (found,) = problems(served, versions)
    assert "vllm 0.32.0 cannot take weights from TRL 1.16.0" in found
    assert problems(served, versions | {"vllm": "0.31.0"}) == []


def test_the_tiny_model_learns_scenes_only(tmp_path: Path) -> None:
    found = problems(load_config("tiny", tmp_path))
    assert "knows the words of drawn scenes only" in found[0]


def test_data_that_is_none_is_refused(tmp_path: Path) -> None:
    (found,) = problems(pretrained(CHECKPOINT, data={"kind": "prepared", "folder": str(tmp_path)}))
    assert "is no prepared folder" in found


def test_a_processor_without_torchvision_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert any("torchvision is missing" in found for found in problems(load_config("tiny")))


def test_a_folder_without_weights_is_seen_early(tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    (found,) = problems(pretrained(tmp_path / "model"))
    assert "has no weights" in found
