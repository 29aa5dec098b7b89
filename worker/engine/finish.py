"""Why an engine stopped writing."""

from __future__ import annotations

from enum import StrEnum


class Finish(StrEnum):
    """Only `stop` can become a reading."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    REPETITION = "repetition"
    ERROR = "error"
