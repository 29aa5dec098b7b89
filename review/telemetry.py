"""The queue as `/metrics` tells it, of workers and of the console."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from review.figures import Figures
from review.reconcile import Difference

CONTENT_TYPE = CONTENT_TYPE_LATEST
_DEPTH = Gauge("tidegate_review_queue_tasks", "Tasks in the review queue, claimed ones included.")
_OLDEST = Gauge("tidegate_review_oldest_seconds", "Age of the oldest task in the review queue.")
_EXPIRED = Gauge("tidegate_review_expired_leases", "Leases that ran out, ever.")
_DAMAGED = Gauge("tidegate_review_damaged_tasks", "Tasks that cannot be shown to anybody.")
_MEMORY = Gauge("tidegate_valkey_memory_ratio", "Share of Valkey's memory that nothing frees; 0: no limit.")
_MISSING = Gauge("tidegate_review_missing_tasks", "Events that wait by the topics, and are not in the queue.")
_OVERDUE = Gauge("tidegate_review_overdue_tasks", "Tasks in the queue whose verdict is on its topic.")
_MISSING.set(float("nan"))  # until they are compared
_OVERDUE.set(float("nan"))


def count(figures: Figures) -> None:
    """The queue was counted."""
    _DEPTH.set(figures.depth)
    _OLDEST.set(figures.oldest_s)
    _EXPIRED.set(figures.expired_leases)
    _DAMAGED.set(figures.damaged)
    _MEMORY.set(figures.memory_ratio)


def compared(difference: Difference) -> None:
    """It was compared with the topics."""
    _MISSING.set(difference.missing)
    _OVERDUE.set(difference.overdue)


def exposition() -> bytes:
    """All of the process, in Prometheus' text format."""
    return generate_latest()
