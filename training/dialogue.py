"""One dialogue as the model sees it: the worker's question about an image, and an answer in the response format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.tiny import END
from worker.reading.prompt import build_prompt
from worker.reading.taxonomy import Taxonomy

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor


def answer_text(reasoning: Mapping[str, str], label: str, confidence: float | None = None) -> str:
    """The response format; `reasoning` holds its five sections in their order, and stage 1 says no confidence."""
    sections = "".join(f"<{name}>{text}</{name}>" for name, text in reasoning.items())
    said = "" if confidence is None else f"<confidence>{confidence:.2f}</confidence>"
    return f"<think>{sections}</think><answer>{label}</answer>{said}"


class Dialogue:
    """Tensors of one question for a batch of images that all have the same size."""

    def __init__(self, processor: Qwen2_5_VLProcessor, taxonomy: Taxonomy) -> None:
        prompt = build_prompt(taxonomy)
        self.processor = processor
        self.tokenizer = processor.tokenizer
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt.user}]},
        ]
        self.question = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        self.taxonomy = taxonomy
        self.label_ids = torch.tensor([self.one_token(label) for label in taxonomy.labels])
        self.answer_id = self.one_token("<answer>")
        self.confidence_id = self.one_token("<confidence>")
        self.pad_id = self.one_token(self.tokenizer.pad_token)
        self.end_id = self.one_token(END)

    def one_token(self, text: str) -> int:
        """The id of a text that the tokenizer knows as a whole.

        Raises:
            ValueError: it is several tokens.
        """
        ids = self.tokenizer(text)["input_ids"]
        if len(ids) != 1:
            raise ValueError(
                f"{text!r} is {len(ids)} tokens; training needs it to be one: make the tokenizer for this prompt"
            )
        return int(ids[0])

    def ask(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """The question about each image (height, width, 3), as the model's inputs; ids are (batch, question)."""
        return dict(self.processor(text=[self.question] * len(images), images=list(images), return_tensors="pt"))

    def tokens(self, answers: Sequence[str]) -> Tensor:
        """The answers with their end, (batch, longest) padded on the right."""
        ids = [torch.tensor([*self.tokenizer(answer)["input_ids"], self.end_id]) for answer in answers]
        return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.pad_id)

    def logits(self, model: Qwen2_5_VLForConditionalGeneration, question: dict[str, Tensor], answers: Tensor) -> Tensor:
        """What the model would say at each token of the answers: (batch, longest, vocabulary)."""
        length = answers.shape[1]
        ids = torch.cat([question["input_ids"], answers], dim=1)
        kinds = torch.nn.functional.pad(question["mm_token_type_ids"], (0, length))
        # Every row has the same question and the same image size, hence the same positions. Padding stands behind the
        # end and is not trained on, so causal attention needs no mask.
        grid = question["image_grid_thw"]
        places, _ = model.model.get_rope_index(ids[:1], mm_token_type_ids=kinds[:1], image_grid_thw=grid[:1])
        hidden = model.model(
            input_ids=ids,
            pixel_values=question["pixel_values"],
            image_grid_thw=grid,
            position_ids=places.expand(-1, len(ids), -1),
            use_cache=False,
        ).last_hidden_state
        logits: Tensor = model.lm_head(hidden[:, -length - 1 : -1])
        return logits

    def generate(
        self, model: Qwen2_5_VLForConditionalGeneration, images: Sequence[NDArray[np.uint8]], max_tokens: int = 64
    ) -> tuple[Tensor, Tensor]:
        """Greedy answers with their end, (batch, longest) padded on the right, and the logits that they came from."""
        question = self.ask(images)
        untyped: Any = model  # the declared arguments of generate() leave out the model's own inputs
        with torch.no_grad():
            said = untyped.generate(
                **question,
                max_new_tokens=max_tokens,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
        return said.sequences[:, question["input_ids"].shape[1] :], torch.stack(said.logits, dim=1)

    def label_id(self, labels: Sequence[str]) -> Tensor:
        """(batch,): the token of each label."""
        return self.label_ids[[self.taxonomy.labels.index(label) for label in labels]]

    def label_places(self, answers: Tensor) -> Tensor:
        """(batch,): where each answer's label stands, just behind `<answer>`; 0 where there is none."""
        return _behind(answers, self.answer_id)

    def number_places(self, answers: Tensor) -> Tensor:
        """(batch,): where the digits of each answer's confidence stand, behind `<confidence>0.`; 1 without one."""
        return _behind(answers, self.confidence_id) + 1

    def label_probabilities(self, logits: Tensor, places: Tensor) -> Tensor:
        """(batch, n_labels): what the model believes of each label at those places, among the labels."""
        return logits[torch.arange(len(places)), places][:, self.label_ids].softmax(dim=1)

    def text(self, answers: Tensor) -> list[str]:
        """The answers as the worker reads them."""
        return [self.tokenizer.decode(ids[(ids != self.pad_id) & (ids != self.end_id)]) for ids in answers]


def _behind(answers: Tensor, token: int) -> Tensor:
    places = torch.arange(answers.shape[1])
    return torch.where(answers == token, places + 1, 0).amax(dim=1).clamp(max=answers.shape[1] - 1)
