"""From sources to a prepared folder: read, check, split, write. What is hopeless is refused before decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from calibration.settings import KafkaSettings, LedgerSettings
from training.data.checking import CONTENT_BUDGET, check_images, check_words, names_label
from training.data.drops import DataError, Dropped, ReadOut, refuse_too_many
from training.data.folders import read_folder, read_listing
from training.data.item import Item
from training.data.prepared import Report, drafting, write_prepared
from training.data.reviewed import read_reviewed
from training.data.splitting import SplitRules, split
from training.data.vec_cot import read_vec_cot
from training.data.vecbench import read_vecbench
from worker.reading.resize import decoder_version
from worker.reading.taxonomy import SHIPPED, Taxonomy, TaxonomyError, load_taxonomies
from worker.settings import IntakeSettings

Progress = Callable[[str, int, int], None]
"""Gets what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The ledger as a source, with what it takes to get at the images."""

    ledger: LedgerSettings
    kafka: KafkaSettings


@dataclass(frozen=True, slots=True)
class Sources:
    """Where items come from; several of each kind, and several kinds."""

    vec_cot: tuple[Path, ...] = ()
    vecbench: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    listings: tuple[Path, ...] = ()
    reviewed: Reviewed | None = None
    images: Path | None = None
    """Where relative paths in files start; None: at the folder of each file."""
    taxonomies: Path | None = None
    """Folder of further label sets, beside those that ship."""
    taxonomy: str | None = None
    """Name of the label set of sources that name none."""


def prepare_data(
    out: Path,
    sources: Sources,
    rules: SplitRules,
    intake: IntakeSettings,
    *,
    made_at: datetime,
    max_dropped: float = 0.1,
    processes: int = 2,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Make the folder `out`; its report, which is in there as well.

    Args:
        intake: what images are taken, and how those of the ledger are fetched.
        max_dropped: share of faulty records above which nothing is made.
        processes: images decoded at a time.

    Raises:
        DataError: a source cannot be used, too much of it is faulty, or there is something at `out`.
    """
    with drafting(out) as draft:
        known = _known(sources.taxonomies)
        items: list[Item] = []
        dropped: list[Dropped] = []
        for read in _read(sources, known, draft, intake, progress):
            for name, taxonomy in read.taxonomies.items():
                # Of the same labels, order and question stay as they will be served.
                if name not in known or set(known[name].labels) != set(taxonomy.labels):
                    known[name] = taxonomy
            items += read.items
            dropped += read.dropped
        worded, wordless = check_words(items, known, draft)
        dropped += wordless
        refuse_too_many(len(worded), dropped, max_dropped)
        checked, unseen = check_images(
            worded, draft, intake, processes, lambda done, total: progress("checking images", done, total)
        )
        dropped += unseen
        refuse_too_many(len(checked), dropped, max_dropped)
        found = split(checked, rules)
        dropped += found.dropped
        return write_prepared(
            draft,
            found.items,
            dropped,
            known,
            {
                "made_at": made_at,
                "sources": tuple(_named(sources)),
                "groups": found.groups,
                "largest_group": found.largest_group,
                "contradicting": found.contradicting,
                "label_in_reasoning": sum(map(names_label, found.items)),
                "rules": asdict(rules),
                "versions": {
                    "tidegate": version("tidegate"),
                    "pdqhash": version("pdqhash"),
                    "decoder": decoder_version(CONTENT_BUDGET),
                },
            },
        )


def _known(folder: Path | None) -> dict[str, Taxonomy]:
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder} is not a folder of taxonomy files: check --taxonomies")
    try:
        return dict(load_taxonomies(SHIPPED, *filter(None, [folder])))
    except TaxonomyError as error:
        raise DataError(str(error)) from error


def _read(
    sources: Sources, known: Mapping[str, Taxonomy], draft: Path, intake: IntakeSettings, progress: Progress
) -> Iterator[ReadOut]:
    """What each source gives. Label sets that VECBench states come first, for the others to know them."""
    stated: dict[str, tuple[Path, Taxonomy]] = {}
    for path in sources.vecbench:
        read = read_vecbench(path, _images(sources, path))
        for name, taxonomy in read.taxonomies.items():
            before, other = stated.setdefault(name, (path, taxonomy))
            if set(other.labels) != set(taxonomy.labels):
                raise DataError(
                    f"{path} and {before} state different labels for the task {name}: {', '.join(taxonomy.labels)} and "
                    f"{', '.join(other.labels)}. Prepare them apart, or mend the candidates"
                )
        yield read
    for path in sources.vec_cot:
        yield read_vec_cot(path, _images(sources, path), known, sources.taxonomy)
    for path in sources.folders:
        yield read_folder(path.absolute(), _chosen(sources.taxonomy, known))
    for path in sources.listings:
        yield read_listing(path, _images(sources, path), _chosen(sources.taxonomy, known))
    if sources.reviewed is not None:
        where = sources.reviewed
        yield read_reviewed(
            where.ledger, where.kafka, intake, draft, lambda done, total: progress("fetching images", done, total)
        )


def _images(sources: Sources, path: Path) -> Path:
    return (path.parent if sources.images is None else sources.images).absolute()


def _chosen(name: str | None, known: Mapping[str, Taxonomy]) -> Taxonomy:
    if name is None or name not in known:
        said = "no taxonomy is given" if name is None else f"there is no taxonomy {name!r}"
        raise DataError(
            f"{said} for images that come with labels only: give --taxonomy, one of {', '.join(sorted(known))}, or a "
            "folder of your own with --taxonomies"
        )
    return known[name]


def _named(sources: Sources) -> Iterator[str]:
    for kind, paths in (
        ("vecbench", sources.vecbench),
        ("vec-cot", sources.vec_cot),
        ("folder", sources.folders),
        ("listing", sources.listings),
    ):
        yield from (f"{kind} {path.absolute()}" for path in paths)
    if sources.reviewed is not None:
        yield f"ledger {sources.reviewed.ledger.path}"
