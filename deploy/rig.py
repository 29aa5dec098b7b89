"""A whole system on this machine: embedded servers, topics, one worker process, and a count of what comes out.

`tidegate up`, the benchmarks and the system tests stand on it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

from calibration.settings import KafkaSettings
from deploy.local import EmbeddedBroker, EmbeddedValkey, die_with_parent, free_port, is_free
from deploy.outcomes import OutcomeWatch, Tally
from review.queue import Figures, ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from worker.settings import StreamSettings
from worker.stream.topics import ensure_topics

CHECKPOINT = Path(__file__).parent.parent / "training" / "checkpoint"


@dataclass(slots=True)
class Rig:
    """The parts, running."""

    folder: Path
    broker: EmbeddedBroker
    valkey: EmbeddedValkey
    kafka: KafkaSettings
    queue: ReviewQueue
    tally: Tally
    watch: OutcomeWatch
    worker: WorkerProcess

    async def finish(self) -> tuple[int, Figures]:
        """Drain the worker and read all that came out: the worker's exit code and the queue's last figures."""
        code = await self.worker.stop(StreamSettings().drain_s + 15.0)
        await self.watch.stop()
        if self.watch.error is not None:
            raise self.watch.error
        return code, await self.queue.figures()


@asynccontextmanager
async def rig(
    settings: Mapping[str, str], *, usual_ports: bool = False, tally: Tally | None = None
) -> AsyncIterator[Rig]:
    """Start everything, and leave nothing behind.

    Args:
        settings: TIDEGATE_* variables of the worker, beside those that name the servers.
        usual_ports: take 9092 and 6379 where they are free, so that other commands find the servers by themselves.
        tally: counts the outcomes; default: a plain one.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-") as name,
        EmbeddedBroker(Path(name), _port(9092, usual_ports)) as broker,
        EmbeddedValkey(Path(name), _port(6379, usual_ports)) as valkey,
    ):
        folder = Path(name)
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, security_protocol="PLAINTEXT")
        await asyncio.to_thread(ensure_topics, kafka)
        queue = ReviewQueue(ValkeySettings(url=valkey.url), ReviewSettings())
        tally = tally or Tally()
        watch = OutcomeWatch(kafka, tally)
        watch.start()
        worker = await WorkerProcess.start(
            embedded_settings(broker.bootstrap, valkey.url) | dict(settings), folder / "worker.log"
        )
        try:
            yield Rig(folder, broker, valkey, kafka, queue, tally, watch, worker)
        finally:
            await worker.stop(0.0)
            await watch.stop()
            await queue.close()


def _port(usual: int, wanted: bool) -> int:
    return usual if wanted and is_free(usual) else free_port()


def embedded_settings(bootstrap: str, valkey_url: str) -> dict[str, str]:
    """The environment of a worker that meets the embedded servers at these addresses."""
    return {
        "TIDEGATE_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "TIDEGATE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",  # whatever a cluster elsewhere needs
        "TIDEGATE_VALKEY_URL": valkey_url,
        # The embedded broker makes a joining member wait for half of the session timeout.
        "TIDEGATE_STREAM_SESSION_TIMEOUT_MS": "2000",
        "TIDEGATE_STREAM_HEARTBEAT_INTERVAL_MS": "300",
        "TIDEGATE_GATE_AUDIT_KEY": secrets.token_hex(32),
    }


async def start_command(arguments: list[str], settings: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """Start `tidegate` with these arguments and settings; what the environment sets besides reaches it too."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *die_with_parent([sys.executable, "-m", "deploy.cli", "--log-format", "json", *arguments]),
            env=os.environ | dict(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # a Ctrl-C is for `tidegate up`, which asks for a drain
        )


class WorkerProcess:
    """The worker's process: the same `tidegate worker` that runs in production."""

    def __init__(
        self, process: asyncio.subprocess.Process, log: Path, port: int, session: aiohttp.ClientSession
    ) -> None:
        self._process = process
        self._log = log
        self._address = f"http://127.0.0.1:{port}"
        self._session = session

    @classmethod
    async def start(cls, settings: dict[str, str], log: Path) -> Self:
        """Start it with these settings; what the environment sets besides reaches it too."""
        port = free_port()
        where = {"TIDEGATE_WORKER_HOST": "127.0.0.1", "TIDEGATE_WORKER_PORT": str(port)}
        process = await start_command(["worker"], where | settings, log)
        return cls(process, log, port, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)))

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    async def state(self) -> str:
        """What it is doing, in a few words."""
        if self.ended:
            return f"ended with exit code {self._process.returncode}"
        try:
            problems: list[str] = json.loads((await self.ask("/ready"))[1])["problems"]
        except (aiohttp.ClientError, TimeoutError):
            return "starting"
        return "; ".join(problems) or "working"

    async def ask(self, path: str) -> tuple[int, str]:
        """What its HTTP port answers: status and text.

        Raises:
            aiohttp.ClientError, TimeoutError: it does not.
        """
        async with self._session.get(self._address + path) as response:
            return response.status, await response.text()

    async def stop(self, deadline_s: float) -> int:
        """Let it drain, and return its exit code; it is killed after the deadline."""
        self.send(signal.SIGTERM)
        return await self.wait(deadline_s)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self, deadline_s: float) -> int:
        """Wait for its end, and return its exit code; it is killed after the deadline."""
        await self._session.close()
        try:
            return await asyncio.wait_for(self._process.wait(), deadline_s)
        except TimeoutError:
            self.kill()
            return await self._process.wait()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.send(signal.SIGKILL)

    def cpu_seconds(self) -> float:
        """Processor time of the worker's own process so far: neither the decoders' nor a separate engine's."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Resident memory of the worker's own process, in MB."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def log_tail(self, lines: int = 12) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
