"""Alpha against the reference implementation and its own meaning; shares with honest intervals."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.agreement import CANNOT_TELL, Said, agreement, reviewers, share

answers = st.lists(
    st.dictionaries(st.sampled_from(["ada", "bob", "eve"]), st.sampled_from(["awe", "fear", CANNOT_TELL])), max_size=30
)


def alpha(given: list[dict[str, str]]) -> float | None:
    found = agreement(given, np.random.default_rng(0)).alpha
    return None if found is None else found.value


@given(answers)
def test_alpha_is_that_of_the_reference(given: list[dict[str, str]]) -> None:
    ours = alpha(given)
    paired = [unit for unit in given if len(unit) > 1]
    said = {label for unit in paired for label in unit.values()}
    if not paired or len(said) < 2:
        assert ours is None
        return
    codes = {label: code for code, label in enumerate(sorted(said))}
    data = np.array([[codes.get(unit.get(who, ""), np.nan) for unit in paired] for who in ("ada", "bob", "eve")])
    theirs = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal", value_domain=[*codes.values()])
    assert ours == pytest.approx(theirs)


def test_perfect_agreement_is_one_and_chance_is_nothing() -> None:
    rng = np.random.default_rng(1)
    labels = ["awe", "fear", "anger"]
    same = [dict.fromkeys(["ada", "bob"], labels[at % 3]) for at in range(60)]
    assert alpha(same) == 1.0
    random = [{"ada": str(rng.choice(labels)), "bob": str(rng.choice(labels))} for _ in range(3000)]
    found = agreement(random, rng)
    assert found.events == 3000
    assert found.alpha is not None
    assert found.alpha.low < 0.0 < found.alpha.high
    assert found.alpha.high - found.alpha.low < 0.12
    assert [count for *_, count in found.confused] == sorted((count for *_, count in found.confused), reverse=True)


def test_reviewers_beside_each_other() -> None:
    said = {
        "one": [Said("ada", "awe", 2.0), Said("bob", "awe", 4.0)],
        "two": [Said("ada", "awe", 4.0), Said("bob", "fear", 5.0)],
        "three": [Said("ada", CANNOT_TELL, 9.0)],
    }
    ada, bob, eve = reviewers(said, {"two": "fear"}, {"ada": [True, False], "eve": [True]})
    assert (eve.answers, eve.checked, eve.agreeing) == (0, 1, None)
    assert ada.right is not None
    assert ada.right.value == 0.5
    assert (ada.answers, ada.shared, ada.adjudicated, ada.median_s) == (3, 2, 1, 4.0)
    assert (bob.answers, bob.shared, bob.cannot_tell) == (2, 2, 0.0)
    assert ada.agreeing is not None
    assert ada.agreeing.value == 0.5
    assert ada.upheld is not None
    assert bob.upheld is not None
    assert (ada.upheld.value, bob.upheld.value) == (0.0, 1.0)
    assert ada.cannot_tell == pytest.approx(1 / 3)


def test_few_checks_say_little() -> None:
    found = share([True] * 5 + [False])
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((5 / 6, 0.3588, 0.9958), abs=1e-3)
    assert share([]) is None
