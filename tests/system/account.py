"""What came out of whole workers, record by record."""

from __future__ import annotations

from deploy.outcomes import Tally
from worker.events import DeadLetter, Decision

Outcome = Decision | DeadLetter
Place = tuple[int, int]
"""Partition and offset of a record of the images topic."""


class Account(Tally):
    """All outcomes, by the place of the record that they are about."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[Place, list[Outcome]] = {}

    def decide(self, decision: Decision) -> None:
        super().decide(decision)
        self._enter(decision)

    def bury(self, letter: DeadLetter) -> None:
        super().bury(letter)
        self._enter(letter)

    def _enter(self, outcome: Outcome) -> None:
        self.outcomes.setdefault((outcome.position.partition, outcome.position.offset), []).append(outcome)

    @property
    def all(self) -> list[Outcome]:
        """Every outcome, repeats included."""
        return [outcome for outcomes in self.outcomes.values() for outcome in outcomes]

    @property
    def repeats(self) -> int:
        """Outcomes beyond the first of each record."""
        return len(self.all) - len(self.outcomes)

    def of(self, event_id: str) -> Outcome:
        """The only outcome of an event that was sent once."""
        (outcome,) = [each for each in self.all if each.event_id == event_id]
        return outcome


def said(outcome: Outcome) -> tuple[object, ...]:
    """What two outcomes of one event must have in common."""
    if isinstance(outcome, DeadLetter):
        return outcome.event_id, outcome.reason, outcome.original
    return outcome.event_id, outcome.label, outcome.route, outcome.reason, outcome.signals, outcome.audit
