"""Names a local model folder by what is in it: another name as soon as it could say anything else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from worker.engine.protocol import EngineDeadError

_DECIDES = {".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"}
_CARD = "tidegate.json"


def folder_version(folder: Path) -> str:
    """The `model_version` that the folder's tidegate.json declares, else its name and a hash of all its content.

    Takes about a second for each gigabyte, without holding up other threads.

    Raises:
        EngineDeadError: a file cannot be read, or tidegate.json declares no version.
    """
    card = folder / _CARD
    try:
        if card.exists():
            declared = json.loads(card.read_text(encoding="utf-8"))["model_version"]
            if isinstance(declared, str) and declared:
                return declared
            raise ValueError(f"model_version is {declared!r}")
        whole = hashlib.sha256()
        for path in sorted(folder.iterdir()):
            if path.suffix in _DECIDES:
                with path.open("rb") as file:
                    whole.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineDeadError(
            f"the model folder {folder} cannot be named: {error!r}; repair it, or delete its {_CARD}"
        ) from error
    return f"{folder.resolve().name}-{whole.hexdigest()[:12]}"
