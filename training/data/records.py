"""JSON Lines of records about images, as data sets come: the lines, and what is common to their conversations.

Two spellings are read: `messages` with `role` and `content`, and `conversations` with `from` and `value`, also mixed.
Content is text, or a list of parts such as {"type": "image", "image": ...} and {"type": "text", "text": ...}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.data.drops import DataError, Dropped, DropReason, ReadOut, UnusableRecordError
from training.data.item import ImageFile, Item, place

_ROLES: dict[str, Literal["user", "assistant"]] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object of a file."""

    fields: dict[str, Any]
    where: str
    """File and line: the id of the item that comes of it."""

    def text(self, *names: str) -> str | None:
        """The first of these fields that is there, which must be text; None without any.

        Raises:
            UnusableRecordError: it is something else, or empty.
        """
        for name in names:
            value = self.fields.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or not value.strip():
                raise UnusableRecordError(DropReason.BAD_RECORD, f"{name} must be text, not {_shown(value)}")
            return value.strip()
        return None

    def required(self, *names: str) -> str:
        """The same, where one must be there.

        Raises:
            UnusableRecordError: none is.
        """
        found = self.text(*names)
        if found is None:
            raise UnusableRecordError(DropReason.BAD_RECORD, f"there is no {' or '.join(names)}")
        return found


def read_records(path: Path, item: Callable[[Record], Item]) -> ReadOut:
    """What `item` makes of each record; what it refuses is a drop.

    Raises:
        DataError: the file cannot be read, or holds nothing.
    """
    items: list[Item] = []
    dropped: list[Dropped] = []
    for record in json_lines(path):
        if isinstance(record, Dropped):
            dropped.append(record)
            continue
        try:
            items.append(item(record))
        except UnusableRecordError as error:
            dropped.append(error.at(record.where))
    return ReadOut(tuple(items), tuple(dropped))


def json_lines(path: Path) -> Iterator[Record | Dropped]:
    """The records of a file; a line that is no JSON object is a drop, an empty line nothing.

    Raises:
        DataError: the file cannot be read, or holds nothing.
    """
    found = False
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                found = True
                yield _record(line, place(path, number))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name a file of JSON Lines") from error
    if not found:
        raise DataError(f"{path} is empty: one JSON object a line is needed")


def image_of(record: Record, images: Path) -> ImageFile:
    """The one image that a record names, in `images` or in a part of its conversation; not opened.

    Args:
        images: where relative paths start.

    Raises:
        UnusableRecordError: it names none or several.
    """
    named = [path for name in ("images", "image") for path in _paths(record.fields.get(name))]
    for turn in _turns(record):
        content = turn.get("content", turn.get("value"))
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                named += [path for name in ("image", "image_url") for path in _paths(part.get(name))]
    paths = dict.fromkeys(named)
    if len(paths) != 1:
        shown = "no image" if not paths else f"{len(paths)} images, {', '.join(list(paths)[:3])}"
        raise UnusableRecordError(DropReason.IMAGE_COUNT, f"the record names {shown}; one is needed")
    return ImageFile(path=images / next(iter(paths)).removeprefix("file://"))


def said(record: Record, role: Literal["user", "assistant"]) -> str | None:
    """The text of the one turn of this role; None where there is none.

    Raises:
        UnusableRecordError: there are several, or it has no text.
    """
    turns = [turn for turn in _turns(record) if _ROLES.get(str(turn.get("role", turn.get("from")))) == role]
    if not turns:
        return None
    if len(turns) > 1:
        raise UnusableRecordError(DropReason.BAD_RECORD, f"{len(turns)} turns of the {role}; one is needed")
    content = turns[0].get("content", turns[0].get("value"))
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if isinstance(part, dict) and _is_text(part.get("text")))
    if not isinstance(content, str):
        raise UnusableRecordError(DropReason.BAD_RECORD, f"the turn of the {role} has no text but {_shown(content)}")
    return content.replace("<image>", "").strip()


def _turns(record: Record) -> list[dict[str, Any]]:
    turns = record.fields.get("messages", record.fields.get("conversations", []))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise UnusableRecordError(DropReason.BAD_RECORD, f"the conversation must be a list, not {_shown(turns)}")
    return turns


def _paths(value: object) -> list[str]:
    """The paths in a field: one, a list of them, or objects that hold one."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list):
        return [path for each in value for path in _paths(each)]
    if isinstance(value, dict):
        return [path for name in ("path", "url", "image") for path in _paths(value.get(name))]
    return []


def _record(line: bytes, where: str) -> Record | Dropped:
    try:
        fields = json.loads(line.decode("utf-8-sig").rstrip())
    except json.JSONDecodeError as error:
        truncated = error.pos >= len(error.doc)
        what = f"it ends after {error.pos:,} characters" if truncated else f"{error.msg} at character {error.pos + 1:,}"
    except UnicodeDecodeError:
        what = "not UTF-8"
    except RecursionError:
        what = "nested too deeply"
    else:
        if isinstance(fields, dict):
            return Record(fields, where)
        what = f"not a JSON object but {_shown(fields)}"
    return Dropped(reason=DropReason.BAD_JSON, where=where, what=what)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
