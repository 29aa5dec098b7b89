"""What the console shows of an image: never a stranger's bytes, always our own rendition of their pixels."""

from __future__ import annotations

from typing import Protocol

from review.task import ImageReference


class ImageUnavailableError(Exception):
    """The image cannot be shown, now or for good; the message says why, to a moderator."""


class Images(Protocol):
    """Where the console has images from. The worker's room provides it, with the guards of the worker's intake."""

    async def jpeg(self, image: ImageReference) -> bytes:
        """A rendition for the screen.

        Raises:
            ImageUnavailableError: there is none.
        """

    def forget(self) -> None:
        """Keep no rendition any longer: somebody's data were deleted."""
