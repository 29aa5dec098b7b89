"""One way of logging for every room: structlog, key-value, to stderr; JSON in production."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Literal

import structlog

LogFormat = Literal["auto", "json", "console"]

_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # they hold secrets and whole images


class _OnceInAWhile(logging.Filter):
    """While a broker is away, the Kafka client says the same at every try; said once a minute it is as good."""

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        if not record.name.startswith("kafka."):
            return True
        now = time.monotonic()
        self._said = {line: at for line, at in self._said.items() if now - at < self._seconds}
        line = re.sub(r"\d+(\.\d+)?", "#", record.getMessage())  # ports, pauses
        return self._said.setdefault(line, now) == now


def configure_logs(form: LogFormat = "auto", level: str = "info") -> None:
    """Set up structlog, and send what libraries log through the standard library the same way.

    `auto` is for people on a terminal and JSON elsewhere.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.ExceptionRenderer(_TRACEBACKS), structlog.processors.JSONRenderer()]
    )
    numeric = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    handler.addFilter(_OnceInAWhile())
    # kafka-python calls any pause of its own loop a misuse; on a busy machine that says nothing.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    logging.basicConfig(handlers=[handler], level=max(numeric, logging.WARNING), force=True)
