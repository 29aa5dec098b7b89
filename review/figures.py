"""The queue in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """The queue in numbers."""

    depth: int
    """Tasks that wait for a verdict, claimed ones included."""
    claimed: int
    """Held by somebody, put aside, or reserved."""
    oldest_s: float
    """Age of the oldest of them; 0 when there is none."""
    by_reason: dict[str, int]
    by_label: dict[str, int]
    """By what the model said; blind ones are left out."""
    by_taxonomy: dict[str, int]
    for_leads: int
    """Escalated ones and disagreements that nobody holds."""
    reserved: int
    """Handed to a reviewer who has not claimed them yet."""
    expired_leases: int
    """Ever."""
    skips: int
    """Ever."""
    damaged: int
    """Tasks that cannot be shown, because they are missing in Valkey or unreadable. They are not part of the depth."""
    decided: int
    """Events remembered as decided."""
    memory_ratio: float
    """Share of Valkey's maxmemory that nothing frees by itself; 0 when that is unlimited."""


def read_figures(reply: list[Any], memory_ratio: float) -> Figures:
    """From the answer of lua/figures.lua."""
    now, depth, claimed, oldest, expired, damaged, decided, skips, for_leads, reserved, *counts = reply
    shares: dict[str, dict[str, int]] = {"r": {}, "l": {}, "t": {}}
    for facet, count in zip(counts[::2], counts[1::2], strict=True):
        if int(count) > 0:
            shares[facet[:1].decode()][facet[1:].decode()] = int(count)
    return Figures(
        depth=depth,
        claimed=claimed,
        oldest_s=(now - float(oldest)) / 1000 if oldest else 0.0,
        by_reason=shares["r"],
        by_label=shares["l"],
        by_taxonomy=shares["t"],
        for_leads=for_leads,
        reserved=reserved,
        expired_leases=expired,
        skips=skips,
        damaged=damaged,
        decided=decided,
        memory_ratio=memory_ratio,
    )
