"""Our figures beside the published ones, for a terminal and as Markdown. All in per cent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from calibration.metrics.contracts import Figure
from training.evaluation.compat import CompatResult
from training.evaluation.protocol import GroupFigures, TaskFigures, VecbenchResult
from training.evaluation.published import PublishedTask, published

HEADINGS = ("accuracy", "F1", "ECE", "Brier", "skill", "AUROC", "AURC", "passes at 5 %", "at 10 % error", "unreadable")
TITLE = "Figures in per cent with 95 % intervals, published ones (arXiv 2512.15528) behind the stroke"
NOTE = (
    "F1 is weighted by how often labels occur. Published figures of groups are pooled, their accuracy in the macro row "
    "is the paper's mean over tasks. They leave out what cannot be read; ours count it as an error."
)


@dataclass(frozen=True)
class Cell:
    """One figure, and the published one where there is one; in per cent."""

    value: float | None
    low: float | None = None
    high: float | None = None
    published: float | None = None

    @classmethod
    def of(cls, figure: Figure, beside: float | None = None) -> Cell:
        """A share as per cent."""
        value, low, high = (None if end is None else 100.0 * end for end in (figure.value, figure.low, figure.high))
        return cls(value, low, high, beside)

    def __str__(self) -> str:
        """As `61.3 [59.9, 62.4] / 61.35`."""
        return self._text(f" {self._interval}" if self._interval else "")

    def lines(self) -> str:
        """The same with the interval on a line of its own."""
        return self._text("") + (f"\n{self._interval}" if self._interval else "")

    @property
    def _interval(self) -> str:
        return "" if self.low is None else f"[{self.low:.1f}, {self.high:.1f}]"

    def _text(self, interval: str) -> str:
        value = "-" if self.value is None else f"{self.value:.1f}"
        return f"{value}{interval}" + ("" if self.published is None else f" / {self.published:.2f}")


@dataclass(frozen=True)
class Row:
    """One line: a task, or a group pooled or as a mean over its tasks."""

    name: str
    n: str
    cells: tuple[Cell, ...]
    """One for each of HEADINGS."""


def rows(result: VecbenchResult) -> list[Row]:
    """Tasks, then groups, then everything; published numbers only where the same tasks are meant."""
    known = published()
    found = []
    for name, figures in result.tasks.items():
        beside = known.tasks.get(name)
        found.append(_row(beside.name if beside else name, figures, beside))
    for title, group in result.groups.items():
        published_group = known.groups[title]
        complete = set(group.tasks) == set(published_group.tasks)
        found += _both(title if complete else f"{title} (in part)", group, published_group if complete else None)
    complete = set(result.overall.tasks) == set(known.tasks)
    if len(result.overall.tasks) > 1:
        found += _both("all", result.overall, known.overall if complete else None)
    return found


def compat_rows(compat: CompatResult) -> Iterator[tuple[str, ...]]:
    """Name, n, accuracy, F1, ECE, Brier, AUROC as the public scripts print them, each beside what was published."""
    known = published()
    for name, task in compat.tasks.items():
        beside = known.tasks.get(name)
        plain = _plain(task.accuracy, _from(beside, "accuracy")), _plain(task.f1, _from(beside, "f1"))
        yield (beside.name if beside else name, _n(task.n, beside), *plain, "", "", "")
    for title, group in compat.groups.items():
        of = known.groups[title]
        names = "accuracy", "f1", "ece", "brier", "auroc"
        yield (title, _n(group.n, of), *(_plain(getattr(group, name), _from(of, name)) for name in names))
    overall = compat.overall
    plain = _plain(overall.accuracy, known.overall.accuracy), _plain(overall.f1, known.overall.f1)
    yield ("Overall", _n(overall.n, known.overall), *plain, "", "", "")


def terminal(result: VecbenchResult) -> Table:
    """For a terminal: the interval under its figure."""
    table = Table(title=TITLE, caption=NOTE)
    for heading in ("", "n", *HEADINGS):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in rows(result):
        table.add_row(row.name, row.n, *(cell.lines() for cell in row.cells))
    return table


def compat_terminal(compat: CompatResult) -> Table:
    """The compatible figures for a terminal."""
    table = Table(title=f"--compat: {compat.warning}", caption=_left_out(compat))
    for heading in _COMPAT_HEADINGS:
        table.add_column(heading, justify="left" if not heading else "right")
    for cells in compat_rows(compat):
        table.add_row(*cells)
    return table


def markdown(result: VecbenchResult, compat: CompatResult | None, name: str) -> str:
    """A document of its own."""
    lines = [f"# {name}", "", f"{TITLE}.", "", *_grid(("", "n", *HEADINGS), [_texts(row) for row in rows(result)])]
    lines += ["", NOTE]
    if compat is not None:
        lines += ["", "## By the published definitions", "", f"Not our figures: {compat.warning}.", ""]
        lines += [*_grid(_COMPAT_HEADINGS, list(compat_rows(compat))), "", _left_out(compat)]
    return "\n".join(lines) + "\n"


_COMPAT_HEADINGS = ("", "n", "accuracy", "F1", "ECE", "Brier", "AUROC")


def _texts(row: Row) -> tuple[str, ...]:
    return (row.name, row.n, *map(str, row.cells))


def _grid(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "---|" + "--:|" * (len(headings) - 1)
    yield from (f"| {' | '.join(cells)} |" for cells in lines)


def _from(beside: PublishedTask | None, name: str) -> float | None:
    """A published figure; of tasks only accuracy and F1 are known."""
    return getattr(beside, name, None)


def _both(title: str, group: GroupFigures, beside: PublishedTask | None) -> list[Row]:
    pooled = _row(f"{title}, pooled", group.pooled, beside)
    if len(group.tasks) == 1:
        return [pooled]
    return [pooled, _row(f"{title}, macro", group.macro, None, _from(beside, "macro_accuracy"))]


def _row(name: str, figures: TaskFigures, beside: PublishedTask | None, macro: float | None = None) -> Row:
    verbal = figures.verbal
    return Row(
        name=name,
        n=_n(figures.n, beside),
        cells=(
            Cell.of(figures.accuracy, macro if beside is None else beside.accuracy),
            Cell.of(figures.f1_weighted, _from(beside, "f1")),
            Cell.of(verbal.ece, _from(beside, "ece")),
            Cell.of(verbal.brier, _from(beside, "brier")),
            Cell.of(verbal.brier_skill),
            Cell.of(verbal.auroc, _from(beside, "auroc")),
            Cell.of(verbal.aurc),
            Cell.of(verbal.coverage_at["0.05"]),
            Cell.of(verbal.coverage_at["0.1"]),
            Cell(100.0 * figures.parse_failures / figures.n),
        ),
    )


def _n(n: int, beside: PublishedTask | None) -> str:
    return f"{n}" if beside is None or beside.n == n else f"{n} / {beside.n}"


def _plain(value: float | None, beside: float | None) -> str:
    text = "-" if value is None else f"{100.0 * value:.2f}"
    return text if beside is None else f"{text} / {beside:.2f}"


def _left_out(compat: CompatResult) -> str:
    return (
        f"Left out as there: {compat.tail_left_out} at the end of the data, {compat.failed_left_out} without an "
        f"answer, {compat.confidence_left_out} whose confidence is no number (of the groups only)."
    )
