"""One way of logging for every room: structlog, key-value, to stderr; JSON in production."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["auto", "json", "console"]

_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # they hold secrets and whole images


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
    # kafka-python calls any pause of its own loop a misuse; on a busy machine that says nothing.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    logging.basicConfig(handlers=[handler], level=max(numeric, logging.WARNING), force=True)
