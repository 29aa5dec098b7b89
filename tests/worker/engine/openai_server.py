"""A small OpenAI-compatible server that answers in the format, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from PIL import Image

from tests.worker.reading.test_response import THINK

MODEL = "fake/emo"
LABELS = ("amusement", "anger", "awe", "sadness")


@dataclass
class OpenAiServer:
    """What it was asked, and what it shall do instead of answering well."""

    owner: str = "vllm"
    status: int = 200
    body: str | None = None
    finish: str = "stop"
    delay_s: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    delayed: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "owned_by": self.owner, "created": 0}]})

    async def complete(self, request: web.Request) -> web.Response:
        question = await request.json()
        self.requests.append(question)
        self.headers.append(dict(request.headers))
        if self.delay_s:
            self.delayed.set()
            try:
                await asyncio.sleep(self.delay_s)
            finally:
                self.given_up.set()
        if self.body is not None or self.status != 200:
            return web.Response(status=self.status, text=self.body or "told to fail")
        drawn = question["seed"] if question["temperature"] > 0.1 else None
        return web.json_response(completion(sent_pixels(question), self.finish, drawn))


def sent_pixels(question: dict[str, Any]) -> NDArray[np.uint8]:
    """The image of a question as the server sees it."""
    url = question["messages"][1]["content"][0]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as image:
        return np.asarray(image)


def completion(pixels: NDArray[np.uint8], finish: str = "stop", seed: int | None = None) -> dict[str, Any]:
    """An answer that depends on the pixels, spelt as Qwen does; with a seed, another label may be drawn."""
    likeliest = LABELS[hashlib.sha256(pixels.tobytes()).digest()[0] % len(LABELS)]
    beliefs = {label: 0.7 if label == likeliest else 0.1 for label in LABELS}
    chosen = likeliest if seed is None else str(np.random.default_rng(seed).choice(LABELS))
    tokens = [THINK, "<", "answer", ">", chosen, "</", "answer", "><", "confidence", ">", "0.85", "</confidence>"]
    content = [{"token": token, "logprob": 0.0, "top_logprobs": []} for token in tokens]
    content[4] |= {
        "logprob": float(np.log(beliefs[chosen])),
        "top_logprobs": [{"token": label, "logprob": float(np.log(belief))} for label, belief in beliefs.items()],
    }
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(tokens)},
        "finish_reason": finish,
        "logprobs": {"content": content},
    }
    return {"choices": [choice], "usage": {"prompt_tokens": 30, "completion_tokens": len(tokens)}}


@asynccontextmanager
async def serving(server: OpenAiServer) -> AsyncIterator[OpenAiServer]:
    """Serve on a free port of 127.0.0.1."""
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/v1"
        yield server
    finally:
        await runner.cleanup()


def error_body(message: str) -> str:
    """An error in the form that such servers give it."""
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "code": 400}})
