"""Every setting of every room: which values cannot be used, which names are none, and what each means."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError
from rich.markup import escape
from rich.table import Table

from calibration.loop.settings import LoopSettings
from calibration.settings import KafkaSettings, LedgerSettings
from deploy.finding import Finding, public
from review.access.settings import AccessSettings, OidcSettings
from review.settings import ConsoleSettings, ReviewSettings, ValkeySettings
from worker.settings import (
    EngineSettings,
    GateSettings,
    IntakeSettings,
    SecondLookSettings,
    ServingSettings,
    StreamSettings,
)

ALL_SETTINGS: tuple[type[BaseSettings], ...] = (
    KafkaSettings,
    ValkeySettings,
    ReviewSettings,
    ConsoleSettings,
    AccessSettings,
    OidcSettings,
    StreamSettings,
    IntakeSettings,
    EngineSettings,
    SecondLookSettings,
    GateSettings,
    ServingSettings,
    LedgerSettings,
    LoopSettings,
)


def wrong_settings() -> list[Finding]:
    """One finding for each setting whose value cannot be used."""
    return [problem for kind in ALL_SETTINGS for problem in _setting_problems(kind)]


def _setting_problems(kind: type[BaseSettings]) -> Iterator[Finding]:
    prefix = kind.model_config["env_prefix"]
    try:
        kind()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = prefix + ("_".join(str(part) for part in problem["loc"]).upper() or "*")
            found = f"{name}: {problem['msg'].removeprefix('Value error, ')}"
            yield Finding("settings", "missing", found, "tidegate doctor --settings explains it")
    except SettingsError as error:  # a list that is not JSON
        field = re.search(r'field "(\w+)"', str(error))
        name = prefix + (field[1].upper() if field else "*")
        yield Finding("settings", "missing", f"{name}: not JSON", 'lists are written as JSON: ["one", "two"]')


def unknown_settings() -> Iterator[Finding]:
    """One finding for each variable that looks like a setting and is none."""
    known = {kind.model_config["env_prefix"] + name.upper() for kind in ALL_SETTINGS for name in kind.model_fields}
    for name in sorted(os.environ.keys() - known - {"TIDEGATE_LOG_FORMAT", "TIDEGATE_LOG_LEVEL"}):
        if name.startswith("TIDEGATE_"):
            yield Finding("settings", "missing", f"{name} is no setting", "is it misspelt? tidegate doctor --settings")


def settings_table() -> Table:
    """Every setting with its value and meaning; secrets stay hidden."""
    table = Table(box=None)
    for name in ("variable", "value", "meaning"):
        table.add_column(name, overflow="fold")
    for kind in ALL_SETTINGS:
        prefix = kind.model_config["env_prefix"]
        for name, field in kind.model_fields.items():
            variable = prefix + name.upper()
            secret = "Secret" in str(field.annotation)
            value = public(os.environ.get(variable, str(field.default)))
            table.add_row(
                variable,
                "(secret)" if secret and variable in os.environ else escape(value),
                escape(field.description or ""),
            )
    return table
