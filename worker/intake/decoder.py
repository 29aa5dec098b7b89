"""One decoding process, seen from the worker: started, asked, timed, killed.

Bytes and pixels travel through memory that both share, the rest as small JSON messages; nothing that the process says
is executed or trusted, since a hostile image may have taken it over.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.events import DeadLetterReason
from worker.intake.pixels import DecodeLimits
from worker.intake.refusal import ImageRefusedError, IntakeError
from worker.intake.sandbox import OUT_OF_MEMORY, READY, Layout
from worker.reading.resize import PixelBudget
from worker.settings import IntakeSettings

_ROOT = Path(__file__).parents[2]
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME")
_START_S = 60.0
_MAX_MESSAGE = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image as the engine takes it, and what a person should know of the original."""

    pixels: NDArray[np.uint8]
    """(height, width, 3), RGB, on the grid of the pixel budget."""
    width: int
    """Of the original, upright, in pixels."""
    height: int
    format: str
    animated: bool
    """The pixels are the first frame of several."""
    blank: bool
    """(Nearly) no variation: there is nothing to read."""
    tiny: bool
    """One side is below `min_side`: too little to read."""


def decode_limits(settings: IntakeSettings) -> DecodeLimits:
    """The part of the settings that a decoding process needs."""
    return DecodeLimits(
        max_pixels=settings.max_pixels,
        max_aspect_ratio=settings.max_aspect_ratio,
        max_frames=settings.max_frames,
        min_side=settings.min_side,
    )


class DecoderLostError(Exception):
    """The process was killed, or ended, or said what no decoder says."""

    def __init__(self, cause: Literal["timeout", "memory", "crash"], detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class _Process:
    """A running process and what it shares with this one."""

    popen: subprocess.Popen[bytes]
    channel: socket.socket
    memory: mmap.mmap


class Decoder:
    """A place for one decoding process at a time."""

    def __init__(self, settings: IntakeSettings, budget: PixelBudget) -> None:
        self._settings = settings
        # Rounding up to the grid may take a narrow image beyond the budget, but never by more than this.
        self._layout = Layout(settings.max_bytes, 2 * budget.max_pixels + 300 * budget.factor**2)
        self._budget = budget
        self._process: _Process | None = None
        self._killed = False

    async def start(self) -> None:
        """Start a fresh process in place of the last one, if any, and wait until it is ready.

        Raises:
            IntakeError: it cannot be started.
        """
        await self.stop()
        try:
            self._process = process = self._spawn()
            self._killed = False
            async with asyncio.timeout(_START_S):
                greeting = await asyncio.get_running_loop().sock_recv(process.channel, _MAX_MESSAGE)
        except OSError as error:  # TimeoutError among them
            self.kill()
            raise IntakeError(f"a decoding process cannot be started: {error!r}") from error
        except BaseException:
            self.kill()
            raise
        if greeting != READY:
            raise IntakeError(
                f"a decoding process ended with {await self.stop()} before it was ready; stderr may say why. "
                "If it speaks of memory, raise TIDEGATE_INTAKE_DECODE_MEMORY_MB."
            )

    async def decode(self, data: bytes) -> Prepared:
        """Decode one image. A process that gives neither pixels nor a refusal is killed, and replaced at the next call.

        Raises:
            ImageRefusedError: the process says that the image is unusable.
            DecoderLostError: it took too long or too much memory, or is gone.
            IntakeError: no process can be started.
        """
        if self._process is None or self._killed:
            await self.start()
        assert self._process is not None
        try:
            async with asyncio.timeout(self._settings.decode_timeout_s):
                return self._prepared(self._process.memory, await self._ask(self._process, data))
        except ImageRefusedError:
            raise
        except TimeoutError as error:
            self.kill()
            limit = self._settings.decode_timeout_s
            raise DecoderLostError("timeout", f"decoding took longer than {limit:g} s") from error
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the process, if any, without waiting for it."""
        if self._process is not None:
            self._killed = True
            self._process.popen.kill()

    async def stop(self) -> int | None:
        """End the process, if any, and return its exit code."""
        if self._process is None:
            return None
        self.kill()
        process, self._process = self._process, None
        process.channel.close()
        process.memory.close()
        return await asyncio.to_thread(process.popen.wait)

    def _spawn(self) -> _Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        memory = os.memfd_create("tidegate-decoder")
        try:
            os.ftruncate(memory, self._layout.size)
            terms = {
                "parent": os.getpid(),
                "channel": theirs.fileno(),
                "memory": memory,
                "memory_bytes": self._settings.decode_memory_mb * 1_000_000,
                "layout": asdict(self._layout),
                "limits": asdict(decode_limits(self._settings)),
                "budget": asdict(self._budget),
            }
            # Nothing of the environment but what Python needs: it holds the worker's secrets.
            environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
            popen = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "worker.intake.sandbox", json.dumps(terms)],
                env=environment | {"PYTHONPATH": str(_ROOT)},
                pass_fds=(theirs.fileno(), memory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is for the worker
            )
            return _Process(popen, ours, mmap.mmap(memory, self._layout.size))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(memory)

    async def _ask(self, process: _Process, data: bytes) -> bytes:
        process.memory[: len(data)] = data
        try:
            process.channel.send(len(data).to_bytes(8))
            answer = await asyncio.get_running_loop().sock_recv(process.channel, _MAX_MESSAGE)
        except OSError as error:
            raise DecoderLostError("crash", f"the decoding process is gone: {error}") from error
        if not answer:
            raise DecoderLostError("crash", f"the decoding process ended with {await self.stop()}")
        return answer

    def _prepared(self, memory: mmap.mmap, answer: bytes) -> Prepared:
        try:
            found = self._read(memory, answer)
        except Exception as error:  # an image may have taken the process over: whatever it says may be made up
            raise DecoderLostError("crash", f"the decoding process answered nonsense: {error!r}") from error
        if isinstance(found, Prepared):
            return found
        reason, detail = found
        if reason is None:
            limit = self._settings.decode_memory_mb
            raise DecoderLostError("memory", f"decoding takes more than {limit} MB of memory")
        raise ImageRefusedError(reason, detail)

    def _read(self, memory: mmap.mmap, answer: bytes) -> Prepared | tuple[DeadLetterReason | None, str]:
        """The image, or why there is none; without a reason it was too little memory."""
        fields = json.loads(answer)
        if "refused" in fields:
            refused = fields["refused"]
            return None if refused == OUT_OF_MEMORY else DeadLetterReason(refused), str(fields["detail"])
        rows, columns = fields["shape"]
        if not 0 < rows * columns <= self._layout.max_pixels:
            raise ValueError(f"no image is {columns} x {rows}")
        size = 3 * rows * columns
        return Prepared(
            # Never in a variable: a view that an error's traceback keeps alive would keep the memory from being closed.
            pixels=np.frombuffer(memory, np.uint8, size, self._layout.max_bytes).reshape(rows, columns, 3).copy(),
            width=int(fields["width"]),
            height=int(fields["height"]),
            format=str(fields["format"]),
            animated=bool(fields["animated"]),
            blank=bool(fields["blank"]),
            tiny=bool(fields["tiny"]),
        )
