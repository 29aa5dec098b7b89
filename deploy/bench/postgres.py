"""A PostgreSQL server of its own for a benchmark, where PostgreSQL is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from deploy.local import EmbeddedServerError, LocalServer

_DEBIAN = Path("/usr/lib/postgresql")
_ACCOUNTS = ("postgres", "nobody")


def postgres_binaries() -> Path | None:
    """The folder with `postgres` and `initdb`: on the PATH, or Debian's newest; None where there is none."""
    found = shutil.which("initdb")
    versions = sorted(_DEBIAN.glob("*/bin"), key=lambda path: (len(path.parent.name), path.parent.name), reverse=True)
    for folder in [*([Path(found).resolve().parent] if found else []), *versions]:
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    return None


class LocalPostgres(LocalServer):
    """PostgreSQL on 127.0.0.1 with a new cluster in `folder`. It trusts whoever can connect: put nothing secret there.

    PostgreSQL refuses to run as root. Then it runs as the account `postgres` or `nobody`, to whom `folder` is given;
    every folder above it must let that account pass (mode 711).
    """

    name = "postgres"
    user = "tidegate"
    stop_s = 10.0

    def __init__(self, folder: Path, binaries: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        self._binaries = binaries
        self._data = folder.resolve() / "data"

    @property
    def url(self) -> str:
        """What clients take as address."""
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres"

    @property
    def version(self) -> str:
        """As the server itself says it."""
        return subprocess.run(  # noqa: S603 - a binary of the machine's own
            [self._binaries / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[2]

    def start(self) -> Self:
        """Make the cluster where there is none yet; else as every server.

        Raises:
            EmbeddedServerError: as every server; or the cluster could not be made, with what `initdb` says.
        """
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()
        return super().start()

    def stop(self) -> None:
        """End at once and orderly, without a last checkpoint: the next start replays the log."""
        self._end(signal.SIGQUIT)

    def cpu_seconds(self) -> float:
        """Processor time of the running server so far: its first process and all that it has started."""
        assert self._process is not None, "the server was never started"
        first = self._process.pid
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            if int(path.parent.name) == first:
                ticks += sum(map(int, fields[11:15]))  # with those that it has waited for
            elif int(fields[1]) == first:
                ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _make_cluster(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if account := _account():
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        options = ["--auth=trust", f"--username={self.user}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        run = subprocess.run(  # noqa: S603 - a binary of the machine's own
            [*_as_account(), str(self._binaries / "initdb"), f"--pgdata={self._data}", *options],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise EmbeddedServerError(f"initdb could not make a cluster in {self._data}:\n{run.stderr[-2000:]}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # files of the cluster: a killed server leaves nothing elsewhere
            "shared_buffers": "1GB",
            "max_wal_size": "8GB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [
            *_as_account(),
            str(self._binaries / "postgres"),
            *("-D", str(self._data)),
            *("-p", str(self.port)),
            *options,
        ]

    def _answers(self) -> bool:
        try:
            pid, *_, state = (self._data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, ValueError):  # not written yet, or in part
            return False
        return self._process is not None and pid == str(self._process.pid) and state.strip() == "ready"


def _account() -> pwd.struct_passwd | None:
    """Whom to run it as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in _ACCOUNTS:
        if name in known:
            return known[name]
    raise EmbeddedServerError("PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody`")


def _as_account() -> list[str]:
    """What stands before a command to run it as that account.

    A change of account makes the kernel forget that a process is to end with its parent: it is told again.
    """
    account = _account()
    if account is None:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServerError("PostgreSQL refuses to run as root, and `setpriv` (util-linux) is missing")
    return [
        setpriv,
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        *("--clear-groups", "--pdeathsig=QUIT", "--"),
    ]
