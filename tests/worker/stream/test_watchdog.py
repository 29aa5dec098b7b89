from __future__ import annotations

from kafka import TopicPartition

from worker.stream.assignment import Assignment
from worker.stream.watchdog import Sighting, Watchdog

_A = Assignment(TopicPartition("images", 3))


def _seen(position: int | None, behind: int = 5, *, waiting: bool = False, assignment: Assignment = _A) -> Sighting:
    return Sighting(assignment=assignment, position=position, behind=behind, waiting=waiting)


def test_a_partition_that_is_behind_and_frozen_is_named_once_and_again_when_it_moves() -> None:
    dog = Watchdog(warn_s=60)
    assert dog.look(0, [_seen(7)], finished=0) == ([], [])
    assert dog.look(59, [_seen(7)], finished=0) == ([], [])
    assert dog.look(60, [_seen(7)], finished=9) == ([_seen(7)], [])  # others finish, but this one is not waiting
    assert dog.look(61, [_seen(7)], finished=9) == ([], [])
    assert dog.stalled(90) == {_A: 90}
    assert dog.look(91, [_seen(8)], finished=9) == ([], [_seen(8)])
    assert dog.stalled(92) == {}


def test_an_idle_partition_is_not_frozen() -> None:
    dog = Watchdog(warn_s=60)
    for now in range(0, 600, 30):
        assert dog.look(now, [_seen(7, behind=0)], finished=0) == ([], [])


def test_unknown_position_counts_as_frozen() -> None:
    dog = Watchdog(warn_s=60)
    dog.look(0, [_seen(None, behind=1)], finished=0)
    assert dog.look(60, [_seen(None, behind=1)], finished=0)[0]


def test_waiting_for_others_is_not_frozen_until_they_freeze_too() -> None:
    dog = Watchdog(warn_s=60)
    for now in range(0, 300, 30):
        assert dog.look(now, [_seen(7, waiting=True)], finished=now) == ([], [])
    assert dog.look(330, [_seen(7, waiting=True)], finished=270)[0]


def test_a_partition_that_came_back_starts_afresh() -> None:
    dog = Watchdog(warn_s=60)
    dog.look(0, [_seen(7)], finished=0)
    assert dog.look(100, [_seen(7, assignment=Assignment(TopicPartition("images", 3)))], finished=0) == ([], [])
    assert dog.look(200, [], finished=0) == ([], [])
    assert dog.look(300, [_seen(7)], finished=0) == ([], [])
