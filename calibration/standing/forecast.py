"""What becomes of the queue by the hour. Pure."""

from __future__ import annotations

from calibration.standing.contracts import Forecast

_DAY = 24.0


def forecast(
    *,
    arrivals: int,
    arrival_hours: float,
    verdicts: int,
    worked_hours: float,
    observed_hours: float,
    waiting: int | None,
) -> Forecast:
    """In at one rate, round the clock, and out at another while somebody works.

    Args:
        arrivals: images that were sent to review
        arrival_hours: in so many hours.
        verdicts: given
        worked_hours: in so many hours of work,
        observed_hours: within so many hours.
        waiting: images that wait now; None where nobody counted them.
    """
    coming = arrivals / arrival_hours
    capacity = verdicts / worked_hours if verdicts and worked_hours > 0.0 else None
    a_day = min(_DAY, _DAY * worked_hours / observed_hours)
    growth = None if capacity is None else coming - capacity
    clear = None
    if waiting == 0:
        clear = 0.0
    elif waiting is not None and growth is not None and growth < 0.0:
        clear = waiting / -growth
    return Forecast(
        arrivals_per_hour=coming,
        capacity_per_hour=capacity,
        worked_hours_per_day=a_day,
        backlog=waiting,
        growth_per_hour=growth,
        growth_per_day=None if capacity is None else _DAY * coming - capacity * a_day,
        hours_to_clear=clear,
    )
