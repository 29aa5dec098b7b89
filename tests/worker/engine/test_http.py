"""An OpenAI-compatible server as the engine: what is sent, and what each way of failing means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
from pydantic import SecretStr

from tests.worker.engine.openai_server import LABELS, MODEL, OpenAiServer, error_body, sent_pixels, serving
from worker.engine.finish import Finish
from worker.engine.http import HttpEngine
from worker.engine.protocol import EngineBusyError, EngineDeadError, EngineRequest, RequestRejectedError
from worker.reading.prompt import build_prompt
from worker.reading.response import response_pattern
from worker.reading.taxonomy import Taxonomy
from worker.settings import EngineSettings

TAXONOMY = Taxonomy(name="moods", labels=LABELS)
TAXONOMIES = {"moods": TAXONOMY}
PIXELS = np.arange(56 * 84 * 3, dtype=np.uint32).reshape(56, 84, 3).astype(np.uint8)


def request(*, constrained: bool = False) -> EngineRequest:
    return EngineRequest("r1", build_prompt(TAXONOMY), PIXELS, "k1", constrained=constrained)


def settings(url: str, **fields: object) -> EngineSettings:
    defaults: dict[str, object] = {"kind": "http", "url": url, "model": MODEL, "revision": "7", "answer_timeout_s": 5.0}
    return EngineSettings.model_validate(defaults | fields)


@pytest.fixture
async def server() -> AsyncIterator[OpenAiServer]:
    async with serving(OpenAiServer()) as running:
        yield running


@pytest.fixture
async def engine(server: OpenAiServer) -> AsyncIterator[HttpEngine]:
    engine = HttpEngine(settings(server.url), TAXONOMIES)
    try:
        await engine.start()
        server.requests.clear()
        yield engine
    finally:
        await engine.close()


async def test_the_very_pixels_are_sent_with_the_prompt_of_the_model_card(
    engine: HttpEngine, server: OpenAiServer
) -> None:
    answer = await engine.answer(request())
    (question,) = server.requests
    assert np.array_equal(sent_pixels(question), PIXELS)
    prompt = build_prompt(TAXONOMY)
    assert question["messages"][0] == {"role": "system", "content": prompt.system}
    assert question["messages"][1]["content"][1] == {"type": "text", "text": prompt.user}
    assert (question["model"], question["temperature"], question["top_logprobs"]) == (MODEL, 0.0, 8)
    assert answer.label_probabilities is not None
    assert sorted(answer.label_probabilities.values()) == pytest.approx([0.1, 0.1, 0.1, 0.7])
    assert (answer.prompt_tokens, answer.output_tokens) == (30, 12)
    assert engine.model_version == f"{MODEL}@7"


async def test_a_drawn_answer_is_asked_for_with_temperature_and_seed(engine: HttpEngine, server: OpenAiServer) -> None:
    drawn = [replace(request(), request_id=name, temperature=0.7) for name in ("a", "b", "a")]
    for each in (*drawn, replace(drawn[0], seed=11), request()):
        await engine.answer(each)
    assert [question["temperature"] for question in server.requests] == [0.7, 0.7, 0.7, 0.7, 0.0]
    one, other, again, given = [question["seed"] for question in server.requests[:4]]
    assert one == again != other
    assert given == 11
    assert all(0 <= seed < 2**31 for seed in (one, other))
    assert "seed" not in server.requests[4]  # some servers know none, and greedy answers need none


@pytest.mark.parametrize(("owner", "field"), [("vllm", "structured_outputs"), ("sglang", "regex"), ("acme", None)])
async def test_a_constrained_question_names_the_grammar_where_the_server_knows_one(
    owner: str, field: str | None
) -> None:
    async with serving(OpenAiServer(owner=owner)) as server:
        engine = HttpEngine(settings(server.url), TAXONOMIES)
        await engine.start()
        await engine.answer(request(constrained=True))
        await engine.close()
    grammar = {name: value for name, value in server.requests[-1].items() if name in ("structured_outputs", "regex")}
    pattern = response_pattern(LABELS)
    assert grammar == ({} if field is None else {field: pattern if field == "regex" else {"regex": pattern}})


async def test_the_key_is_sent(server: OpenAiServer) -> None:
    engine = HttpEngine(settings(server.url, api_key=SecretStr("s3cret")), TAXONOMIES)
    await engine.start()
    await engine.close()
    assert server.headers[-1]["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRejectedError),
        (413, RequestRejectedError),
        (422, RequestRejectedError),
        (408, EngineBusyError),
        (429, EngineBusyError),
        (500, EngineBusyError),
        (502, EngineBusyError),
        (503, EngineBusyError),
        (302, EngineBusyError),
        (401, EngineDeadError),
        (403, EngineDeadError),
        (404, EngineDeadError),
    ],
)
async def test_what_each_status_means(
    engine: HttpEngine, server: OpenAiServer, status: int, kind: type[Exception]
) -> None:
    server.status, server.body = status, error_body("the image is too large")
    with pytest.raises(kind, match=f"answers {status}: .*the image is too large"):
        await engine.answer(request())


@pytest.mark.parametrize("body", ["", "null", "{}", '{"choices": []}', '{"choices": [{"message": 3}]}', "<html>"])
async def test_an_answer_that_is_none_is_worth_another_try(engine: HttpEngine, server: OpenAiServer, body: str) -> None:
    server.body = body
    with pytest.raises(EngineBusyError):
        await engine.answer(request())


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("length", Finish.LENGTH), ("abort", Finish.ABORT), ("content_filter", Finish.ERROR), ("stop", Finish.STOP)],
)
async def test_why_the_server_stopped_is_kept(
    engine: HttpEngine, server: OpenAiServer, reason: str, finish: Finish
) -> None:
    server.finish = reason
    assert (await engine.answer(request())).finish is finish


async def test_a_slow_server_is_busy(server: OpenAiServer) -> None:
    hasty = HttpEngine(settings(server.url, answer_timeout_s=0.2), TAXONOMIES)
    await hasty.start()
    server.delay_s = 30.0
    with pytest.raises(EngineBusyError, match="timed out"):
        await hasty.answer(request())
    await hasty.close()


async def test_a_cancelled_question_is_given_up_by_the_server(engine: HttpEngine, server: OpenAiServer) -> None:
    server.delay_s = 30.0
    task = asyncio.create_task(engine.answer(request()))
    async with asyncio.timeout(5):
        await server.delayed.wait()
        task.cancel()
        await server.given_up.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_server_that_goes_away_is_busy_until_somebody_loses_patience() -> None:
    async with serving(OpenAiServer()) as server:
        engine = HttpEngine(settings(server.url), TAXONOMIES)
        await engine.start()
    with pytest.raises(EngineBusyError, match=r"127\.0\.0\.1"):
        await engine.answer(request())
    await engine.check_health()
    await engine.close()
    with pytest.raises(EngineDeadError):
        await engine.answer(request())


async def test_a_server_that_is_not_there_at_the_start_is_named_with_what_to_do(free_port: int) -> None:
    engine = HttpEngine(settings(f"http://127.0.0.1:{free_port}/v1"), TAXONOMIES)
    with pytest.raises(EngineDeadError, match=rf"127\.0\.0\.1:{free_port}.*start it, or correct TIDEGATE_ENGINE_URL"):
        await engine.start()
    await engine.close()


async def test_a_model_that_is_not_served_is_named_with_those_that_are(server: OpenAiServer) -> None:
    engine = HttpEngine(settings(server.url, model="wudq/EmoCaliber"), TAXONOMIES)
    with pytest.raises(EngineDeadError, match=f"serves {MODEL}, not wudq/EmoCaliber"):
        await engine.start()
    await engine.close()


async def test_a_server_that_refuses_the_first_question_is_no_engine(server: OpenAiServer) -> None:
    server.status, server.body = 400, error_body("logprobs are not supported")
    engine = HttpEngine(settings(server.url), TAXONOMIES)
    with pytest.raises(EngineDeadError, match=r"does not answer: .*logprobs are not supported"):
        await engine.start()
    await engine.close()
