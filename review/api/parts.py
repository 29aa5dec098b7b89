"""What the API works with, made once by whoever starts it."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from review.images import Images
from review.queue import ReviewQueue
from review.verdicts import VerdictWriter


@dataclass(frozen=True)
class Parts:
    """Shared by all requests."""

    queue: ReviewQueue
    writer: VerdictWriter
    images: Images
    lease_s: float
    taxonomies: tuple[str, ...]
    """Names, for the pages' filters."""


def parts(request: Request) -> Parts:
    """The parts of the app that a request has reached."""
    found = request.app.state.parts
    assert isinstance(found, Parts)
    return found
