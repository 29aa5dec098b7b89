"""What the API works with, made once by whoever starts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from calibration.loop.settings import LoopSettings
from calibration.settings import KafkaSettings, LedgerSettings
from review.access.door import Door
from review.access.web import door_of
from review.analysis.desk import Desk
from review.images import Images
from review.queue import ReviewQueue
from review.settings import ConsoleSettings, ReviewSettings, ValkeySettings
from review.upkeep import Upkeep
from review.verdicts import VerdictWriter


@dataclass(frozen=True)
class Parts:
    """Shared by all requests."""

    kafka: KafkaSettings
    valkey: ValkeySettings
    ledger: LedgerSettings
    loop: LoopSettings
    review: ReviewSettings
    console: ConsoleSettings
    queue: ReviewQueue
    writer: VerdictWriter
    images: Images
    desk: Desk
    upkeep: Upkeep


def parts(request: Request) -> Parts:
    """The parts of the app that a request has reached."""
    found = request.app.state.parts
    assert isinstance(found, Parts)
    return found


AtHand = Annotated[Parts, Depends(parts)]
AtDoor = Annotated[Door, Depends(door_of)]
