"""`tidegate review erase`: delete a person's data everywhere that this system keeps it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from kafka.errors import KafkaError

from calibration.ledger.place import LedgerError
from calibration.ledger.tombstones import TombstoneKind
from calibration.settings import KafkaSettings, LedgerSettings
from review.erasure import erase_person
from review.settings import ValkeySettings
from review.terminal import failure, print_json, settings_of, with_queue


def erase(
    event: Annotated[str | None, typer.Option(help="delete this event", metavar="EVENT_ID")] = None,
    uploader: Annotated[
        str | None, typer.Option(help="delete everything of this uploader, as events name them", metavar="ID")
    ] = None,
) -> None:
    """Delete an event or an uploader from the review queue, the cache of readings and the ledger; print the receipt.

    It may be repeated: what is gone already is counted as nothing. What lies elsewhere is named in the receipt.
    """
    if (event is None) == (uploader is None):
        raise typer.BadParameter("give either --event or --uploader")
    kafka, ledger, valkey = settings_of(KafkaSettings), settings_of(LedgerSettings), settings_of(ValkeySettings)
    kind: TombstoneKind = "event" if event is not None else "uploader"
    given = event or uploader or ""
    try:
        receipt = with_queue(
            lambda queue: erase_person(queue, valkey, kafka, ledger, kind, given, now=datetime.now(UTC))
        )
    except LedgerError as error:
        raise failure(f"{error}. What was deleted stays so: do it again", 1) from error
    except KafkaError as error:
        raise failure(
            f"Kafka at {kafka.bootstrap_servers} does not answer, so nothing was deleted: {error}", 1
        ) from error
    print_json(receipt.model_dump(mode="json"))
