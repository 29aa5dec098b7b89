"""What becomes of the queue: a fluid of images, in at one rate and out at another."""

from __future__ import annotations

from calibration.whatif.contracts import Estimate, Queue

_HOURS = 24.0


def queue(reviews_per_day: float, capacity_per_day: float, waiting: int | None) -> Queue:
    """Every day the mean day, no reviewer idle while anything waits, first come first served.

    What comes in at r a day and goes out at c < r waits ever longer: the oldest image that still waits is the
    (r - c) t th from the end, and so (1 - c / r) t old.
    """
    growth = reviews_per_day - capacity_per_day
    load = reviews_per_day / capacity_per_day
    return Queue(
        capacity_per_day=capacity_per_day,
        load=load,
        growth_per_day=growth,
        waiting=waiting,
        older_hours_per_day=_HOURS * (1.0 - 1.0 / load) if load > 1.0 else 0.0,
        days_to_clear=waiting / -growth if waiting is not None and growth < 0.0 else None,
    )


def capacity(
    reviews_per_day: float | None, reviewers: float | None, hours_each: float, seconds: Estimate | None
) -> float | None:
    """Reviews that can be done in a day: by so many reviewers at the measured seconds, else as many as were said."""
    if reviewers is not None and seconds is not None:
        return reviewers * hours_each * 3600.0 / seconds.value
    return reviews_per_day
