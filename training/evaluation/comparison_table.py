"""A comparison of two models for a terminal."""

from __future__ import annotations

from rich.table import Table

from training.evaluation.comparing import Comparison, Difference

_SHOWN = ("ece", "brier", "brier_skill", "auroc", "aurc", "coverage_at.0.05", "coverage_at.0.1")
_COLOURS = {"kept": "green", "broken": "red", "open": "yellow"}


def comparison_table(comparison: Comparison) -> Table:
    """Both models' figures in per cent, the difference with its interval, and what the verdict makes of it."""
    table = Table(title=f"A: {comparison.a}   B: {comparison.b}   {comparison.n:,} items", caption="in per cent")
    for heading in ("", "A", "B", "B - A", "95 % interval", "verdict"):
        table.add_column(heading, justify="right" if heading in ("A", "B", "B - A") else "left")
    states = {each.name: each.state for each in comparison.criteria}
    plain = ("accuracy", "f1_weighted", "f1_macro", "parse_failures")
    names = [*plain, *(f"{signal}.{name}" for signal in ("verbal", "label") for name in _SHOWN)]
    rows = [(name, name, comparison.differences[name]) for name in names]
    if len(comparison.taxonomies) > 1:
        rows += [(key := f"accuracy in {name}", key, found) for name, found in comparison.taxonomies.items()]
    for name, key, found in rows:
        state = states.get(key)
        table.add_row(name, *_cells(found), f"[{_COLOURS[state]}]{state}[/]" if state else "")
    return table


def _cells(found: Difference) -> tuple[str, ...]:
    interval = "" if found.low is None or found.high is None else f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
    return (_percent(found.a, ""), _percent(found.b, ""), _percent(found.difference, "+"), interval)


def _percent(value: float | None, sign: str) -> str:
    return "-" if value is None else f"{100 * value:{sign}.2f}"
