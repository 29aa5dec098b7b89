"""How an image fails: for good, or for now."""

from __future__ import annotations

from worker.events import DeadLetterReason


class ImageRefusedError(Exception):
    """This image cannot be used, now or later; its event becomes a dead letter with this reason."""

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class ImageUnreachableError(Exception):
    """The image could not be fetched this time; another try may succeed."""


class IntakeError(Exception):
    """The intake itself cannot work: not the fault of any image. The message says what an operator can do."""


def check_size(size: int, limit: int) -> None:
    """Raise ImageRefusedError if an image has more bytes than the limit."""
    if size > limit:
        raise ImageRefusedError(DeadLetterReason.IMAGE_TOO_LARGE, f"more than {limit:,} bytes")
