"""An OpenAI-compatible server as the engine: an existing vLLM or SGLang fleet.

The server must keep images as they are sent, which are already on the model's grid. A retry under a grammar
needs a server that says it is vLLM or SGLang; from any other, the second answer is as free as the first.
"""

from __future__ import annotations

import asyncio
import base64
import io
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, ValidationError

from calibration.contract import Contract
from worker.engine.candidates import CandidateProbabilities, candidate_probabilities
from worker.engine.finish import Finish
from worker.engine.protocol import (
    EngineAnswer,
    EngineBusyError,
    EngineDeadError,
    EngineError,
    EngineRequest,
    RequestRejectedError,
    draw_seed,
)
from worker.engine.warm_up import warm_up
from worker.reading.prompt import Prompt
from worker.reading.response import response_pattern
from worker.reading.taxonomy import Taxonomy
from worker.settings import EngineSettings

log = structlog.get_logger()

_MOST_LOGPROBS = 20  # that the API allows
_MORE_THAN_LABELS = 4  # tokens that are no label's, or begin several
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_NOT_FOR_US = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
"""Every request would meet these: no event is at fault."""


class _Model(Contract):
    id: str
    owned_by: str = ""
    root: str | None = None


class _Models(Contract):
    data: tuple[_Model, ...]


class _Token(Contract):
    token: str
    logprob: float
    top_logprobs: tuple[_Token, ...] = ()


class _Logprobs(Contract):
    content: tuple[_Token, ...] | None = None


class _Message(Contract):
    content: str | None = None


class _Choice(Contract):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(Contract):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(Contract):
    choices: tuple[_Choice, ...] = Field(min_length=1)
    usage: _Usage = _Usage()


class HttpEngine:
    """One model behind one address. See `Engine` for what its methods promise."""

    def __init__(self, settings: EngineSettings, taxonomies: Mapping[str, Taxonomy]) -> None:
        self._settings = settings
        self._taxonomies = taxonomies
        self._session: aiohttp.ClientSession | None = None
        self._model: _Model | None = None

    @property
    def model_version(self) -> str:
        """The served name at TIDEGATE_ENGINE_REVISION, which operators change together with the server's weights."""
        return f"{self._settings.model}@{self._settings.revision or 'unversioned'}"

    async def start(self) -> None:
        """Find the model among those that are served, and have it answer a question about a grey image."""
        key = self._settings.api_key
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # how many are in flight is the caller's business
            timeout=aiohttp.ClientTimeout(total=self._settings.answer_timeout_s),
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
        )
        try:
            served = _Models.model_validate_json(await self._call("GET", "models")).data
        except (EngineError, ValidationError) as error:
            raise EngineDeadError(
                f"no OpenAI-compatible server answers at {self._settings.url}: {error}; "
                "start it, or correct TIDEGATE_ENGINE_URL and TIDEGATE_ENGINE_API_KEY"
            ) from error
        self._model = next((model for model in served if model.id == self._settings.model), None)
        if self._model is None:
            names = ", ".join(model.id for model in served) or "nothing"
            raise EngineDeadError(
                f"{self._settings.url} serves {names}, not {self._settings.model}: correct TIDEGATE_ENGINE_MODEL"
            )
        if self._settings.revision is None:
            log.warning("TIDEGATE_ENGINE_REVISION is not set: readings are reused even if the server's weights change")
        await warm_up(self, self._settings, self._taxonomies)

    async def answer(self, request: EngineRequest) -> EngineAnswer:
        """Answer one question; see `Engine`. Cancelling closes the connection, at which servers abort."""
        image = await asyncio.to_thread(_data_url, request.image)
        body = await self._call("POST", "chat/completions", self._question(request, image))
        try:
            completion = _Completion.model_validate_json(body)
        except ValidationError as error:
            raise EngineBusyError(f"request {request.request_id}: not a chat completion: {error}") from error
        choice = completion.choices[0]
        candidates = _candidates(choice.logprobs, request.prompt)
        return EngineAnswer(
            text=choice.message.content or "",
            finish=_finish(choice.finish_reason),
            label_probabilities=candidates.known if candidates else None,
            shared_probability=candidates.shared if candidates else 0.0,
            prompt_tokens=completion.usage.prompt_tokens,
            output_tokens=completion.usage.completion_tokens,
        )

    async def check_health(self) -> None:
        """Raise EngineDeadError if this engine is closed. A server that is away may come back: it counts as busy."""
        self._open_session()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise EngineDeadError("the HTTP engine is not running")
        return self._session

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        session = self._open_session()
        try:
            url = f"{self._settings.url.rstrip('/')}/{path}"
            async with session.request(method, url, json=body, allow_redirects=False) as response:
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            await self.check_health()  # closed meanwhile, by us
            raise EngineBusyError(f"{self._settings.url}: {str(error) or 'timed out'}") from error
        if status == HTTPStatus.OK:
            return content
        why = f"{self._settings.url}/{path} answers {status}: {content[:300].decode(errors='replace')}"
        if status in _NOT_FOR_US:
            raise EngineDeadError(f"{why}; check TIDEGATE_ENGINE_URL, _API_KEY and _MODEL")
        if 400 <= status < 500 and status not in _PASSING:
            raise RequestRejectedError(why)
        raise EngineBusyError(why)

    def _question(self, request: EngineRequest, image: str) -> dict[str, Any]:
        prompt = request.prompt
        temperature = self._settings.temperature if request.temperature is None else request.temperature
        question = {
            "model": self._settings.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": image}},
                        {"type": "text", "text": prompt.user},
                    ],
                },
            ],
            "temperature": temperature,
            "max_tokens": self._settings.max_tokens,
            "logprobs": True,
            "top_logprobs": min(_MOST_LOGPROBS, len(prompt.labels) + _MORE_THAN_LABELS),
        }
        if temperature > 0.0:
            question["seed"] = draw_seed(request)
        owner = self._model.owned_by if self._model else ""
        if request.constrained and owner == "vllm":
            question["structured_outputs"] = {"regex": response_pattern(prompt.labels)}
        elif request.constrained and owner == "sglang":
            question["regex"] = response_pattern(prompt.labels)
        return question


def _data_url(image: NDArray[np.uint8]) -> str:
    """The very pixels, without loss."""
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(png.getbuffer()).decode()}"


def _finish(reason: str | None) -> Finish:
    try:
        return Finish(reason or "error")
    except ValueError:  # content_filter, tool_calls
        return Finish.ERROR


def _candidates(logprobs: _Logprobs | None, prompt: Prompt) -> CandidateProbabilities | None:
    if logprobs is None or not logprobs.content:
        return None
    tokens = logprobs.content

    def alternatives(index: int) -> dict[str, float]:
        return {token.token: math.exp(token.logprob) for token in (*tokens[index].top_logprobs, tokens[index])}

    return candidate_probabilities([token.token for token in tokens], alternatives, prompt.labels)
