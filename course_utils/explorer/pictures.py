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

from course_utils.explorer.pixels import DRAWING

KNOWN = 32  # pictures that are kept
PAUSE = 0.05  # seconds without a move before the next picture is drawn: a held key comes sooner
REST = 0.5  # seconds before each of the others, which the next key is less likely to ask for
QUICK = 1.0  # seconds: after a picture that took longer none is drawn ahead, a key would wait
Mime = tuple[dict, dict]  # data and metadata, as `display` takes them
_worker = ThreadPoolExecutor(1, "pictures-ahead")


class Pictures:
    """The pictures of a plot function by its values.

    They are forgotten when a cell of the notebook has run: it may change what the function reads.
    `page` is told of each new picture and its values, and None when all are forgotten.
    """

    def __init__(
        self, draw: Callable[[dict], Mime], page: Callable[[dict | None, Mime | None], None]
    ) -> None:
        self.draw, self.page = draw, page
        self.known: dict[tuple, Mime] = {}
        self.told: dict[tuple, None] = {}  # what the page has: a key may end the wait for one
        self.ahead: asyncio.Task | None = None
        if shell := the_shell():
            shell.events.register("post_run_cell", self.forget)

    def close(self) -> None:
        """Let go of all pictures, and listen to no cell any more."""
        if self.ahead is not None:
            self.ahead.cancel()
        self.known, self.told = {}, {}
        if shell := the_shell():
            shell.events.unregister("post_run_cell", self.forget)

    def at(self, values: dict, beside: Iterable[dict] = ()) -> Mime:
        """The picture at some values, kept or drawn now; those beside it follow in the background.

        Values beside it that come first are drawn first. Another call ends what is still to do.
        """
        if self.ahead is not None:
            self.ahead.cancel()
        begun, known = time.monotonic(), self.known
        picture = _kept(self.draw, values, known)
        self._tell(values, picture, known)
        if time.monotonic() - begun < QUICK:
            with contextlib.suppress(RuntimeError):  # no event loop: this is no notebook
                loop = asyncio.get_running_loop()
                self.ahead = loop.create_task(self._look_ahead(beside))
        return picture

    def forget(self, ran: object = None) -> None:
        """Drop all pictures, because a cell `ran`, in a thread that may not be the controls'."""
        known, self.known, self.told = self.known, {}, {}
        if known:
            self.page(None, None)

    def _tell(self, values: dict, picture: Mime, known: dict) -> None:
        """Let the page know a picture, unless it does, or a cell ran while it was drawn."""
        if known is self.known and _key(values) not in self.told:
            self.told[_key(values)] = None
            _keep_last(self.told)
            self.page(values, picture)

    async def _look_ahead(self, beside: Iterable[dict]) -> None:
        """Draw what is not known yet, each after a pause in which a key may come."""
        loop, known, pause = asyncio.get_running_loop(), self.known, PAUSE
        for values in beside:
            if _key(values) in self.told:
                continue
            await asyncio.sleep(pause)
            pause = REST
            if known is not self.known:  # a cell has run
                return
            try:
                picture = await loop.run_in_executor(_worker, _kept, self.draw, values, known)
            except Exception:  # told when a control moves there
                continue
            self._tell(values, picture, known)


def _kept(draw: Callable[[dict], Mime], values: dict, known: dict[tuple, Mime]) -> Mime:
    """The picture at some values, out of `known` or drawn and put there."""
    key = _key(values)
    picture = known.get(key)
    if picture is None:
        with DRAWING:  # two threads would draw into one figure
            picture = known.get(key)  # drawn by the other thread meanwhile
            if picture is None:
                picture = known[key] = draw(values)
                _keep_last(known)
    return picture


def _keep_last(pictures: dict) -> None:
    """Drop all but the last KNOWN, as the page does."""
    for old in list(pictures)[:-KNOWN]:
        del pictures[old]


def _key(values: dict) -> tuple:
    """What a picture at these values is kept under: a step may end in ...001."""
    return tuple(f"{v:.9g}" if isinstance(v, float) else repr(v) for v in values.values())


def the_shell() -> object | None:
    """The IPython that runs the notebook's cells, if this is a notebook."""
    from IPython import get_ipython

    return get_ipython()
