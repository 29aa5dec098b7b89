"""The yardstick of `tidegate bench worker`, as a process of its own: vLLM's `LLM.generate`.

Reads a JSON object {"rounds": [[first, count], ...], "one_by_one": [first, count]} of scene numbers from stdin and
prints, in images per second, {"rates": [...], "rates_from_files": [...], "rates_with_probabilities": [...],
"one_by_one": rate}. `rates` times `generate` alone, over images that are decoded and resized already, and asks for text
only; `rates_from_files` adds the decoding, as a script would do it; `rates_with_probabilities` asks for what the worker
asks for: the probabilities of the labels beside the text.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from typing import Any

from deploy.bench.load import SEED
from training.scenes import encode, scene
from worker.engine.vllm import choose_profile, engine_arguments, environment, prepare_question
from worker.intake.decode import decode_image, decode_limits
from worker.reading.prompt import build_prompt
from worker.reading.resize import load_pixel_budget
from worker.reading.taxonomy import load_taxonomies
from worker.settings import EngineSettings, IntakeSettings


def _main() -> None:
    task = json.load(sys.stdin)
    settings = EngineSettings()
    profile = choose_profile(settings.profile, (each.name for each in importlib.metadata.distributions()))
    os.environ.update(environment(settings, profile, len(os.sched_getaffinity(0))))
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)  # as a user of LLM has it
    from vllm import LLM, SamplingParams  # noqa: PLC0415 - after the environment

    from worker.engine.chat import Chat  # noqa: PLC0415

    arguments = engine_arguments(settings, profile)
    arguments.pop("worker_extension_cls")
    llm = LLM(**arguments)
    prompt = build_prompt(load_taxonomies()["scenes"])
    turns = [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt.user}]},
    ]
    text = llm.get_tokenizer().apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    plain = SamplingParams(temperature=settings.temperature, max_tokens=settings.max_tokens)
    full = prepare_question(prompt, Chat(settings.model, settings.revision), profile, settings).free
    limits, budget = decode_limits(IntakeSettings()), load_pixel_budget(settings)

    def measure(first: int, count: int, per_call: int, sampling: SamplingParams = plain) -> tuple[float, float]:
        """Seconds of decoding and resizing, and seconds inside `generate`."""
        files = [encode(scene(SEED, number).image) for number in range(first, first + count)]
        started = time.perf_counter()
        pixels = [decode_image(file, limits, budget).pixels for file in files]
        decoding = time.perf_counter() - started
        asked: list[Any] = [{"prompt": text, "multi_modal_data": {"image": image}} for image in pixels]
        started = time.perf_counter()
        for at in range(0, count, per_call):
            llm.generate(asked[at : at + per_call], sampling, use_tqdm=False)
        return decoding, time.perf_counter() - started

    measure(10**9, 8, 8)  # warm
    rounds = []
    rates_with_probabilities = []
    for first, count in task["rounds"]:
        rounds.append((count, *measure(first, count, count)))
        rates_with_probabilities.append(count / measure(first, count, count, full)[1])
    first, singles = task["one_by_one"]
    result = {
        "rates": [count / generating for count, _, generating in rounds],
        "rates_from_files": [count / (decoding + generating) for count, decoding, generating in rounds],
        "rates_with_probabilities": rates_with_probabilities,
        "one_by_one": singles / measure(first, singles, 1)[1],
    }
    print(json.dumps(result))  # noqa: T201 - this is its result


if __name__ == "__main__":
    _main()
