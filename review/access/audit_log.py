"""Who saw and did what: the append-only topic `audit-log`, and its newest entries in Valkey to look at.

Nobody can change an entry; the topic's retention ends it. The copy in Valkey is for the eye: a flush empties it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import structlog
from kafka.errors import KafkaError
from pydantic import AwareDatetime, Field
from redis.exceptions import RedisError

from calibration.contract import Versioned
from review.access.refusals import NotLoggedError
from review.access.store import Store, serving
from review.durable import DurableWriter

log = structlog.get_logger()

_SHOWN = 10_000


class AuditEntry(Versioned):
    """One thing that somebody saw, did, or was refused."""

    at: AwareDatetime
    who: str
    """Name of an account; what was typed, where nobody was let in under it."""
    action: Annotated[str, Field(max_length=64)]
    """A permission of `review.access.roles`, or sign_in, sign_out, change_password and the like."""
    outcome: Literal["done", "refused"] = "done"
    event_ids: tuple[str, ...] = ()
    """What was seen or acted upon."""
    detail: Annotated[str, Field(max_length=4000)] = ""
    address: str
    token_id: str | None = None
    """Of the API token it was done with; None: in the console."""


class AuditLog:
    """Writes entries, and shows the newest."""

    def __init__(self, store: Store, writer: DurableWriter) -> None:
        self._store = store
        self._writer = writer
        self._newest = store.key("audit-log")

    async def write(self, entry: AuditEntry) -> None:
        """Return when the entry is durable.

        Raises:
            NotLoggedError: it may not be.
        """
        document = entry.model_dump_json()
        try:
            await self._writer.written("audit-log", entry.who, document.encode())
        except (KafkaError, OSError) as error:
            log.error("not logged", entry=entry.model_dump(mode="json"), error=repr(error))  # noqa: TRY400
            raise NotLoggedError(
                f"{entry.action} by {entry.who} could not be written to the audit log, so its answer is withheld. If "
                "it changed something, that may have happened: look before you do it again"
            ) from error
        try:
            await self._store.valkey.xadd(self._newest, {"entry": document}, maxlen=_SHOWN, approximate=True)
        except (RedisError, OSError) as error:  # the topic has it
            log.warning("audit log not shown", error=repr(error))

    async def newest(
        self, limit: int, *, who: str | None = None, event_id: str | None = None, action: str | None = None
    ) -> list[AuditEntry]:
        """The newest entries first, of the last 10,000; only those that match what is given."""
        with serving():
            found = await self._store.valkey.xrevrange(self._newest, count=_SHOWN)
        entries = (AuditEntry.model_validate_json(fields[b"entry"]) for _, fields in found)
        matching = (
            entry
            for entry in entries
            if who in (None, entry.who)
            and action in (None, entry.action)
            and (event_id is None or event_id in entry.event_ids)
        )
        return [entry for entry, _ in zip(matching, range(limit), strict=False)]
