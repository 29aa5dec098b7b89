"""Data sets as people have them: images, and files of records about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SECTIONS = ("element", "human", "context", "interaction", "analysis")
MIKELS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")


def photo(number: int) -> Image.Image:
    """Coarse structure that no other number has, 96 x 80: what perceptual hashes tell apart."""
    coarse = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)


def save_photo(path: Path, number: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(number).save(path, **options)
    return path


def answer(label: str, confidence: str | None = None, **sections: str) -> str:
    """The response format; the sections say what they are, unless told."""
    said = "".join(f"<{name}>{sections.get(name, f'the {name}')}</{name}>" for name in SECTIONS)
    number = "" if confidence is None else f"<confidence>{confidence}</confidence>"
    return f"<think>{said}</think><answer>{label}</answer>{number}"


def cot(path: str, text: str | None, **fields: Any) -> dict[str, Any]:
    """A VEC-CoT record, spelled with `messages`."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "<image>Which?"},
    ]
    if text is not None:
        messages.append({"role": "assistant", "content": text})
    return {"messages": messages, "images": [path], **fields}


def bench(image: str, truth: str, task: str = "EmoSet-8", candidates: tuple[str, ...] = MIKELS) -> dict[str, Any]:
    """A VECBench record."""
    question = f"Which emotion might this image evoke? Choose the most likely one from {list(candidates)}."
    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    return {
        "conversations": [{"role": "user", "content": content}],
        "ground_truth": truth,
        "task": task,
        "candidates": list(candidates),
    }


def write_lines(path: Path, *records: dict[str, Any] | bytes) -> Path:
    """JSON Lines; bytes stand as they are."""
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
