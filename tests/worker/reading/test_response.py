"""Every way in which a model gets its format wrong is a decided case."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.outcome import ParseStatus
from worker.engine.finish import Finish
from worker.reading.response import (
    SECTIONS,
    Parsed,
    ParseFailure,
    Response,
    parse_confidence,
    parse_response,
    response_pattern,
)
from worker.reading.taxonomy import Taxonomy

TAXONOMY = Taxonomy(name="mikels", labels=("amusement", "anger", "awe", "sadness"))
THINK = "<think>" + "".join(f"<{section}>some {section}</{section}>" for section in SECTIONS) + "</think>"


def answer(label: str = "awe", confidence: str = "0.85", think: str = THINK) -> str:
    return f"{think}<answer>{label}</answer><confidence>{confidence}</confidence>"


def parse(text: str, finish: Finish = Finish.STOP) -> Response:
    return parse_response(text, finish, TAXONOMY)


def test_the_format_as_it_should_be() -> None:
    parsed = parse(answer())
    assert isinstance(parsed, Parsed)
    assert (parsed.label, parsed.confidence) == ("awe", 0.85)
    assert parsed.reasoning.interaction == "some interaction"


@pytest.mark.parametrize(
    "text",
    [
        answer("{awe}", "{0.85}"),
        answer("AWE", "0.85"),
        answer(" Awe.\n", " 0.85 "),
        answer("'awe'", ".85"),
        answer("**awe**", "85%"),
        answer("awe", "{85 %}"),
        "\n" + answer().replace("><", ">\n <") + "\n",
        answer().replace("answer>", "ANSWER>"),
        answer(think=re.sub("some [a-z]+", "", THINK)),
    ],
)
def test_what_cannot_change_the_meaning_is_forgiven(text: str) -> None:
    parsed = parse(text)
    assert isinstance(parsed, Parsed)
    assert (parsed.label, parsed.confidence) == ("awe", 0.85)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", ParseStatus.MISSING_TAG),
        ("awe", ParseStatus.MISSING_TAG),
        (THINK, ParseStatus.MISSING_TAG),
        (answer(think=""), ParseStatus.MISSING_TAG),
        (answer().replace("</confidence>", ""), ParseStatus.MISSING_TAG),
        (answer().replace("<human>some human</human>", ""), ParseStatus.MISSING_TAG),
        (answer(think=THINK + THINK), ParseStatus.MISSING_TAG),
        (answer() + "<answer>anger</answer>", ParseStatus.MISSING_TAG),
        (answer("<answer>awe</answer>"), ParseStatus.MISSING_TAG),
        (f"<answer>awe</answer>{THINK}<confidence>0.85</confidence>", ParseStatus.MISSING_TAG),
        (answer(think=THINK.replace("element", "x").replace("human", "element")), ParseStatus.MISSING_TAG),
        (answer().replace("<answer>", "< answer >"), ParseStatus.MISSING_TAG),
        (answer() + " On second thought, anger.", ParseStatus.EXTRA_TEXT),
        ("Sure! " + answer(), ParseStatus.EXTRA_TEXT),
        (answer().replace("<answer>", "so <answer>"), ParseStatus.EXTRA_TEXT),
        (answer().replace("<element>", "well <element>"), ParseStatus.EXTRA_TEXT),
        (answer("joy"), ParseStatus.UNKNOWN_LABEL),
        (answer(""), ParseStatus.UNKNOWN_LABEL),
        (answer("awe, anger"), ParseStatus.UNKNOWN_LABEL),
        (answer("awe or anger"), ParseStatus.UNKNOWN_LABEL),
        (answer("not awe"), ParseStatus.UNKNOWN_LABEL),
        (answer("your final answer"), ParseStatus.UNKNOWN_LABEL),
        (answer(confidence=""), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="high"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="nan"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="inf"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="1.2"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="-0.1"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="85"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="185%"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="0,85"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="8.5e-1"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="0.85 0.9"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="0.8-0.9"), ParseStatus.BAD_CONFIDENCE),
        (answer(confidence="٠.٨"), ParseStatus.BAD_CONFIDENCE),
    ],
)
def test_what_could_change_the_meaning_is_a_named_failure(text: str, status: ParseStatus) -> None:
    failure = parse(text)
    assert isinstance(failure, ParseFailure)
    assert failure.status is status
    assert failure.why


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.", 0.0), ("100%", 1.0), ("0%", 0.0)]
)
def test_the_ends_of_the_scale_are_numbers_too(text: str, value: float) -> None:
    assert parse_confidence(text) == value


@pytest.mark.parametrize(
    ("finish", "status"),
    [
        (Finish.LENGTH, ParseStatus.TRUNCATED),
        (Finish.ABORT, ParseStatus.ABORTED),
        (Finish.REPETITION, ParseStatus.ABORTED),
        (Finish.ERROR, ParseStatus.ABORTED),
    ],
)
def test_an_answer_that_did_not_end_by_itself_is_none_however_whole_it_looks(
    finish: Finish, status: ParseStatus
) -> None:
    failure = parse(answer(), finish)
    assert isinstance(failure, ParseFailure)
    assert failure.status is status


pieces = st.sampled_from(
    [f"<{slash}{tag}>" for tag in (*SECTIONS, "think", "answer", "confidence") for slash in ("", "/")]
    + ["awe", "0.85", "{", "}", " ", "%", "NaN", "1e5", "İ", "\x00"]
)


@given(st.text() | st.lists(pieces, max_size=40).map("".join), st.sampled_from(Finish))
def test_no_text_makes_it_raise_and_nothing_but_the_format_parses(text: str, finish: Finish) -> None:
    response = parse(text, finish)
    if isinstance(response, Parsed):
        assert finish is Finish.STOP
        assert response.label in TAXONOMY.labels
        assert 0.0 <= response.confidence <= 1.0
        assert all(text.lower().count(f"<{tag}>") == 1 for tag in (*SECTIONS, "think", "answer", "confidence"))


@given(st.data())
def test_whatever_the_grammar_allows_parses(data: Any) -> None:
    text = data.draw(st.from_regex(response_pattern(TAXONOMY.labels), fullmatch=True))
    assert isinstance(parse(text), Parsed)


def test_a_long_answer_takes_no_longer_than_its_length() -> None:
    for filler in ("<", "<think>", "{" * 10, "<answer", " "):
        assert isinstance(parse(filler * 200_000), ParseFailure)
