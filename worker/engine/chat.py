"""A checkpoint's own chat template and tokenizer: questions into tokens, tokens into text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoProcessor

from worker.engine.candidates import BranchingTokens, branching_tokens
from worker.reading.prompt import Prompt


class Chat:
    """The processor of one checkpoint, a folder or a name on the hub."""

    def __init__(self, model: str, revision: str | None) -> None:
        self._processor: Any = AutoProcessor.from_pretrained(model, revision=revision)
        self._tokenizer = self._processor.tokenizer
        self._pieces: dict[int, str] = {}

    def question(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt, with one placeholder for its image."""
        turns = [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt.user}]},
        ]
        return self.encode(self._processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    def branching(self, labels: Sequence[str]) -> BranchingTokens:
        """The tokens that tell the labels apart."""
        return branching_tokens(self.encode, labels)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, none added."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False))

    def piece(self, token: int) -> str:
        """The text of one token; a replacement character where it is only part of a character."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.decode([token])
        return piece
