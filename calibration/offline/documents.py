"""JSON documents of this room in files: calibrators, gates, policies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from calibration.offline.content import replacing
from calibration.offline.problems import FileError, Problem

_Document = TypeVar("_Document", bound=BaseModel)


def read_document(path: Path, kind: type[_Document]) -> _Document:
    """A document of a kind.

    Raises:
        FileError: it cannot be read, or is not one; every field that is wrong is named.
    """
    name = kind.__name__.lower()
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        remedy = f"Name the JSON file of a {name}."
        raise FileError(path, [Problem(f"cannot be read ({error.strerror})", remedy)]) from error
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False, include_input=False):
            field = ".".join(str(part) for part in detail["loc"])
            what = f"{field}: {detail['msg']}" if field else detail["msg"]
            problems.append(Problem(what, f"Give the JSON document of a {name}."))
        raise FileError(path, problems) from error


def write_document(path: Path, document: BaseModel) -> None:
    """Write a document, indented for those who read it.

    Raises:
        FileError: it cannot be written there.
    """
    with replacing(path) as file:
        file.write(document.model_dump_json(indent=2).encode() + b"\n")


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file that was read before."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write text, UTF-8.

    Raises:
        FileError: it cannot be written there.
    """
    with replacing(path) as file:
        file.write(text.encode())
