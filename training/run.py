"""A run's folder: everything needed to repeat it, to go on after a kill, and to see what it did.

RUN/config.yaml            what was asked
RUN/run.json               versions of the libraries, the data's fingerprint, the command
RUN/<stage>/checkpoints/   where a killed stage goes on
RUN/<stage>/metrics.jsonl  and tensorboard/
RUN/<stage>/model/         what the stage ended in; done.json is written last
RUN/model/                 the checkpoint that is handed over, with its card
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from training.config import STAGES, ConfigError, PreparedData, RunConfig, StageName, TinyModel, load_config
from training.data.prepared import read_prepared

_LIBRARIES = ("accelerate", "datasets", "numpy", "peft", "pillow", "tokenizers", "torch", "transformers", "trl")
_STATE = "trainer_state.json"


class RunError(Exception):
    """A run cannot go on; the message says what to do."""


@dataclass(frozen=True)
class StageFolder:
    """What one stage keeps."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where the trainer saves itself on its way."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The weights and processor that the stage ended in."""
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        """One JSON line for each logged step."""
        return self.path / "metrics.jsonl"

    @property
    def done(self) -> bool:
        """Whether the stage came to its end."""
        return (self.path / "done.json").exists()

    def last_checkpoint(self) -> Path | None:
        """The last whole one; one that a kill left half written is deleted."""
        whole: Path | None = None
        for folder in sorted(self.checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])):
            if _is_json(folder / _STATE):
                whole = folder
            else:
                shutil.rmtree(folder)
        return whole

    def finish(self, said: dict[str, Any]) -> None:
        """Mark the stage as done, with what it has to say; its checkpoints are no longer needed."""
        write_json(self.path / "done.json", {"finished_at": datetime.now(UTC).isoformat(), **said})
        shutil.rmtree(self.checkpoints, ignore_errors=True)


class Run:
    """One run in its folder."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self.config = config

    @classmethod
    def begin(cls, folder: Path, config: RunConfig, *, primary: bool = True) -> Run:
        """Make the folder, or go on in it. Only the `primary` process writes, and the others take its word.

        Raises:
            RunError: the folder belongs to a run with another configuration, or of other data.
        DataError: the prepared folder cannot be read.
        """
        kept = folder / "config.yaml"
        if kept.exists():
            if load_config(str(kept)) != config:
                raise RunError(f"{folder} holds a run of another configuration: give a new folder, or delete it")
            begun_with = json.loads((folder / "run.json").read_text(encoding="utf-8"))["data"]
            if begun_with != _data(config):
                raise RunError(
                    f"{folder} was begun with other data ({begun_with}): put them back, or give a new folder"
                )
        elif primary:
            if folder.exists() and {path.name for path in folder.iterdir()} - {"run.json"}:
                raise RunError(f"{folder} is not empty and holds no run: give a new folder")
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "run.json", _provenance(config))
            _replace(kept, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))  # last: now it is a run
        return cls(folder, config)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run of a folder.

        Raises:
            RunError: it holds none.
        """
        try:
            return cls(folder, load_config(str(folder / "config.yaml")))
        except ConfigError as error:
            raise RunError(f"{folder} holds no run that can be read: {error}") from error

    def stage(self, name: StageName) -> StageFolder:
        """The folder of one stage."""
        return StageFolder(self.folder / name)

    def before(self, name: StageName) -> str | Path | None:
        """What a stage starts from: the last one's model; the first one from the base, or None where it is made.

        Raises:
            RunError: the stage before has not been finished.
        """
        at = STAGES.index(name)
        if at == 0:
            return None if isinstance(self.config.model, TinyModel) else self.config.model.name
        previous = self.stage(STAGES[at - 1])
        if not previous.done:
            raise RunError(f"stage {name} starts where {STAGES[at - 1]} ended, which is not finished: run that first")
        return previous.model


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file at once: it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps(content, indent=2, default=str) + "\n")


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _data(config: RunConfig) -> str:
    """What the run learns from, as an identity."""
    if isinstance(config.data, PreparedData):
        return f"prepared:{read_prepared(config.data.folder).fingerprint}"
    return f"scenes:{config.data.seed}"


def _provenance(config: RunConfig) -> dict[str, Any]:
    return {
        "started_at": datetime.now(UTC).isoformat(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "tidegate": version("tidegate"),
        "data": _data(config),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
