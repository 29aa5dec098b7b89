"""Where the ledger lies: a folder or an object store, and the one document that says what of it is in force.

    ledger.json                       which set of tables counts, which topics it follows
    tables-<name>/decisions/          Delta tables: Parquet files by day, and a transaction log
    tables-<name>/verdicts/
    tables-<name>/rejected/           records that could not be read
    tombstones/                       keyed hashes of what was deleted

A rebuild makes a new set of tables beside the old one and then changes `ledger.json`, which is one write.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, from_url
from pydantic import Field, ValidationError

from calibration.contract import Versioned
from calibration.settings import LedgerSettings

_DOCUMENT = "ledger.json"
_TRIES = 5


class LedgerError(Exception):
    """The ledger cannot do what was asked; the message says why and what to do."""


class LedgerUnavailableError(LedgerError):
    """Its folder or object store cannot be used just now, or ever: wrong address, no permission, an outage."""


class StateChangedError(LedgerError):
    """Somebody else was faster in changing what is in force."""


class LedgerState(Versioned):
    """What of the ledger is in force."""

    tables: str
    """Name of the set of tables that counts."""
    rebuilding: str | None = None
    """Name of the set that a rebuild is making, or left half-way."""
    topics: dict[str, str] = Field(default_factory=dict)
    """Id of the topic that each table follows."""
    expired_before: date | None = None
    """Rows of earlier days were let go, and do not come back."""
    deletion_key: bytes | None = None
    """Of the hashes of deleted ids, where the settings give none."""
    deletion_key_check: bytes | None = None
    """A hash by which a changed key is noticed."""


class Place:
    """The folder or object store of one ledger."""

    def __init__(self, settings: LedgerSettings) -> None:
        """Nothing is created yet.

        Raises:
            LedgerError: the address is none that can be used.
        """
        self.folder = _folder(settings.path)
        self.address = str(self.folder) if self.folder is not None else settings.path.rstrip("/")
        self._settings = settings
        self._opened: Any = None

    @property
    def local(self) -> bool:
        """Whether it is a folder, where writers wait for each other instead of trying again."""
        return self.folder is not None

    def uri(self, *parts: str) -> str:
        """Address of something inside, as deltalake takes it."""
        return "/".join((self.address, *parts))

    def state(self) -> LedgerState | None:
        """What is in force; None where there is no ledger yet.

        Raises:
            LedgerError: it cannot be reached or read.
        """
        return self._read()[0]

    def change(self, changed: LedgerState, seen: LedgerState | None) -> None:
        """Replace the state that was seen by another.

        Raises:
            StateChangedError: somebody else has changed it meanwhile.
            LedgerError: it cannot be written.
        """
        current, version = self._read()
        if current != seen:
            raise StateChangedError(f"{self.address}: somebody else has just changed {_DOCUMENT}: try again")
        mode: Any = "create" if seen is None else "overwrite" if self.local else version
        content = changed.model_dump_json(indent=2).encode()
        try:
            with _reached(self.address):
                obstore.put(self._store, _DOCUMENT, content, mode=mode)
        except (AlreadyExistsError, PreconditionError) as error:
            raise StateChangedError(f"{self.address}: somebody else has just changed {_DOCUMENT}: try again") from error

    def update(self, change: Callable[[LedgerState | None], LedgerState]) -> LedgerState:
        """Make the state what `change` makes of it, however many others change it at the same time.

        Raises:
            LedgerError: it cannot be read or written.
        """
        for tries_left in reversed(range(_TRIES)):
            seen = self.state()
            changed = change(seen)
            if changed == seen:
                return changed
            try:
                self.change(changed, seen)
            except StateChangedError:
                if not tries_left:
                    raise
            else:
                return changed
        raise AssertionError

    def names(self, *parts: str) -> list[str]:
        """Paths of all files inside, seen from there."""
        prefix = "/".join(parts)
        with _reached(self.address):
            found = [each["path"] for chunk in obstore.list(self._store, prefix or None) for each in chunk]
        return [path.removeprefix(prefix).lstrip("/") for path in found]

    def sets(self) -> set[str]:
        """Names of all sets of tables, in force or not."""
        with _reached(self.address):
            folders = obstore.list_with_delimiter(self._store)["common_prefixes"]
        return {name.rstrip("/") for name in folders if name.startswith("tables-")}

    def remove(self, *parts: str, names: list[str] | None = None) -> int:
        """Remove these files inside, or all; return how many."""
        doomed = ["/".join((*parts, name)) for name in (self.names(*parts) if names is None else names)]
        with _reached(self.address):
            if doomed:
                obstore.delete(self._store, doomed)
        if self.folder is not None and names is None:
            _remove_empty(self.folder.joinpath(*parts))
        return len(doomed)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """In a folder, one writer at a time; in an object store the transaction log settles who was first."""
        if self.folder is None:
            yield
            return
        with _reached(self.address):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def check(self) -> None:
        """Make sure that the place can be reached, and, if it is a folder, made and written.

        Raises:
            LedgerError: it cannot.
        """
        self._read()

    @property
    def _store(self) -> Any:
        if self._opened is None:
            try:
                with _reached(self.address):
                    self._opened = LocalStore(self.folder) if self.folder is not None else from_url(self.address)
            except ValueError as error:
                raise LedgerError(f"TIDEGATE_LEDGER_PATH: {self.address} cannot be used: {error}") from error
        return self._opened

    def _read(self) -> tuple[LedgerState | None, dict[str, Any]]:
        if self.folder is not None and not self.folder.exists():
            return None, {}
        try:
            with _reached(self.address):
                found = obstore.get(self._store, _DOCUMENT)
                content = bytes(found.bytes())
        except FileNotFoundError:
            return None, {}
        try:
            state = LedgerState.model_validate_json(content)
        except ValidationError as error:
            raise LedgerError(
                f"{self.address}/{_DOCUMENT} is damaged, or of a newer version: {error.error_count()} fields do not fit"
            ) from error
        version = {name: value for name in ("e_tag", "version") if (value := found.meta[name]) is not None}
        return state, version


def _folder(path: str) -> Path | None:
    """The folder that an address means; None for an object store."""
    parts = urlsplit(path)
    if "://" not in path:
        return Path(path).absolute()
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme not in ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss"):
        raise LedgerError(f"TIDEGATE_LEDGER_PATH: {path} is neither a folder nor an s3://, gs:// or az:// address")
    return None


@contextmanager
def _reached(address: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, AlreadyExistsError, PreconditionError):
        raise
    except (BaseError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LedgerUnavailableError(f"{address} cannot be used: {first}") from error


def _remove_empty(folder: Path) -> None:
    for inner in sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True):
        inner.rmdir()
    if folder.is_dir():
        folder.rmdir()
