"""What a model said of each item, kept line by line, so that an evaluation that was killed goes on where it stopped.

OUT/setup.json       who answered, and how it was asked
OUT/readings.jsonl   one `ItemReading` a line, in the order in which the answers came
OUT/result.json      written last
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from calibration.contract import Contract
from calibration.offline.documents import read_document, write_document
from calibration.outcome import Probability, Reader, Signals
from training.data.item import Item
from worker.engine.finish import Finish
from worker.reading.taxonomy import Taxonomy

SETUP, READINGS, RESULT = "setup.json", "readings.jsonl", "result.json"


class EvaluationError(Exception):
    """An evaluation cannot be done, or not go on; the message says what to do."""


class Setup(Contract):
    """Who answered, and how it was asked: readings of different setups are never mixed."""

    reader: Reader
    temperature: float
    max_tokens: int
    retried: bool
    """Whether an answer that did not parse was asked for once more, under a grammar."""
    taxonomies: dict[str, Taxonomy]

    def differences(self, other: Setup, ignoring: Collection[str] = ()) -> list[str]:
        """What is not the same in another setup, in words."""
        mine, theirs = self._parts(), other._parts()
        changed = [name for name in mine if mine[name] != theirs[name] and name not in ignoring]
        found = [f"{name} {mine[name]} against {theirs[name]}" for name in changed]
        if self.taxonomies != other.taxonomies:
            names = sorted(self.taxonomies.keys() | other.taxonomies.keys())
            changed = [name for name in names if self.taxonomies.get(name) != other.taxonomies.get(name)]
            found.append(f"taxonomy {', '.join(changed)} (its labels, their order, or its question)")
        return found

    def _parts(self) -> dict[str, object]:
        return {
            "model": self.reader.model,
            "prompt": self.reader.prompt,
            "decoder": self.reader.decoder,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "retried": self.retried,
        }


class ItemReading(Contract):
    """What the model said of one item, beside what is true of it."""

    item_id: str
    content: str
    taxonomy: str
    truth: str
    """The label that the data gives."""
    probabilities: tuple[Probability, ...] | None = None
    """True label probabilities in the taxonomy's order; only drawn scenes have them."""
    label: str | None
    """What the model answered; None where it cannot be read, which counts as an error."""
    signals: Signals
    text: str
    """All that the model wrote."""
    finish: Finish
    constrained: bool = False
    """The answer comes from a second try, under a grammar."""
    refused: str | None = None
    """Why the image or the engine could give no answer at all."""
    prompt_tokens: int = 0
    output_tokens: int = 0


class ReadingLog:
    """The readings of one folder, old and new; or, without a folder, those of this process."""

    def __init__(self, file: BinaryIO | None, known: Mapping[str, ItemReading], folder: Path | None) -> None:
        self._file = file
        self._known = dict(known)
        self._folder = folder

    def add(self, reading: ItemReading) -> None:
        """Keep a reading; with a folder, past the end of this process."""
        self._known[reading.item_id] = reading
        if self._file is not None:
            self._file.write(reading.model_dump_json().encode() + b"\n")
            self._file.flush()

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """The items that have not been read yet.

        Raises:
            EvaluationError: two items have one name, or one that was read is now another image or has another label.
        """
        names: set[str] = set()
        found = []
        for item in items:
            if item.item_id in names:
                raise EvaluationError(f"two items are named {item.item_id}: give each a name of its own")
            names.add(item.item_id)
            reading = self._known.get(item.item_id)
            if reading is None:
                found.append(item)
            elif (reading.content, reading.taxonomy, reading.truth) != (item.content, item.taxonomy, item.label):
                raise EvaluationError(
                    f"{self._folder}: {item.item_id} was read as another image, taxonomy or label than it is now: "
                    "give a new folder"
                )
        return found

    def of(self, items: Sequence[Item]) -> list[ItemReading]:
        """Their readings, in the order of the items."""
        return [self._known[item.item_id] for item in items]


@contextmanager
def reading_log(folder: Path | None, setup: Setup) -> Iterator[ReadingLog]:
    """Open a folder for readings of a setup, and go on in it.

    Raises:
        EvaluationError: it holds readings of another setup, another evaluation writes to it, or a line is damaged.
        FileError: it cannot be read or written.
    """
    if folder is None:
        yield ReadingLog(None, {}, None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / READINGS).open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EvaluationError(f"{folder}: another evaluation is writing there: give another folder") from error
        known, end = _whole_lines(folder / READINGS)
        if (folder / SETUP).exists():
            if changed := read_document(folder / SETUP, Setup).differences(setup):
                raise EvaluationError(
                    f"{folder} holds readings of another setup ({'; '.join(changed)}): give a new folder, or delete it"
                )
        elif known:
            raise EvaluationError(f"{folder} has readings but no {SETUP}: give a new folder, or delete it")
        else:
            write_document(folder / SETUP, setup)
        file.truncate(end)  # a kill can leave half a line
        yield ReadingLog(file, known, folder)


def load_readings(folder: Path) -> tuple[Setup, list[ItemReading]]:
    """The readings of an evaluation that came to its end, by item.

    Raises:
        EvaluationError: it has not been finished, or a line is damaged.
        FileError: there is none.
    """
    setup = read_document(folder / SETUP, Setup)
    if not (folder / RESULT).exists():
        raise EvaluationError(f"{folder}: the evaluation has not been finished: run it again, and it goes on")
    known, _ = _whole_lines(folder / READINGS)
    return setup, [known[name] for name in sorted(known)]


def _whole_lines(path: Path) -> tuple[dict[str, ItemReading], int]:
    """The readings of a file, and where its last whole line ends."""
    known: dict[str, ItemReading] = {}
    end = number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if not line.endswith(b"\n"):
                    break
                reading = ItemReading.model_validate_json(line)
                known[reading.item_id] = reading
                end += len(line)
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}): name the folder of an evaluation") from error
    except ValidationError as error:
        raise EvaluationError(f"{path}: line {number} is no reading: delete it, and its item is read again") from error
    return known, end
