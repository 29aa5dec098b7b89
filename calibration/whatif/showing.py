"""An answer for a person at a terminal: now and then, side by side."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from calibration.certificate import Certified, InsufficientLabels
from calibration.whatif.contracts import Answer, Change, Estimate, PromiseAnswer, Side

_PROMISES_SHOWN = 12


def show(answer: Answer, console: Console) -> None:
    """Print all of it."""
    console.print(_sides(answer))
    console.print(_labels(answer))
    lines = [_promised(each) for each in answer.promises[:_PROMISES_SHOWN]]
    if answer.refusal is not None:
        lines.append(answer.refusal)
    if answer.labels_until_attempt:
        lines.append(f"The loop tries after {answer.labels_until_attempt:,} more answered audits.")
    for what, change in (
        ("would pass that are reviewed now", answer.to_pass),
        ("would be reviewed that pass now", answer.to_review),
    ):
        lines += _changed(what, change)
    lines += ["", *answer.assumptions]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _sides(answer: Answer) -> Table:
    table = Table("", "now", "then", title=f"{answer.policy.taxonomy}: what if", title_justify="left")
    rows: list[tuple[str, Callable[[Side], str]]] = [
        ("passes without a person", lambda side: _share(side.coverage)),
        ("  images a day", lambda side: _count(side.passing_per_day)),
        ("promised error", lambda side: _percent(side.max_error)),
        ("  certified upper bound", lambda side: _percent(side.error_bound)),
        ("  wrong a day, at most", lambda side: _number(side.wrong_per_day_at_most)),
        ("reviews a day", lambda side: _count(side.reviews_per_day)),
        ("reviewer hours a day", lambda side: _hours(side.hours_per_day)),
        ("audits a day", lambda side: _count(side.audits_per_day)),
        ("  of what would pass", lambda side: _count(side.audits_passing_per_day)),
    ]  # fmt: skip
    for name, of in rows:
        table.add_row(name, of(answer.now), of(answer.then))
    for name, of in _queue_rows(answer):
        table.add_row(name, of(answer.now), of(answer.then))
    return table


def _queue_rows(answer: Answer) -> list[tuple[str, Callable[[Side], str]]]:
    if answer.then.queue is None:
        return []
    return [
        ("load of the reviewers", lambda side: "" if side.queue is None else f"{side.queue.load:.0%}"),
        ("queue grows, a day", lambda side: "" if side.queue is None else f"{side.queue.growth_per_day:+,.0f}"),
        (
            "  its oldest image is older, a day",
            lambda side: "" if side.queue is None else f"{side.queue.older_hours_per_day:.1f} h",
        ),
    ]


def _labels(answer: Answer) -> Table:
    table = Table("label", "readings", "pass now", "pass then", "from score")
    for each in answer.labels:
        least = "never" if each.least_score is None else f"{each.least_score:.4f}"
        readings = max(each.readings, 1)
        table.add_row(
            each.label,
            f"{each.readings:,}",
            f"{each.passes_now / readings:.1%}",
            f"{each.passes_then / readings:.1%}",
            least,
        )
    return table


def _promised(each: PromiseAnswer) -> str:
    who = ", ".join(each.promise.labels)
    match each.promise.certificate:
        case Certified() as found:
            said = f"certified above {found.threshold:.4f}: {found.errors:,} of {found.accepted:,} audits wrong"
            return f"{who}: {said}, error at most {found.upper_bound:.2%} there"
        case InsufficientLabels() as lacking:
            return f"{who}: {lacking.labels_used:,} of {lacking.labels_needed:,} labels"
        case refused:
            return f"{who}: none certified; {refused.errors:,} of {refused.accepted:,} audits wrong at the first test"


def _changed(what: str, change: Change) -> list[str]:
    lines = [f"{change.count:,} images {what}, {_count(change.per_day)} a day"]
    for each in change.examples:
        score = "no score" if each.score is None else f"{each.score:.4f}"
        lines.append(f"  {each.event_id}  {each.label}  {score}")
    return lines


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.1%}{_interval(estimate, '{:.1%}')}"


def _hours(estimate: Estimate | None) -> str:
    return "not measured" if estimate is None else _count(estimate)


def _count(estimate: Estimate) -> str:
    form = "{:,.0f}" if estimate.value >= 100.0 else "{:,.1f}"
    return form.format(estimate.value) + _interval(estimate, form)


def _interval(estimate: Estimate, form: str) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({form.format(estimate.low)} to {form.format(estimate.high)})"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.1f}"
