"""A cluster that asks who is there: the same worker and the same commands meet it by configuration alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

from calibration.settings import KafkaSettings
from tests.apache import ApacheKafka
from tests.system.plant import END_S, Plant
from worker.app import ExitCode

pytestmark = [
    pytest.mark.system,
    pytest.mark.apache,
    # A refused connection leaves its socket to the garbage collector, in kafka-python 3.0.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def variables(login: KafkaSettings) -> dict[str, str]:
    """The settings that name the cluster and log in, as an operator writes them."""
    fields = login.model_dump(exclude={"topic_prefix", "client_id"}, exclude_none=True)
    plain = {name: each.get_secret_value() if isinstance(each, SecretStr) else each for name, each in fields.items()}
    return {f"KAFKA_{name.upper()}": str(each) for name, each in plain.items()}


@pytest.mark.parametrize("login", ["scram", "mutual_tls"])
async def test_a_worker_logs_in_and_decides(apache_plant: Plant, apache: ApacheKafka, login: str) -> None:
    plant = apache_plant
    await plant.feed(20)
    worker = await plant.start(settings=variables(getattr(apache, login)))
    await plant.until_outcomes()
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)


def test_the_doctor_says_why_a_login_fails(apache: ApacheKafka) -> None:
    """What the client raises is a time-out, whatever the reason."""
    untrusting = variables(apache.start().scram.model_copy(update={"ssl_cafile": None}))
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "doctor", "--json"],
        env=os.environ | {f"TIDEGATE_{name}": value for name, value in untrusting.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    (broker,) = [each for each in map(json.loads, done.stdout.splitlines()) if each["part"] == "broker"]
    assert done.returncode == 1
    assert "certificate verify failed" in broker["found"]
    assert "SSL_*" in broker["advice"]
    assert done.stderr == ""
