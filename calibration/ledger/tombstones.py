"""What stays of what was deleted: keyed hashes, so that a redelivery or a rebuild does not bring it back.

An event that was deleted never comes back under its id. Of an uploader, everything that was created until the deletion
stays away; what they upload later is new.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from calibration.ledger.columns import TOMBSTONES, table
from calibration.ledger.place import LedgerError, LedgerState, Place
from calibration.ledger.store import DeltaStore
from calibration.settings import LedgerSettings

TombstoneKind = Literal["event", "uploader"]


def keyed(settings: LedgerSettings, state: LedgerState) -> LedgerState:
    """The state with what the hashes need.

    Raises:
        LedgerError: the key is not the one that earlier hashes were made with.
    """
    given = settings.deletion_key.get_secret_value().encode() if settings.deletion_key is not None else None
    key = given or state.deletion_key or secrets.token_bytes(32)
    check = _hash(key, "check", "")
    if state.deletion_key_check is None:
        return state.model_copy(update={"deletion_key": None if given else key, "deletion_key_check": check})
    if state.deletion_key_check != check:
        raise LedgerError(
            "TIDEGATE_LEDGER_DELETION_KEY is not the key that this ledger was made with: with another one, what was "
            "deleted would come back. Give the old key"
        )
    return state


class Tombstones:
    """The hashes, as they were last read. For one thread."""

    def __init__(self, place: Place, settings: LedgerSettings, state: LedgerState) -> None:
        given = settings.deletion_key.get_secret_value().encode() if settings.deletion_key is not None else None
        self._key = given or state.deletion_key or b""
        self._store = DeltaStore(place, ["tombstones"], TOMBSTONES, None)
        self._version: int | None = None
        self._events: set[bytes] = set()
        self._uploaders: dict[bytes, datetime] = {}

    def refresh(self) -> bool:
        """Read them again; whether there are others than before."""
        delta = self._store.open()
        if delta.version() == self._version:
            return False
        rows = self._store.dataset().to_table().to_pylist()
        self._events = {row["hash"] for row in rows if row["kind"] == "event"}
        self._uploaders = {}
        for row in rows:
            if row["kind"] == "uploader":
                earlier = self._uploaders.get(row["hash"])
                self._uploaders[row["hash"]] = max(row["deleted_at"], earlier or row["deleted_at"])
        self._version = delta.version()
        return True

    def __bool__(self) -> bool:
        return bool(self._events or self._uploaders)

    def hides_event(self, event_id: str) -> bool:
        """Whether this event was deleted."""
        return bool(self._events) and self.hash("event", event_id) in self._events

    def hides_uploader(self, uploader_id: str | None, created_at: datetime) -> bool:
        """Whether this was created by somebody before all of theirs was deleted."""
        if not self._uploaders or uploader_id is None:
            return False
        until = self._uploaders.get(self.hash("uploader", uploader_id))
        return until is not None and created_at <= until

    def knows_uploader(self, uploader_id: str) -> bool:
        """Whether anything of theirs was deleted."""
        return bool(self._uploaders) and self.hash("uploader", uploader_id) in self._uploaders

    def add(self, kind: TombstoneKind, ids: Sequence[str], at: datetime) -> None:
        """Keep these away from now on; durable when this returns."""
        at = at.astimezone(UTC)
        rows = [(kind, self.hash(kind, each), at) for each in ids]
        if rows:
            self._store.append(table(TOMBSTONES, rows))
            self.refresh()

    def hash(self, kind: TombstoneKind, text: str) -> bytes:
        """Keyed hash of an id."""
        return _hash(self._key, kind, text)


def _hash(key: bytes, kind: str, text: str) -> bytes:
    return hmac.digest(key, f"tidegate ledger {kind}\0{text}".encode(), hashlib.sha256)
