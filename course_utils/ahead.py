"""`Pictures`: of a pure plot function, kept, and drawn before they are asked for.

A key finds its picture drawn while another is being drawn ahead: that happens in a thread beside
the event loop, which answers keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

KNOWN = 32  # pictures that are kept
PAUSE = 0.1  # seconds without a move before the next picture is drawn: a held key comes sooner
REST = 0.5  # seconds before each of the others, which the next key is less likely to ask for
QUICK = 1.0  # seconds: after a picture that took longer none is drawn ahead, a key would wait
Mime = tuple[dict, dict]  # data and metadata, as `display` takes them
_worker = ThreadPoolExecutor(1, "pictures-ahead")
_drawing = Lock()  # figures are drawn one at a time


class Pictures:
    """The pictures of a plot function by its values.

    They are forgotten when a cell of the notebook runs, which may change what the function reads.
    """

    def __init__(self, draw: Callable[[dict], Mime]) -> None:
        self.draw = draw
        self.known: dict[tuple, Mime] = {}
        self.cells_run: int | None = None
        self.ahead: asyncio.Task | None = None

    def at(self, values: dict, beside: Iterable[dict] = ()) -> Mime:
        """The picture at some values, kept or drawn now; those beside it follow in the background.

        Values beside it that come first are drawn first. Another call ends what is still to do.
        """
        if self.ahead is not None:
            self.ahead.cancel()
        if self.cells_run != (cells_run := _cells_run()):
            self.known = {}
        self.cells_run, begun = cells_run, time.monotonic()
        picture = _kept(self.draw, values, self.known)
        if time.monotonic() - begun < QUICK:
            with contextlib.suppress(RuntimeError):  # no event loop: this is no notebook
                loop = asyncio.get_running_loop()
                self.ahead = loop.create_task(self._look_ahead(beside))
        return picture

    async def _look_ahead(self, beside: Iterable[dict]) -> None:
        """Draw what is not known yet, each after a pause in which a key may come."""
        loop, pause = asyncio.get_running_loop(), PAUSE
        for values in beside:
            if _key(values) in self.known:
                continue
            await asyncio.sleep(pause)
            if self.cells_run != _cells_run():
                return
            with contextlib.suppress(Exception):  # told when a control moves there
                await loop.run_in_executor(_worker, _kept, self.draw, values, self.known)
            pause = REST


def _kept(draw: Callable[[dict], Mime], values: dict, known: dict[tuple, Mime]) -> Mime:
    """The picture at some values, out of `known` or drawn and put there."""
    key = _key(values)
    picture = known.get(key)
    if picture is None:
        with _drawing:
            picture = known.get(key)  # drawn by the other thread meanwhile
            if picture is None:
                picture = known[key] = draw(values)
                for old in list(known)[:-KNOWN]:
                    del known[old]
    return picture


def _key(values: dict) -> tuple:
    """What a picture at these values is kept under: a step may end in ...001."""
    return tuple(f"{v:.9g}" if isinstance(v, float) else repr(v) for v in values.values())


def _cells_run() -> int | None:
    """How many cells this kernel has run."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell.execution_count if shell else None
