"""One dialogue as the model sees it: the worker's question about an image, and an answer in the response format.

Works for any checkpoint of the Qwen-VL kind. The question's tokens are those that the engine is given when the model
serves (`worker.engine.chat`): what is trained is what is served.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from worker.engine.finish import Finish
from worker.reading.prompt import build_prompt
from worker.reading.response import Parsed, parse_response
from worker.reading.taxonomy import Taxonomy

if TYPE_CHECKING:
    from transformers import LogitsProcessorList, PreTrainedModel, Qwen2_5_VLProcessor

IGNORED = -100
"""The label of a token that is not trained on."""
VISUAL = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
"""Never to be sampled: each would be taken for an image that is not there."""


def answer_text(reasoning: Mapping[str, str], label: str, confidence: float | None = None) -> str:
    """The response format; `reasoning` holds its five sections in their order, and stage 1 says no confidence."""
    sections = "".join(f"<{name}>{text}</{name}>" for name, text in reasoning.items())
    return f"<think>{sections}</think><answer>{label}</answer>{confidence_text(confidence)}"


def confidence_text(confidence: float | None) -> str:
    """The last part of an answer: two digits behind the point."""
    return "" if confidence is None else f"<confidence>{confidence:.2f}</confidence>"


class Dialogue:
    """Questions and answers as tensors, for one processor and some taxonomies."""

    def __init__(self, processor: Qwen2_5_VLProcessor, taxonomies: Mapping[str, Taxonomy]) -> None:
        self.processor: Any = processor
        self.tokenizer: Any = self.processor.tokenizer
        self.tokenizer.padding_side = "left"  # what generates
        self.taxonomies = taxonomies
        self.pad_id = int(self.tokenizer.pad_token_id)
        self.end_id = int(self.tokenizer.eos_token_id)
        self.image_id = int(self.tokenizer.convert_tokens_to_ids("<|image_pad|>"))
        self.never = [self.tokenizer.convert_tokens_to_ids(name) for name in VISUAL]
        self._pieces: dict[int, str] = {}
        self._questions = {name: self._question(taxonomy) for name, taxonomy in taxonomies.items()}

    @property
    def factor(self) -> int:
        """What the sides of an image are multiples of, in pixels."""
        vision = self.processor.image_processor
        return int(vision.patch_size * vision.merge_size)

    def messages(self, taxonomy: str) -> list[dict[str, Any]]:
        """The question as a conversation, with a place for its image."""
        prompt = build_prompt(self.taxonomies[taxonomy])
        return [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt.user}]},
        ]

    def conversation(self, taxonomy: str) -> list[dict[str, str]]:
        """The question in words alone, as trainers take it that put the image in themselves."""
        prompt = build_prompt(self.taxonomies[taxonomy])
        return [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, none added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def piece(self, token: int) -> str:
        """The text of one token."""
        if token not in self._pieces:
            self._pieces[token] = str(self.tokenizer.decode([token]))
        return self._pieces[token]

    def ask(self, images: Sequence[NDArray[np.uint8]], taxonomies: Sequence[str]) -> dict[str, Tensor]:
        """The question about each image (height, width, 3), on the model's grid; ids are (batch, longest question)."""
        seen = dict(self.processor.image_processor(images=list(images), return_tensors="pt"))
        merge = self.processor.image_processor.merge_size**2
        questions = []
        for taxonomy, grid in zip(taxonomies, seen["image_grid_thw"].tolist(), strict=True):
            before, after = self._questions[taxonomy]
            visual = [self.image_id] * (grid[0] * grid[1] * grid[2] // merge)
            questions.append(torch.tensor(before + visual + after))
        ids = pad_sequence(questions, batch_first=True, padding_value=self.pad_id, padding_side="left")
        lengths = torch.tensor([len(question) for question in questions])
        mask = (torch.arange(ids.shape[1]) >= ids.shape[1] - lengths[:, None]).long()
        kinds = (ids == self.image_id).long()
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds, **seen}

    def tokens(self, answers: Sequence[str]) -> Tensor:
        """The answers with their end, (batch, longest) padded on the right with IGNORED."""
        ids = [torch.tensor([*self.encode(answer), self.end_id]) for answer in answers]
        return pad_sequence(ids, batch_first=True, padding_value=IGNORED)

    def exchange(
        self, images: Sequence[NDArray[np.uint8]], taxonomies: Sequence[str], answers: Sequence[str]
    ) -> dict[str, Tensor]:
        """Question and answer as a model's inputs: answers stand at the right end, `labels` are theirs alone."""
        inputs = self.ask(images, taxonomies)
        labels = self.tokens(answers)
        said = labels != IGNORED
        inputs["labels"] = torch.cat([torch.full_like(inputs["input_ids"], IGNORED), labels], dim=1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], labels.where(said, self.pad_id)], dim=1)
        inputs["attention_mask"] = torch.cat([inputs["attention_mask"], said.long()], dim=1)
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(labels)], dim=1)
        return inputs

    def generate(
        self,
        model: PreTrainedModel,
        images: Sequence[NDArray[np.uint8]],
        taxonomies: Sequence[str],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        processors: LogitsProcessorList | None = None,
    ) -> Tensor:
        """Answers with their end, (batch, longest) padded on the right.

        Greedy at temperature 0, else sampled from the model's whole distribution.
        """
        question = {name: tensor.to(model.device) for name, tensor in self.ask(images, taxonomies).items()}
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        untyped: Any = model  # the declared arguments of generate() leave out the model's own inputs
        with torch.no_grad():
            said = untyped.generate(
                **question,
                **sampling,
                max_new_tokens=max_tokens,
                suppress_tokens=self.never,
                eos_token_id=[self.end_id, self.pad_id],
                pad_token_id=self.pad_id,
                logits_processor=processors,
            )
        answers: Tensor = said[:, question["input_ids"].shape[1] :]
        return answers

    def text(self, answers: Tensor) -> list[str]:
        """The answers as the worker reads them."""
        return [self.tokenizer.decode(ids[(ids != self.pad_id) & (ids != self.end_id)]) for ids in answers.cpu()]

    def parse(self, text: str, ended: bool, taxonomy: str) -> Parsed | None:
        """The worker's own reading of an answer; None where it would be none."""
        response = parse_response(text, Finish.STOP if ended else Finish.LENGTH, self.taxonomies[taxonomy])
        return response if isinstance(response, Parsed) else None

    def parse_word(self, text: str, ended: bool, taxonomy: str) -> Parsed | None:
        """The same where the answer is one word that is no label of the taxonomy."""
        word = text.partition("<answer>")[2].partition("</answer>")[0].strip(string.punctuation + string.whitespace)
        known = self.taxonomies[taxonomy]
        if not word.isalpha():
            return None
        wider = known.model_copy(update={"labels": (*known.labels, word.lower())})
        response = parse_response(text, Finish.STOP if ended else Finish.LENGTH, wider)
        return response if isinstance(response, Parsed) else None

    def label(self, text: str, taxonomy: str) -> str | None:
        """The label of an answer whose confidence is missing or cannot be read; None where it names none."""
        answer, closing, _ = text.partition("</answer>")
        parsed = self.parse(answer + closing + confidence_text(0.5), True, taxonomy)
        return None if parsed is None else parsed.label

    def _question(self, taxonomy: Taxonomy) -> tuple[list[int], list[int]]:
        """Its tokens before and behind those of the image."""
        text = self.processor.apply_chat_template(
            self.messages(taxonomy.name), add_generation_prompt=True, tokenize=False
        )
        ids = self.encode(text)
        place = ids.index(self.image_id)
        return ids[:place], ids[place + 1 :]
