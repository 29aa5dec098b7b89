"""One decoding process: reads an image from shared memory, writes its pixels there, and is expendable.

Run as `python -m worker.intake.sandbox`, by `worker.intake.decoder` alone. It has limited memory and no secrets in its
environment; it ends when its channel closes or its parent dies, whichever it notices first.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
from dataclasses import dataclass

from PIL import Image

from worker.intake.pixels import DecodeLimits, UnusableImageError, decode
from worker.reading.resize import PixelBudget

READY = b"ready"
OUT_OF_MEMORY = "out_of_memory"
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


@dataclass(frozen=True, slots=True)
class Layout:
    """The shared memory: first the bytes of the image, then its pixels."""

    max_bytes: int
    max_pixels: int

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.max_bytes + 3 * self.max_pixels


def main() -> None:
    """Serve until the channel closes. The only argument is a JSON object of terms that `decoder` wrote."""
    terms = json.loads(sys.argv[1])
    # An operator's Ctrl-C, or a stop of the whole service, reaches this process too; the worker still drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != terms["parent"]:  # it died before the line above
        return
    resource.setrlimit(resource.RLIMIT_AS, (terms["memory_bytes"], terms["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a stranger's image
    Image.MAX_IMAGE_PIXELS = None  # ours is checked by `decode`
    layout = Layout(**terms["layout"])
    limits, budget = DecodeLimits(**terms["limits"]), PixelBudget(**terms["budget"])
    with (
        socket.socket(fileno=terms["channel"]) as channel,
        mmap.mmap(terms["memory"], layout.size) as memory,
    ):
        channel.send(READY)
        while request := channel.recv(16):
            answer = _serve(memory, int.from_bytes(request), layout, limits, budget)
            channel.send(json.dumps(answer).encode())


def _serve(
    memory: mmap.mmap, length: int, layout: Layout, limits: DecodeLimits, budget: PixelBudget
) -> dict[str, object]:
    try:
        image = decode(memory[:length], limits, budget)
        pixels = image.rgb.tobytes()
    except UnusableImageError as error:
        return {"refused": error.reason, "detail": error.detail[:500]}
    except MemoryError:
        return {"refused": OUT_OF_MEMORY, "detail": ""}
    if len(pixels) > 3 * layout.max_pixels:
        return {"refused": "image_limits", "detail": f"{image.width} x {image.height}: too narrow for the model's grid"}
    memory[layout.max_bytes : layout.max_bytes + len(pixels)] = pixels
    return {
        "shape": [image.rgb.height, image.rgb.width],
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "animated": image.animated,
        "blank": image.blank,
        "tiny": image.tiny,
    }


if __name__ == "__main__":
    main()
