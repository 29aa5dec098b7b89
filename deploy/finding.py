"""What a check has found, and how findings look in the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rich.markup import escape
from rich.table import Table

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    part: str
    state: State
    found: str
    advice: str = ""


def findings_table(findings: list[Finding]) -> Table:
    """One finding a row."""
    table = Table(box=None)
    for name in ("part", "", "found", "what to do"):
        table.add_column(name, overflow="fold")
    marks = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "missing": "[red]missing[/]"}
    for finding in findings:
        table.add_row(finding.part, marks[finding.state], escape(finding.found), escape(finding.advice))
    return table


def public(text: str) -> str:
    """Without the user name and password of addresses."""
    return re.sub(r"//[^/@\s]*@", "//...@", text)
