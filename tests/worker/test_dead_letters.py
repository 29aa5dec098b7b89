"""One bad event is nothing; a stream of them stops the worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dead_letters import DeadLetterGuard, DeadLetterShareError


def test_a_bad_deploy_stops_the_worker_long_before_the_topic_is_drained() -> None:
    guard = DeadLetterGuard(share=0.5, window=200)
    for _ in range(1000):
        guard.note(dead=False)
    with pytest.raises(DeadLetterShareError, match="101 of the last 200 events"):
        for _ in range(1000):
            guard.note(dead=True)


def test_it_speaks_after_a_few_events_of_a_fresh_worker_but_not_after_the_first() -> None:
    guard = DeadLetterGuard(share=0.5, window=200)
    for _ in range(19):
        guard.note(dead=True)
    with pytest.raises(DeadLetterShareError, match="20 of the last 20"):
        guard.note(dead=True)


@given(st.lists(st.booleans(), max_size=300), st.floats(0.05, 1), st.integers(10, 60))
def test_it_stops_exactly_when_the_share_over_the_window_is_passed(
    outcomes: list[bool], share: float, window: int
) -> None:
    guard = DeadLetterGuard(share, window)
    for i, dead in enumerate(outcomes):
        last = outcomes[max(0, i + 1 - window) : i + 1]
        passed = dead and len(last) >= max(10, window // 10) and sum(last) > share * len(last)
        if passed:
            with pytest.raises(DeadLetterShareError):
                guard.note(dead=dead)
            return
        guard.note(dead=dead)
