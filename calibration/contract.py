"""What every contract between rooms has in common."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A frozen message. Readers ignore fields they do not know, so that rooms can be rolled out one by one."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")


class Versioned(Contract):
    """A contract that stands alone as a record on a topic. A reader refuses a version it does not know."""

    schema_version: Literal[1] = 1
