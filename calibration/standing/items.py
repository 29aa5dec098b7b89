"""The items behind every figure: one event a row, by the decision and the verdict that count."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from calibration.settings import LedgerSettings
from calibration.standing.asking import asked, rows
from calibration.standing.contracts import Item, ItemVerdict

_RIGHT = "coalesce(v.label = d.label, FALSE)"
_AUDITED = "coalesce(d.audit_drawn, FALSE)"
_ACCEPTED = "coalesce(d.would_pass, d.route = 'auto_accept')"


def items(
    ledger: LedgerSettings,
    taxonomy: str,
    *,
    gate: str | None = None,
    route: str | None = None,
    reason: str | None = None,
    label: str | None = None,
    source: str | None = None,
    judged: bool | None = None,
    wrong: bool | None = None,
    audited: bool | None = None,
    would_pass: bool | None = None,
    low: float | None = None,
    high: float | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> tuple[Item, ...]:
    """The newest decisions of which all this holds; none of an empty ledger.

    Events whose decision is not in the ledger are not among them, even where their verdict is.

    Args:
        gate, route, reason, label, source: as the decision says them.
        judged: whether it has a verdict.
        wrong: whether its verdict is another label than the decision's, or "cannot tell"; either leaves out what has no
            verdict.
        audited: whether it was drawn for a blind review.
        would_pass: whether it passed, or would have, had it not been drawn. An error among what passes is of items that
            are both.
        low, high: of the probability that the decision carries, from `low` to below `high`; 1 is included by 1.
        since, until: of the time of decision, from `since` to before `until`.
        limit: at most so many.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
        ValueError: the limit is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit: at least 1, not {limit}")
    asks: list[tuple[str, object]] = [
        ("d.taxonomy = ?", taxonomy),
        ("d.gate = ?", gate),
        ("d.route = ?", route),
        ("d.reason = ?", reason),
        ("d.label = ?", label),
        ("d.source = ?", source),
        ("(v.event_id IS NOT NULL) = ?", judged),
        (f"v.event_id IS NOT NULL AND {_RIGHT} <> ?", wrong),
        (f"{_AUDITED} = ?", audited),
        (f"{_ACCEPTED} = ?", would_pass),
        ("d.probability >= ?", low),
        ("d.probability < ?" if high is None or high < 1.0 else "d.probability <= ?", high),
        ("d.decided_at >= ?", since),
        ("d.decided_at < ?", until),
    ]
    chosen = [(condition, value) for condition, value in asks if value is not None]
    where = " AND ".join(condition for condition, _ in chosen)
    values = [value.astimezone(UTC) if isinstance(value, datetime) else value for _, value in chosen]
    return asked(ledger, lambda connection: _items(connection, where, [*values, limit]), since)


def find(ledger: LedgerSettings, event_id: str) -> Item | None:
    """One event; None where the ledger has no decision on it.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
    """
    found = asked(ledger, lambda connection: _items(connection, "d.event_id = ?", [event_id, 1]))
    return found[0] if found else None


def of_content(ledger: LedgerSettings, content_sha256: str, limit: int = 100) -> tuple[Item, ...]:
    """Events of any taxonomy with the very same bytes on which a person has said something; the newest first.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
    """
    where = "d.content_sha256 = ? AND v.event_id IS NOT NULL"
    return asked(ledger, lambda connection: _items(connection, where, [content_sha256, limit]))


def _items(connection: duckdb.DuckDBPyConnection, where: str, values: list[object]) -> tuple[Item, ...]:
    found = rows(
        connection,
        f"""SELECT d.event_id, d.taxonomy, d.decided_at, d.label, d.probability, d.route, d.reason, d.source, d.gate,
            {_AUDITED} AS audited, {_ACCEPTED} AS would_pass, d.content_sha256, d.partition, d."offset",
            v.event_id IS NOT NULL AS judged, v.label AS verdict_label, v.reviewer, v.given_at, v.blind,
            NOT {_RIGHT} AS wrong, v.contradicted
        FROM decisions d LEFT JOIN verdicts v ON v.event_id = d.event_id
        WHERE {where} ORDER BY d.decided_at DESC, d.event_id LIMIT ?""",  # noqa: S608 - our own words only
        values,
    )
    return tuple(_item(row) for row in found)


def _item(row: dict[str, Any]) -> Item:
    verdict = None
    if row["judged"]:
        verdict = ItemVerdict.model_validate(row | {"label": row["verdict_label"]})
    return Item.model_validate(row | {"verdict": verdict})
