"""`tidegate up` as a person runs it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def scripted(tmp_path: Path) -> dict[str, str]:
    """An environment in which the worker's engine is a script."""
    script = tmp_path / "script.yaml"
    script.write_text("card: {images_per_s: 200, in_flight: 64, latency_s: 0.05}\n")
    return os.environ | {
        "TIDEGATE_ENGINE_KIND": "scripted",
        "TIDEGATE_ENGINE_SCRIPT": str(script),
        "TMPDIR": str(tmp_path),
        "COLUMNS": "120",
    }


def tidegate(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def report(run: subprocess.CompletedProcess[str]) -> dict[str, float]:
    assert run.stdout.count("\n") == 1, run.stdout + run.stderr
    fields: dict[str, float] = json.loads(run.stdout)
    return fields


def test_a_count_of_scenes_ends_with_one_line_and_nothing_behind(scripted: dict[str, str], tmp_path: Path) -> None:
    run = tidegate("up", "--count", "60", "--plain", "--uncertified-threshold", "0.5", env=scripted)
    assert run.returncode == 0, run.stderr
    figures = report(run)
    assert figures.pop("seconds") > 0
    assert figures.pop("review") + figures.pop("auto_accept") == 60
    assert figures == {"events": 60, "decisions": 60, "dead_letters": 0, "lost": 0, "duplicates": 0}
    assert not list(tmp_path.glob("tidegate-*"))


@pytest.mark.engine
def test_on_the_real_engine_with_its_tiny_checkpoint_scenes_take_both_routes(tmp_path: Path) -> None:
    """What `make up COUNT=32` does."""
    command = ["up", "--count", "32", "--plain", "--uncertified-threshold", "0.9"]
    run = tidegate(*command, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert run.returncode == 0, run.stderr
    figures = report(run)
    assert (figures["decisions"], figures["lost"], figures["duplicates"]) == (32, 0, 0)
    assert figures["review"] > 0
    assert figures["auto_accept"] > 0
    assert not list(tmp_path.glob("tidegate-*"))


def test_without_a_threshold_everything_goes_to_review(scripted: dict[str, str]) -> None:
    figures = report(tidegate("up", "--count", "10", "--plain", env=scripted))
    assert (figures["review"], figures["auto_accept"]) == (10, 0)


def test_photos_of_a_folder_travel_as_keys_and_a_broken_one_is_a_dead_letter(
    scripted: dict[str, str], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / "trip").mkdir(parents=True)
    for number in range(5):
        Image.effect_noise((80, 60), 40 + number).save(photos / "trip" / f"{number}.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (photos / "notes.txt").write_text("no image")
    figures = report(tidegate("up", "--images", str(photos), "--count", "100", "--plain", env=scripted))
    assert (figures["events"], figures["decisions"], figures["dead_letters"], figures["lost"]) == (6, 5, 1, 0)


def test_a_worker_that_cannot_start_is_reported_with_its_reason(scripted: dict[str, str]) -> None:
    run = tidegate("up", "--count", "5", "--plain", env=scripted | {"TIDEGATE_ENGINE_SCRIPT": "/nowhere.yaml"})
    assert run.returncode == 4
    assert "/nowhere.yaml is not a script" in run.stderr


@pytest.fixture
def running(scripted: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "up", "--plain", "--rate", "20"],
        env=scripted,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until_decisions(process: subprocess.Popen[str]) -> str:
    """What it said until then."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "decided" in line and "decided 0" not in line:
            return said
    pytest.fail("it ended before the first decision")


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.heavy) for each in (signal.SIGTERM, signal.SIGHUP))],
)
def test_ctrl_c_drains_and_leaves_nothing_behind(
    running: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    until_decisions(running)
    servers = children(running)
    assert len(servers) == 5  # broker, Valkey, worker, console, calibration
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert not any(alive(pid) for pid in servers)
    assert not list(tmp_path.glob("tidegate-*"))


def test_the_console_lets_in_whom_it_names_and_even_a_kill_leaves_no_process_behind(
    running: subprocess.Popen[str],
) -> None:
    found = re.search(r"console +(http://\S+) \(name: (\S+), password: (\S+)\)", until_decisions(running))
    assert found is not None
    address, name, password = found.groups()
    with httpx.Client(base_url=address, transport=httpx.HTTPTransport(retries=20)) as client:
        signed_in = client.post("/api/v1/sessions", json={"name": name, "password": password})
        client.headers["x-csrf-token"] = signed_in.json()["csrf_token"]
        task = client.post("/api/v1/claims", json={}).json()["task"]
        image = client.get("/api/v1/image", params={"event_id": task["event_id"]})
        assert image.headers["content-type"] == "image/jpeg"
    servers = children(running)
    running.kill()
    eventually(lambda: not any(alive(pid) for pid in servers), 20)
