"""Deleting a person's data: from the ledger, the review queue and the cache of readings, with a receipt.

The order makes it safe to be killed at any point and run again: what tells which events are theirs goes last.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime

from calibration.contract import Versioned
from calibration.ledger.columns import KINDS
from calibration.ledger.erasure import Receipt, erase
from calibration.ledger.place import Place
from calibration.ledger.reading import Ledger
from calibration.ledger.tombstones import TombstoneKind
from calibration.ledger.topic import retention
from calibration.settings import KafkaSettings, LedgerSettings
from review.queue import ReviewQueue
from review.scripts import sentences
from review.settings import ValkeySettings
from review.valkey import connect

_PAGE = 1_000


class ErasureReceipt(Versioned):
    """What was deleted where. It names neither the person nor their events."""

    kind: TombstoneKind
    deleted_at: AwareDatetime
    ledger: Receipt | None
    """None where there is no ledger."""
    tasks: int
    """Removed from the review queue, also those that somebody held."""
    readings: int
    """Removed from the cache of readings."""
    elsewhere: str = (
        "Not touched: Kafka's topics until their retention ends (a rebuild of the queue within that time brings back "
        "what Valkey has lost: delete again after it), the audit log, which names events and no uploader, and the "
        "platform's own store of images. Images that come in later are new."
    )


async def erase_person(
    queue: ReviewQueue,
    valkey: ValkeySettings,
    kafka: KafkaSettings,
    ledger: LedgerSettings,
    kind: TombstoneKind,
    given: str,
    now: datetime,
) -> ErasureReceipt:
    """Delete an event, or all events of an uploader.

    Raises:
        LedgerError: the ledger refuses, or cannot be reached. QueueUnavailableError: Valkey does not serve. In either
            case do it again: what was deleted stays so.
        kafka.errors.KafkaError: Kafka does not say how long it keeps records; nothing has changed.
    """
    retentions = {name: await asyncio.to_thread(retention, kafka, name) for name in KINDS}
    there = await asyncio.to_thread(Place(ledger).state) is not None
    events = await asyncio.to_thread(_in_ledger, ledger, kind, given) if there else {}
    async for event_id, content in queue.tasks_of(kind, given):
        events[event_id] = content
    tasks = await queue.erase(sorted(events.keys() | ({given} if kind == "event" else set())))
    readings = await _erase_readings(valkey, {content.encode() for content in events.values() if content})
    receipt = None
    if there:
        topics = {name: kafka.topic(name) for name in KINDS}
        receipt = await asyncio.to_thread(erase, ledger, kind, given, now, topics=topics, retentions=retentions)
    return ErasureReceipt(kind=kind, deleted_at=now, ledger=receipt, tasks=tasks, readings=readings)


def _in_ledger(settings: LedgerSettings, kind: TombstoneKind, given: str) -> dict[str, str | None]:
    """The events, each with the hash of its image's bytes."""
    column = "event_id" if kind == "event" else "uploader_id"
    quoted = given.replace("'", "''")
    found = Ledger.open(settings).query(
        f"SELECT DISTINCT event_id, content_sha256 FROM all_decisions WHERE {column} = '{quoted}'"  # noqa: S608
    )
    return dict(zip(*(found.column(name).to_pylist() for name in ("event_id", "content_sha256")), strict=True))


async def _erase_readings(settings: ValkeySettings, contents: set[bytes]) -> int:
    """What workers keep of these images; they read them anew where others have sent the same."""
    if not contents:
        return 0
    valkey: Any = connect(settings)
    removed = 0
    try:
        with sentences():
            async for key in valkey.scan_iter(f"{settings.key_prefix}:reading:*", count=_PAGE):
                if key.rpartition(b":")[2] in contents:
                    removed += await valkey.delete(key)
    finally:
        await valkey.aclose()
    return removed
