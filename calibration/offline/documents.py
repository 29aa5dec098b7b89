"""JSON documents of this room in files: calibrators, gates, policies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from calibration.offline.content import replacing
from calibration.offline.problems import FileError, Problem

_Document = TypeVar("_Document", bound=BaseModel)
_Other = TypeVar("_Other", bound=BaseModel)


def read_document(path: Path, kind: type[_Document]) -> _Document:
    """A document of a kind.

    Raises:
        FileError: it cannot be read, or is not one; every field that is wrong is named.
    """
    try:
        return kind.model_validate_json(_bytes(path, kind.__name__))
    except ValidationError as error:
        raise FileError(path, _wrong_fields(error, kind)) from error


def read_either_document(path: Path, first: type[_Document], second: type[_Other]) -> _Document | _Other:
    """A document of the first of two kinds that it fits.

    Raises:
        FileError: it cannot be read, or is neither; the fields are named that the nearer kind misses.
    """
    content = _bytes(path, f"{first.__name__} or {second.__name__}")
    try:
        return first.model_validate_json(content)
    except ValidationError as error:
        problems = _wrong_fields(error, first)
    try:
        return second.model_validate_json(content)
    except ValidationError as error:
        raise FileError(path, min(problems, _wrong_fields(error, second), key=len)) from error


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = f"Name the JSON file of a {name.lower()}."
        raise FileError(path, [Problem(f"cannot be read ({error.strerror})", remedy)]) from error


def _wrong_fields(error: ValidationError, kind: type[BaseModel]) -> list[Problem]:
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in detail["loc"])
        what = f"{field}: {detail['msg']}" if field else detail["msg"]
        problems.append(Problem(what, f"Give the JSON document of a {kind.__name__.lower()}."))
    return problems


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
