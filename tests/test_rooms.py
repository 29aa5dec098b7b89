"""The architecture as a test: imports go one way, and some libraries stay in their rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("calibration", "review", "worker", "training", "deploy")  # from the ground floor up


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            found.add(node.module or "")
    return found


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_never_imports_one_above_it(room: str) -> None:
    above = set(ROOMS[ROOMS.index(room) + 1 :]) | {"tests"}
    climbs = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(room)
        for module in imported_modules(path)
        if module.split(".")[0] in above
    }
    assert not climbs


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("vllm", {"worker/engine/vllm.py"}),
        ("prometheus_client", {"worker/telemetry.py", "worker/probes.py", "review/telemetry.py"}),
        ("fastapi", {f"review/{part}" for part in ("access/web.py", "api/", "console/")}),
    ],
)
def test_a_library_is_named_in_its_one_place_only(library: str, home: set[str]) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for room in ("calibration", "review", "worker")
        for path in sources(room)
        if any(module.split(".")[0] == library for module in imported_modules(path))
    }
    assert not {user for user in users if not user.startswith(tuple(home))}


def test_calibration_has_no_web_framework_and_a_kafka_client_in_its_ledger_only() -> None:
    ledger = ROOT / "calibration" / "ledger"
    imports = [(path, module) for path in sources("calibration") for module in imported_modules(path)]
    used = {module.split(".")[0] for _, module in imports}
    assert not used & {"redis", "fastapi", "nicegui", "aiohttp", "torch", "vllm"}
    clients = {path for path, module in imports if module.split(".")[0] == "kafka" and module != "kafka.errors"}
    assert {path.parent for path in clients} == {ledger}
