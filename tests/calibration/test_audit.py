"""The audit draw: unbiased, stable, and blind to everything but the event id."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.audit import Audit, draw_audit

keys = st.binary(min_size=16, max_size=32)


@given(keys, st.text(min_size=1), st.floats(0, 1))
def test_the_same_event_is_drawn_the_same_way_again(key: bytes, event_id: str, rate: float) -> None:
    assert draw_audit(key, event_id, rate) == draw_audit(key, event_id, rate)
    assert draw_audit(key, event_id, rate).propensity == rate


@given(keys, st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_rate_only_adds_events(key: bytes, event_id: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert not draw_audit(key, event_id, low).selected or draw_audit(key, event_id, high).selected


@given(keys, st.text(min_size=1))
def test_nothing_at_zero_everything_at_one(key: bytes, event_id: str) -> None:
    assert not draw_audit(key, event_id, 0.0).selected
    assert draw_audit(key, event_id, 1.0).selected


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.5])
def test_the_share_drawn_is_the_propensity(rate: float) -> None:
    n = 20_000
    drawn = sum(draw_audit(b"a key that stays", f"event-{i}", rate).selected for i in range(n))
    assert abs(drawn - n * rate) < 5 * math.sqrt(n * rate * (1 - rate))


def test_draws_under_two_keys_are_independent() -> None:
    n, rate = 20_000, 0.2
    both = sum(
        draw_audit(b"first", f"event-{i}", rate).selected and draw_audit(b"second", f"event-{i}", rate).selected
        for i in range(n)
    )
    assert abs(both - n * rate**2) < 5 * math.sqrt(n * rate**2)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        draw_audit(b"key", "event", rate)


@given(keys, st.text(min_size=1), st.floats(0, 1))
def test_the_draw_does_not_depend_on_what_would_have_become_of_the_event(
    key: bytes, event_id: str, rate: float
) -> None:
    passing, other = (draw_audit(key, event_id, rate, would_pass=passes) for passes in (True, False))
    assert (passing.selected, passing.propensity) == (other.selected, other.propensity)
    assert (passing.would_pass, other.would_pass) == (True, False)


def test_an_audit_of_before_draws_below_the_threshold_is_one_of_a_would_be_accept() -> None:
    assert Audit.model_validate_json('{"selected": true, "propensity": 0.02}').would_pass


def test_weighting_by_the_propensity_gives_the_error_of_all_that_was_drawn_from() -> None:
    """Horvitz-Thompson, over many keys: unbiased, though strata were drawn at different rates."""
    wrong = [number % 7 == 0 for number in range(300)]
    rates = [0.5 if number % 3 else 0.1 for number in range(300)]
    estimates = [
        sum(
            wrong[number] / rates[number]
            for number in range(300)
            if draw_audit(f"key {world}".encode(), f"event-{number}", rates[number]).selected
        )
        / 300
        for world in range(400)
    ]
    error = sum(wrong) / 300
    spread = math.sqrt(sum((each - error) ** 2 for each in estimates) / len(estimates))
    assert abs(sum(estimates) / len(estimates) - error) < 4 * spread / math.sqrt(len(estimates))
