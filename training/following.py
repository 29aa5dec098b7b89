"""A stage's metrics as it runs: on the bar, and every logged number as a line of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.progress import progress

_SHOWN = ("loss", "reward", "mean_token_accuracy", "number_loss", "brier", "kl")


class StageProgress(TrainerCallback):
    """The bar of one stage, and its metrics.jsonl. For the process that speaks."""

    def __init__(self, title: str, metrics: Path) -> None:
        self._title, self._metrics = title, metrics
        self._context: Any = None
        self._report: Callable[[int, str], None] = lambda done, word: None
        self._word = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw the bar."""
        self._context = progress(self._title, state.max_steps)
        self._report = self._context.__enter__()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move it."""
        self._report(state.global_step, self._word)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the numbers; what is not finite is null."""
        numbers = {name: _finite(value) for name, value in (logs or {}).items()}
        self._word = ", ".join(f"{name} {numbers[name]:.3f}" for name in _SHOWN if numbers.get(name) is not None)
        self._metrics.parent.mkdir(parents=True, exist_ok=True)
        with self._metrics.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": state.global_step, **numbers}) + "\n")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the bar away."""
        if self._context is not None:
            self._context.__exit__(None, None, None)


def _finite(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float | str) else math.nan
    return number if math.isfinite(number) else None
