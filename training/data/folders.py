"""Images with labels and nothing else: a folder for each label, or a listing of files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from training.data.drops import DataError, Dropped, DropReason, ReadOut, UnusableRecordError
from training.data.item import ImageFile, Item, place
from training.data.records import Record, read_records
from worker.reading.taxonomy import Taxonomy

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def read_folder(root: Path, taxonomy: Taxonomy) -> ReadOut:
    """The images of `root/<label>/`, folders inside included, by path. Hidden files are passed over.

    Raises:
        DataError: there is no such folder, or no folder of a label in it.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: name one that holds a folder for each label")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not any(folder.name.lower() in taxonomy.labels for folder in folders):
        found = ", ".join(folder.name for folder in folders[:5]) or "no folder"
        raise DataError(
            f"{root} holds {found}, and no folder of a label of {taxonomy.name} ({', '.join(taxonomy.labels)}): "
            "check --folder and --taxonomy"
        )
    items: list[Item] = []
    dropped: list[Dropped] = []
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.is_dir() or any(part.startswith(".") for part in inside.parts):
            continue
        label = inside.parts[0].lower() if len(inside.parts) > 1 else None
        if path.suffix.lower() not in _SUFFIXES:
            what = f"{path.suffix or 'no suffix'} is none of {', '.join(sorted(_SUFFIXES))}"
            dropped.append(Dropped(reason=DropReason.IMAGE_UNUSABLE, where=place(path), what=what))
        elif label is None:
            what = f"it lies beside the folders of the labels in {root}"
            dropped.append(Dropped(reason=DropReason.UNKNOWN_LABEL, where=place(path), what=what))
        else:
            items.append(_item(place(path), path, taxonomy, label))
    return ReadOut(tuple(items), tuple(dropped))


def read_listing(path: Path, images: Path, taxonomy: Taxonomy) -> ReadOut:
    """The images of a listing: CSV with the columns file and label, else JSON Lines with these fields.

    JSON Lines may have `probabilities`, an object with one for each label, as `tidegate train scenes` writes it.

    Args:
        images: where relative paths start.

    Raises:
        DataError: it cannot be read, holds nothing, or is a CSV without these columns.
    """

    def item(record: Record) -> Item:
        file = images / record.required("file")
        label = record.required("label").lower()
        return _item(record.where, file, taxonomy, label, _probabilities(record, taxonomy))

    if path.suffix.lower() != ".csv":
        return read_records(path, item)
    items: list[Item] = []
    dropped: list[Dropped] = []
    for record in _csv_rows(path):
        try:
            items.append(item(record))
        except UnusableRecordError as error:
            dropped.append(error.at(record.where))
    return ReadOut(tuple(items), tuple(dropped))


def _item(
    where: str, path: Path, taxonomy: Taxonomy, label: str, probabilities: tuple[float, ...] | None = None
) -> Item:
    return Item(
        item_id=where,
        image=ImageFile(path=path),
        content=place(path),
        taxonomy=taxonomy.name,
        label=label,
        probabilities=probabilities,
    )


def _probabilities(record: Record, taxonomy: Taxonomy) -> tuple[float, ...] | None:
    """In the order of the taxonomy; None where the record has none."""
    stated = record.fields.get("probabilities")
    if stated is None:
        return None
    if not isinstance(stated, dict) or set(stated) != set(taxonomy.labels):
        what = f"probabilities must be an object with one for each label of {taxonomy.name}"
        raise UnusableRecordError(DropReason.BAD_PROBABILITIES, what)
    values = [stated[label] for label in taxonomy.labels]
    if not all(type(value) in (int, float) and 0 <= value <= 1 for value in values):
        raise UnusableRecordError(DropReason.BAD_PROBABILITIES, f"not all numbers from 0 to 1: {values}")
    total = math.fsum(values)
    if abs(total - 1) > 1e-3:
        raise UnusableRecordError(DropReason.BAD_PROBABILITIES, f"they sum to {total:.4f}, not to 1")
    return tuple(value / total for value in values)


def _csv_rows(path: Path) -> Iterable[Record]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            columns = rows.fieldnames or []
            if not {"file", "label"} <= set(columns):
                found = ", ".join(columns) or "nothing"
                raise DataError(f"{path} needs a header with the columns file and label, not {found}")
            for row in rows:
                yield Record({name: row[name] or None for name in ("file", "label")}, place(path, rows.line_num))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name a .csv or .jsonl file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not CSV in UTF-8: {error}") from error
