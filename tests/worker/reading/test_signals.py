"""The numbers that go with a reading say what they mean, or are missing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.outcome import ParseStatus
from tests.worker.reading.test_response import TAXONOMY, answer
from worker.engine.protocol import EngineAnswer, Finish
from worker.reading.signals import label_distribution, read_answer


def engine_answer(probabilities: dict[str, float] | None, text: str | None = None, shared: float = 0.0) -> EngineAnswer:
    return EngineAnswer(
        text=answer() if text is None else text,
        finish=Finish.STOP,
        label_probabilities=probabilities,
        prompt_tokens=1,
        output_tokens=1,
        shared_probability=shared,
    )


def test_the_distribution_of_a_reading() -> None:
    reading = read_answer(engine_answer({"awe": 0.6, "anger": 0.2, "sadness": 0.0, "amusement": 0.0}), TAXONOMY)
    signals = reading.signals
    assert reading.label == "awe"
    assert signals.verbal_confidence == 0.85
    assert signals.label_probability == pytest.approx(0.75)
    assert signals.label_margin == pytest.approx(0.5)
    assert signals.label_mass == pytest.approx(0.8)
    assert signals.label_entropy == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert [alternative.label for alternative in reading.alternatives][:2] == ["awe", "anger"]


def test_a_margin_is_negative_when_the_model_wrote_another_label_than_it_believed() -> None:
    reading = read_answer(engine_answer({"awe": 0.1, "anger": 0.9}), TAXONOMY)
    assert reading.label == "awe"
    assert reading.signals.label_margin == pytest.approx(-0.8)


@pytest.mark.parametrize("probabilities", [None, {}, {"awe": 0.0}, {"awe": math.nan}, {"awe": math.inf}, {"awe": -0.1}])
def test_what_is_no_distribution_leaves_its_signals_missing(probabilities: dict[str, float] | None) -> None:
    reading = read_answer(engine_answer(probabilities), TAXONOMY)
    assert reading.signals.parse_status is ParseStatus.OK
    assert reading.signals.label_probability is None
    assert reading.signals.verbal_confidence == 0.85
    assert reading.alternatives == ()


def test_an_answer_that_does_not_parse_keeps_its_text_and_nothing_else() -> None:
    reading = read_answer(engine_answer({"awe": 1.0}, text="I think awe, 0.99"), TAXONOMY)
    assert reading.label is None
    assert reading.raw_answer == "I think awe, 0.99"
    assert reading.signals.model_dump(exclude_none=True) == {"parse_status": ParseStatus.MISSING_TAG}


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1)


@given(st.dictionaries(st.sampled_from([*TAXONOMY.labels, "joy"]), numbers), st.just(0.0) | numbers)
def test_a_distribution_sums_to_one_or_is_none(probabilities: dict[str, float], shared: float) -> None:
    read_answer(engine_answer(probabilities, shared=shared), TAXONOMY)  # no number makes it raise
    distribution = label_distribution(probabilities, shared, TAXONOMY.labels)
    if distribution is not None:
        assert math.isclose(sum(distribution.probabilities.values()) + distribution.shared, 1.0)
        assert 0.0 < distribution.mass <= 1.0


def test_labels_that_share_a_token_count_against_the_answer_but_are_not_listed() -> None:
    reading = read_answer(engine_answer({"awe": 0.5, "anger": 0.1}, shared=0.2), TAXONOMY)
    assert reading.signals.label_probability == pytest.approx(0.625)
    assert reading.signals.label_mass == pytest.approx(0.8)
    assert reading.signals.label_margin is None  # one of the two others may have up to .25
    assert reading.signals.label_entropy is None
    assert [alternative.label for alternative in reading.alternatives] == ["awe", "anger"]


def test_a_margin_is_known_where_no_shared_label_can_be_the_rival() -> None:
    signals = read_answer(engine_answer({"awe": 0.6, "anger": 0.3}, shared=0.1), TAXONOMY).signals
    assert signals.label_margin == pytest.approx(0.3)
    assert signals.label_entropy is None


def test_an_answer_that_shares_its_own_probability_has_none() -> None:
    signals = read_answer(engine_answer({"anger": 0.3}, shared=0.7), TAXONOMY).signals
    assert signals.model_dump(exclude_none=True) == {"parse_status": ParseStatus.OK, "verbal_confidence": 0.85}
