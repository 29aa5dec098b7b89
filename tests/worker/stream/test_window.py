from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.stream.window import Window


@given(
    st.integers(1, 50),
    st.integers(1, 1000),
    st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=200),
)
def test_closes_at_either_limit_and_reopens_below_both_marks(
    max_events: int, max_bytes: int, moves: list[tuple[bool, int]]
) -> None:
    window = Window(max_events, max_bytes)
    inside: list[int] = []
    for enters, size in moves:
        if enters:
            if not window.open.is_set() or window.room == 0:
                continue
            window.enter(1, size)
            inside.append(size)
        elif inside:
            window.leave(inside.pop(0))
        assert window.events == len(inside) <= max_events
        assert window.bytes == sum(inside)
        assert window.room == max_events - len(inside)
        if window.open.is_set():
            assert len(inside) < max_events
            assert sum(inside) < max_bytes
        else:
            assert len(inside) > max_events * 7 // 8 or sum(inside) > max_bytes * 7 // 8
    for size in inside:
        window.leave(size)
    assert window.open.is_set()


def test_while_nothing_is_admitted_it_stays_closed_whatever_leaves() -> None:
    window = Window(8, 1000)
    window.enter(2, 10)
    window.admit(False)
    window.leave(5)
    window.leave(5)
    assert not window.open.is_set()
    window.admit(True)
    assert window.open.is_set()
    window.enter(8, 10)
    window.admit(True)
    assert not window.open.is_set()
