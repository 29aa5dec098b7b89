"""What a person sees of `tidegate up`: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.outcomes import Tally
from review.panel import plain
from review.queue import Figures


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the system at one moment."""

    worker: str
    """What the worker is doing, in a few words."""
    tally: Tally
    figures: Figures | None
    """Of the review queue; None while it cannot be reached."""
    addresses: tuple[tuple[str, str], ...]


class View(Protocol):
    """Shows snapshots until closed."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the terminal as it was."""

    def show(self, snapshot: Snapshot) -> None:
        """Show the newest state; called a few times a second."""


class _Rate:
    """Outcomes per second over the last ten seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def __call__(self, count: int) -> float:
        now = time.monotonic()
        self._marks.append((now, count))
        while now - self._marks[0][0] > 10.0:
            self._marks.popleft()
        (then, before) = self._marks[0]
        return (count - before) / (now - then) if now > then else 0.0


class PlainView:
    """One line when something changed, at most every two seconds."""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._line = self._printed = ""
        self._at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._print()

    def show(self, snapshot: Snapshot) -> None:
        """Print the line when it is time; before the first one, where things are."""
        if not self._at:
            print(_addresses(snapshot), file=sys.stderr, flush=True)  # noqa: T201 - this is the view
        tally, rate = snapshot.tally, self._rate(snapshot.tally.settled)
        depth = _or_dash(snapshot.figures.depth if snapshot.figures else None)
        self._line = (
            f"worker: {snapshot.worker} | sent {tally.sent} | decided {tally.decisions} "
            f"(accepted {tally.routes['auto_accept']}, to review {tally.routes['review']}) | "
            f"dead letters {tally.dead_letters} | queue {depth}"
        )
        if time.monotonic() - self._at >= 2.0:
            self._print(f" | {rate:.1f}/s")

    def _print(self, rate: str = "") -> None:
        if self._line != self._printed:
            print(self._line + rate, file=sys.stderr, flush=True)  # noqa: T201 - this is the view
            self._printed, self._at = self._line, time.monotonic()


class LiveView:
    """Rates, routes, queue, latency and the last decisions, drawn in place."""

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=False)
        self._rate = _Rate()

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.__exit__(kind, error, at)

    def show(self, snapshot: Snapshot) -> None:
        """Draw it."""
        self._live.update(Group(self._figures(snapshot), _decisions(snapshot.tally), _addresses(snapshot)))

    def _figures(self, snapshot: Snapshot) -> Panel:
        tally = snapshot.tally
        grid = Table.grid(padding=(0, 3))
        for _ in range(4):
            grid.add_column()
        share = tally.routes["auto_accept"] / tally.decisions if tally.decisions else 0.0
        grid.add_row("worker", Text(snapshot.worker, style="bold"), "rate", f"{self._rate(tally.settled):.1f} images/s")
        grid.add_row("sent", f"{tally.sent}", "waiting", f"{len(tally.waiting)}")
        grid.add_row(
            "accepted", f"{tally.routes['auto_accept']} ({share:.0%})", "to review", f"{tally.routes['review']}"
        )
        grid.add_row("dead letters", f"{tally.dead_letters}", "reviewed", f"{tally.verdicts}")
        grid.add_row(
            "queue depth",
            _or_dash(snapshot.figures.depth if snapshot.figures else None),
            "oldest",
            _seconds(snapshot.figures.oldest_s if snapshot.figures else None),
        )
        grid.add_row("latency p50", _seconds(tally.latency(0.5)), "p99", _seconds(tally.latency(0.99)))
        reasons = ", ".join(f"{reason} {count}" for reason, count in tally.reasons.most_common())
        grid.add_row("reasons", reasons or "-", "", "")
        seal = "certified" if tally.reasons["certified"] else "no certificate: nobody vouches for what is accepted"
        return Panel(grid, title="tidegate", subtitle=Text(seal, "yellow"))


def _decisions(tally: Tally) -> Panel:
    table = Table(expand=True, box=None)
    for name in ("event", "label", "confidence", "P(label)", "route", "reason", "seconds"):
        table.add_column(name, no_wrap=True)
    for decision in tally.recent:
        table.add_row(
            plain(decision.metadata.get("file", decision.event_id)[-20:]),
            decision.label or "-",
            _or_dash(decision.signals.verbal_confidence),
            _or_dash(decision.signals.label_probability),
            Text(decision.route.value, "green" if decision.route.value == "auto_accept" else "cyan"),
            decision.reason.value,
            f"{decision.timings.total:.2f}",
        )
    return Panel(table, title="last decisions")


def _addresses(snapshot: Snapshot) -> Text:
    lines = [f"{name:>10}  {address}" for name, address in snapshot.addresses]
    return Text("\n".join([*lines, f"{'stop':>10}  Ctrl-C: drains, then leaves nothing behind"]), style="dim")


def _or_dash(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
