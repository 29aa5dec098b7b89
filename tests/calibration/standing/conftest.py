"""Ledgers in folders, read by all tests here and changed by none."""

from __future__ import annotations

import pytest

from calibration.settings import LedgerSettings
from tests.calibration.standing.ledgers import ledger_of
from tests.calibration.standing.worlds import DECISIONS, VERDICTS


@pytest.fixture(scope="package")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerSettings:
    """One morning."""
    return ledger_of(tmp_path_factory.mktemp("standing"), *DECISIONS, *VERDICTS)


@pytest.fixture(scope="package")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerSettings:
    """Tables without a row."""
    return ledger_of(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def no_ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerSettings:
    """A folder that nobody has made."""
    return LedgerSettings(path=str(tmp_path_factory.mktemp("none") / "ledger"))
