"""The memory of recent events never misses one, and names only days that may hold it."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.ledger.recent import LOOK_BACK_DAYS, RecentIds, hashes

DAY = date(2026, 11, 1)
BATCHES = st.lists(
    st.tuples(st.integers(0, 30), st.lists(st.integers(0, 60).map("event-{}".format), max_size=20, unique=True)),
    max_size=12,
)


@settings(deadline=None)
@given(stored=BATCHES, added=BATCHES, asked_day=st.integers(0, 30), forget=st.booleans())
def test_it_knows_what_a_set_of_ids_knows(
    stored: list[tuple[int, list[str]]], added: list[tuple[int, list[str]]], asked_day: int, forget: bool
) -> None:
    truth: dict[date, set[str]] = {}
    for number, ids in stored:
        truth.setdefault(DAY + timedelta(number), set()).update(ids)
    recent = RecentIds(lambda day: sorted(truth.get(day, set())))
    for number, ids in added:
        at = DAY + timedelta(number)
        recent.days_of(hashes(ids), [at])
        truth.setdefault(at, set()).update(ids)
        recent.add(at, hashes(ids))
    if forget:
        recent.forget()
    day = DAY + timedelta(asked_day)
    near = {day + timedelta(back) for back in range(-LOOK_BACK_DAYS, 2)}
    for number in range(0, 61, 7):
        event = f"event-{number}"
        holding = sorted(each for each in near if event in truth.get(each, set()))
        assert recent.days_of(hashes([event]), [day]) == holding


def test_days_far_back_are_read_anew_when_they_are_needed_again() -> None:
    reads: list[date] = []

    def load(day: date) -> list[str]:
        reads.append(day)
        return ["event"] if day == DAY else []

    recent = RecentIds(load)
    assert recent.days_of(hashes(["event"]), [DAY]) == [DAY]
    for later in range(10, 200):
        recent.days_of(hashes(["other"]), [DAY + timedelta(later)])
    assert len(reads) == len(set(reads))
    assert recent.days_of(hashes(["event"]), [DAY]) == [DAY]
    assert reads.count(DAY) == 2
