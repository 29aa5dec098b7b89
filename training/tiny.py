"""The tiny Qwen2.5-VL: about 1.2 million parameters and a tokenizer of its own, made here from nothing.

It has the architecture, the processor files and the chat format of the large one, so that transformers and vLLM load
its folder as they load `wudq/EmoCaliber`. Its tokenizer is byte-level, hence takes any text; what the tiny world says
often is one token each: tags, cue words, labels, two-digit numbers and the sentences of the prompt.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from training.scenes import Cues
from worker.reading.prompt import Prompt

PIXELS = 56 * 56
"""The one image size of the tiny model, in pixels: 4 visual tokens."""
TAGS = tuple(
    f"<{slash}{tag}>"
    for tag in ("think", "element", "human", "context", "interaction", "analysis", "answer", "confidence")
    for slash in ("", "/")
)
END = "<|im_end|>"
PAD = "<|endoftext|>"
SPECIAL = (
    PAD, "<|im_start|>", END, "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
# That of Qwen2.5-VL, without videos.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(prompt: Prompt) -> Tokenizer:
    """A byte-level BPE tokenizer in which every word of the tiny world and every sentence of `prompt` is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"0\.|\d{1,2}| ?\p{L}+| ?[^\s\p{L}\d]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    said = [text for level in np.linspace(-1, 1, 41) for text in Cues(*[float(level)] * 5).reasoning().values()]
    nobody = Cues(0, 0, 0, 0, None).reasoning()["human"]
    numbers = [f"0.{number:02d}" for number in range(100)]
    # Large enough that merging ends only when every word has become one token.
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator([*said, nobody, *prompt.labels, *numbers], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    whole = dict.fromkeys([*TAGS, "system\n", "user\n", "assistant\n", prompt.system, *_sentences(prompt)])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in whole])
    return tokenizer


def _sentences(prompt: Prompt) -> list[str]:
    """The stretches of the prompt between its tags, whole and, for other choices of labels, between its labels."""
    between_tags = [text for text in re.split("|".join(TAGS), prompt.user) if text]
    marks = "|".join(f"(?<=')({label})(?=')" for label in prompt.labels)
    between_labels = [text for text in re.split(marks, between_tags[0]) if text and text not in prompt.labels]
    return between_tags + between_labels


def make_processor(prompt: Prompt) -> Qwen2_5_VLProcessor:
    """Tokenizer, image processor and chat template in one."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(prompt),
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[token for token in SPECIAL if token not in (PAD, END)],
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    size = {"shortest_edge": PIXELS, "longest_edge": PIXELS}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )


def make_model(processor: Qwen2_5_VLProcessor, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """The untrained model in float32, the same for the same seed."""
    token = processor.tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(processor.tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        "tie_word_embeddings": True,
        "bos_token_id": token(PAD),
        "eos_token_id": token(END),
        "pad_token_id": token(PAD),
        "use_cache": True,
    }
    vision = {
        "depth": 2,
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_heads": 4,
        "out_hidden_size": 128,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=token(PAD),
        eos_token_id=[token(END), token(PAD)],
        pad_token_id=token(PAD),
        do_sample=False,
        # A sampled visual token would be taken for an image that is not there.
        suppress_tokens=[token(name) for name in SPECIAL if name not in (PAD, END)],
    )
    return model
