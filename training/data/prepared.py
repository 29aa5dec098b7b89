"""The prepared folder: the one thing that every stage reads.

    items.jsonl        what is trained on and measured with, an item a line, each with its stage
    dropped.jsonl      what was left out, and why
    taxonomies/        the label sets of the items, as files that a worker can be given
    images/            copies of those that had to be fetched; other images stay where they are
    report.json        counts, examples of drops, rules, versions, and the fingerprint of items.jsonl

It appears under its name when it is complete, and not before.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import AwareDatetime, ValidationError

from calibration.contract import Contract, Versioned
from training.data.drops import DataError, Dropped, DropReason, counted
from training.data.item import Item, Stage
from worker.reading.taxonomy import Taxonomy, TaxonomyError, load_taxonomies

STAGES: tuple[Stage, ...] = get_args(Stage)
_ITEMS, _DROPPED, _TAXONOMIES, _REPORT = "items.jsonl", "dropped.jsonl", "taxonomies", "report.json"
_EXAMPLES = 5
_ADVICE = "prepare the data anew with `tidegate train prepare`"


class StageReport(Contract):
    """What a stage gets."""

    items: int
    share: float
    """Of all items."""
    with_reasoning: int
    with_confidence: int
    labels: dict[str, dict[str, int]]
    """Items by taxonomy and label."""


class Report(Versioned):
    """What was prepared, from what, by which rules."""

    fingerprint: str
    """sha256 of items.jsonl: names the data of a training run."""
    made_at: AwareDatetime
    sources: tuple[str, ...]
    items: int
    stages: dict[Stage, StageReport]
    dropped: dict[DropReason, int]
    examples: dict[DropReason, tuple[Dropped, ...]]
    """The first few of each reason; all are in dropped.jsonl."""
    groups: int
    """Of images that are, or look, the same."""
    largest_group: int
    contradicting: int
    """Images that have several labels of one taxonomy."""
    label_in_reasoning: int
    """Items whose reasoning says the label before its conclusion."""
    rules: dict[str, float]
    """Of the split."""
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared folder, read."""

    folder: Path
    """Where relative paths of images start: the `root` of `training.data.loading.Examples`."""
    items: Mapping[Stage, tuple[Item, ...]]
    """Of each stage, in the order of the file; of one that has none, empty."""
    taxonomies: Mapping[str, Taxonomy]
    """Of all items, by name."""
    fingerprint: str
    report: Report


@contextmanager
def drafting(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place when the block ends, and is removed when it fails.

    Raises:
        DataError: there is something at `out`, or nothing can be written beside it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists already: give another --out, or remove it first")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror}): give another --out") from error
    try:
        yield draft
        draft.chmod(0o755)  # others may read it, unlike what is temporary
        draft.replace(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_prepared(
    folder: Path,
    items: Sequence[Item],
    dropped: Sequence[Dropped],
    taxonomies: Mapping[str, Taxonomy],
    said: Mapping[str, Any],
) -> Report:
    """Write everything but images.

    Args:
        items: each with its stage.
        taxonomies: those of all items, and others, which are left out.
        said: the fields of the report that cannot be counted from the rest.
    """
    lines = _lines(items)
    (folder / _ITEMS).write_bytes(lines)
    (folder / _DROPPED).write_bytes(_lines(dropped))
    (folder / _TAXONOMIES).mkdir()
    for name in sorted({item.taxonomy for item in items}):
        text = yaml.safe_dump(taxonomies[name].model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (folder / _TAXONOMIES / f"{name}.yaml").write_text(text, encoding="utf-8")
    examples: defaultdict[DropReason, list[Dropped]] = defaultdict(list)
    for drop in dropped:
        if len(examples[drop.reason]) < _EXAMPLES:
            examples[drop.reason].append(drop)
    report = Report.model_validate(
        {
            "fingerprint": hashlib.sha256(lines).hexdigest(),
            "items": len(items),
            "stages": {stage: _stage_report(items, stage) for stage in STAGES},
            "dropped": counted(dropped),
            "examples": examples,
            **said,
        }
    )
    (folder / _REPORT).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return report


def read_prepared(path: Path) -> Prepared:
    """The folder that `tidegate train prepare` wrote. Images are not opened.

    Raises:
        DataError: there is none, a part of it is missing, or it is not as it was written.
    """
    if not (path / _REPORT).is_file():
        raise DataError(f"{path} is no prepared folder (it has no {_REPORT}): {_ADVICE}")
    try:
        report = Report.model_validate_json((path / _REPORT).read_bytes())
        lines = (path / _ITEMS).read_bytes()
        taxonomies = load_taxonomies(path / _TAXONOMIES)
    except ValidationError as error:
        raise DataError(
            f"{path / _REPORT} is damaged, or of another version ({error.error_count()} fields do not fit): {_ADVICE}"
        ) from error
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): {_ADVICE}") from error
    except TaxonomyError as error:
        raise DataError(f"{error}: {_ADVICE}") from error
    if hashlib.sha256(lines).hexdigest() != report.fingerprint:
        held = lines.count(b"\n")
        how = f"holds {held:,} of {report.items:,} items" if held < report.items else "was changed"
        raise DataError(f"{path / _ITEMS} is not what was prepared: it {how}. Put it back, or {_ADVICE}")
    items: defaultdict[Stage, list[Item]] = defaultdict(list)
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            item = Item.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path / _ITEMS}, line {number} is no item of this version: {_ADVICE}") from error
        if item.stage is None or item.label not in _labels(taxonomies, item):
            raise DataError(
                f"{path / _ITEMS}, line {number}: stage {item.stage}, label {item.label} of {item.taxonomy} does not "
                f"fit {path / _TAXONOMIES}: {_ADVICE}"
            )
        items[item.stage].append(item)
    by_stage = {stage: tuple(items[stage]) for stage in STAGES}
    return Prepared(path, by_stage, taxonomies, report.fingerprint, report)


def _labels(taxonomies: Mapping[str, Taxonomy], item: Item) -> tuple[str, ...]:
    taxonomy = taxonomies.get(item.taxonomy)
    return () if taxonomy is None else taxonomy.labels


def _stage_report(items: Sequence[Item], stage: Stage) -> StageReport:
    own = [item for item in items if item.stage == stage]
    labels: dict[str, dict[str, int]] = {}
    for (taxonomy, label), count in sorted(Counter((item.taxonomy, item.label) for item in own).items()):
        labels.setdefault(taxonomy, {})[label] = count
    return StageReport(
        items=len(own),
        share=round(len(own) / len(items), 4) if items else 0.0,
        with_reasoning=sum(item.reasoning is not None for item in own),
        with_confidence=sum(item.confidence is not None for item in own),
        labels=labels,
    )


def _lines(records: Iterable[Contract]) -> bytes:
    return b"".join(record.model_dump_json(exclude_none=True).encode() + b"\n" for record in records)
