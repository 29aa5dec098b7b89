"""Images by key, from the platform's object store: S3, Google Cloud, Azure or a local folder."""

from __future__ import annotations

import asyncio
import re
from uuid import uuid4

import structlog
from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import LocalStore, ObjectStore, from_url

from worker.events import DeadLetterReason
from worker.intake.refusal import ImageRefusedError, ImageUnreachableError, IntakeError, check_size
from worker.settings import IntakeSettings

log = structlog.get_logger()

_STORE_GONE = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
"""What S3, Azure and Google Cloud say when not the object is missing but all of the store."""


class StoredImages:
    """Fetches from the configured store. Credentials come from the environment, as the store's own tools take them.

    Whatever may be the store's fault (no permission, no bucket, no credentials) counts as a passing failure of the
    image: only an object that a working store does not have is not found.
    """

    def __init__(self, settings: IntakeSettings) -> None:
        self._settings = settings
        self._store: ObjectStore | None = None

    async def start(self) -> None:
        """Open the store, if one is configured, and ask it for an object that does not exist.

        Raises:
            IntakeError: the store's address is wrong, or it does not answer, or refuses us.
        """
        address = self._settings.object_store
        if address is None:
            return
        advice = f"the object store {address} cannot be used: check TIDEGATE_INTAKE_OBJECT_STORE and its credentials"
        try:
            self._store = _open(address)
            async with asyncio.timeout(self._settings.fetch_timeout_s):
                await self._read(self._store, f"tidegate-probe-{uuid4()}")
        except FileNotFoundError as error:
            if _is_gone(self._store, error):
                raise IntakeError(f"{advice}: it does not exist") from error
        except PermissionDeniedError as error:
            # What a store says of a missing object to those who may read but not list: no proof of a mistake.
            log.warning("object store denies the probe", store=address, error=_first_line(error))
        except (BaseError, OSError, ValueError) as error:
            raise IntakeError(f"{advice}: {_first_line(error)}") from error

    async def get(self, key: str) -> bytes:
        """Try once to fetch an image.

        Raises:
            ImageRefusedError: no store is configured, or the key is none, or the object is not there or too large.
            ImageUnreachableError: it did not come through this time.
        """
        if self._store is None:
            raise ImageRefusedError(
                DeadLetterReason.ADDRESS_FORBIDDEN,
                "object keys need an object store: set TIDEGATE_INTAKE_OBJECT_STORE",
            )
        limit = self._settings.fetch_timeout_s
        try:
            async with asyncio.timeout(limit):
                return await self._read(self._store, key)
        except ValueError as error:
            raise ImageRefusedError(DeadLetterReason.ADDRESS_FORBIDDEN, f"not an object key: {error}") from error
        except FileNotFoundError as error:
            if _is_gone(self._store, error):
                raise ImageUnreachableError(f"the object store is gone: {_first_line(error)}") from error
            raise ImageRefusedError(DeadLetterReason.IMAGE_NOT_FOUND, f"the object store has no {key!r}") from error
        except TimeoutError as error:
            raise ImageUnreachableError(f"not fetched within {limit:g} s") from error
        except (BaseError, OSError) as error:
            raise ImageUnreachableError(_first_line(error)) from error

    async def _read(self, store: ObjectStore, key: str) -> bytes:
        found = await store.get_async(key)
        size = found.meta["size"]
        if size > self._settings.max_bytes:
            del found  # and with it the connection; the error's traceback would keep both
        check_size(size, self._settings.max_bytes)
        return (await found.bytes_async()).to_bytes()


def _open(address: str) -> ObjectStore:
    if address.startswith("file:"):
        return from_url(address)
    # Further tries and their timing are decided in one place, for all sources alike.
    return from_url(address, retry_config={"max_retries": 0})


def _is_gone(store: ObjectStore | None, error: FileNotFoundError) -> bool:
    """Whether all of the store is missing, rather than one object: an operator's mistake, or a volume not mounted."""
    if isinstance(store, LocalStore):
        return store.prefix is not None and not store.prefix.is_dir()
    return any(phrase in str(error) for phrase in _STORE_GONE)


def _first_line(error: Exception) -> str:
    """Without the dump of the store's own structures that follows, and without signatures in addresses."""
    return re.sub(r"\?\S+", "?...", (str(error) or type(error).__name__).splitlines()[0])
