from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.stream.offsets import OffsetTracker


@st.composite
def _histories(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Offsets received in ascending order with gaps, each done at any later time or never."""
    history: list[tuple[str, int]] = []
    open_offsets: list[int] = []
    offset = draw(st.integers(0, 1000))
    for _ in range(draw(st.integers(0, 40))):
        ends = draw(st.integers(0, 2 * len(open_offsets)))
        if ends < len(open_offsets):
            history.append(("done", open_offsets.pop(ends)))
        else:
            history.append(("received", offset))
            open_offsets.append(offset)
            offset += draw(st.integers(1, 3))
    return history


@given(_histories())
def test_commits_the_contiguous_done_prefix(history: list[tuple[str, int]]) -> None:
    tracker = OffsetTracker()
    received: list[int] = []
    done: set[int] = set()
    before: int | None = None
    for what, offset in history:
        if what == "received":
            tracker.received(offset)
            received.append(offset)
        else:
            tracker.done(offset)
            done.add(offset)
        prefix = 0
        while prefix < len(received) and received[prefix] in done:
            prefix += 1
        committable = tracker.committable
        assert committable == (received[prefix] if prefix < len(received) else received[-1] + 1)
        assert all(each in done for each in received if each < committable)
        assert before is None or committable >= before
        before = committable
        assert tracker.oldest == (received[prefix] if prefix < len(received) else None)


@given(_histories(), st.integers(0, 40))
def test_nothing_is_committed_after_the_end(history: list[tuple[str, int]], cut: int) -> None:
    tracker = OffsetTracker()
    for at, (what, offset) in enumerate(history):
        if at == cut:
            tracker.end()
        if what == "done":
            tracker.done(offset)
        elif at < cut:
            tracker.received(offset)
        if at >= cut:
            assert tracker.committable is None


def test_a_log_that_was_cut_back_rewinds() -> None:
    tracker = OffsetTracker()
    for offset in (5, 6):
        tracker.received(offset)
        tracker.done(offset)
    tracker.received(3)
    assert tracker.committable == 3
    tracker.done(3)
    assert tracker.committable == 4


def test_an_offset_in_flight_cannot_come_again() -> None:
    tracker = OffsetTracker()
    tracker.received(5)
    with pytest.raises(ValueError, match="offset 5 came again"):
        tracker.received(5)


def test_nothing_received_is_nothing_to_commit() -> None:
    tracker = OffsetTracker()
    assert tracker.committable is None
    assert tracker.oldest is None
