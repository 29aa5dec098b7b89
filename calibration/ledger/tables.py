"""A set of tables, and the small duties that concern each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from calibration.ledger.columns import DECISIONS, REJECTED, VERDICTS
from calibration.ledger.place import LedgerError, LedgerState, Place
from calibration.ledger.store import DeltaStore
from calibration.settings import LedgerSettings


@dataclass(frozen=True)
class Tables:
    """The tables of one set. For one thread."""

    decisions: DeltaStore
    verdicts: DeltaStore
    rejected: DeltaStore

    @classmethod
    def of(cls, place: Place, name: str) -> Self:
        """Those of a set; none is opened yet."""
        return cls(
            decisions=DeltaStore(place, [name, "decisions"], DECISIONS, "decided_at"),
            verdicts=DeltaStore(place, [name, "verdicts"], VERDICTS, "given_at"),
            rejected=DeltaStore(place, [name, "rejected"], REJECTED, "appended_at"),
        )

    def open(self, *, create: bool = True) -> Self:
        """Open the newest version of each.

        Raises:
            LedgerError: one is missing and shall not be created, or has other columns.
        """
        for store in self:
            store.open(create=create)
        return self

    def __iter__(self) -> Iterator[DeltaStore]:
        return iter((self.decisions, self.verdicts, self.rejected))


def required_state(place: Place) -> LedgerState:
    """What is in force.

    Raises:
        LedgerError: there is no ledger.
    """
    return required(place.state(), place)


def required(state: LedgerState | None, place: Place) -> LedgerState:
    """The state, which must be there.

    Raises:
        LedgerError: there is no ledger.
    """
    if state is None:
        raise LedgerError(f"there is no ledger at {place.address}: `tidegate ledger sync` makes one")
    return state


def sets_in_use(place: Place, state: LedgerState) -> list[Tables]:
    """The set in force, and the one that a rebuild is making."""
    return [Tables.of(place, name) for name in (state.tables, state.rebuilding) if name is not None]


def compact(settings: LedgerSettings) -> dict[str, tuple[int, int]]:
    """Join the small files of each table; for each, files joined and files that came of it.

    Raises:
        LedgerError: there is no ledger.
    """
    place = Place(settings)
    done: dict[str, tuple[int, int]] = {}
    for store in Tables.of(place, required_state(place).tables):
        with place.writing():
            store.open()
            done[store.name] = store.compact()
    return done
