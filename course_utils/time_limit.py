"""Cut off a call that takes too long, by the processor time that it took and not by the clock.

A busy machine gives a call less of the processor: that is to cost nobody a point. So a clock on the
wall counts only for a call that waits, and it is more patient.
"""

import _thread
import contextlib
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

LOOK = 1e-3  # seconds, at least, until the clocks are looked at again


class TimeLimit(BaseException):
    """Raised inside a call that ran too long; no Exception, so that a loop rarely eats it."""


def time_limit(
    seconds: float, patience: float, within: Callable
) -> contextlib.AbstractContextManager:
    """Raises `TimeLimit` in its block once time is up, again and again until the block is left.

    Args:
        seconds: of processor time of this process.
        patience: seconds in all.
        within: a function: where there is a timer signal, it is raised below its frame only, so
            that nothing else is left half done.

    In the main thread only; where no timer signal is (Windows), a loop may swallow the interrupts.
    """
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    cpu, wall = time.process_time() + seconds, time.monotonic() + patience

    def left() -> float:
        """Seconds until time may be up, 0 if it is."""
        return max(0.0, min(cpu - time.process_time(), wall - time.monotonic()))

    return _Alarm(left, within) if hasattr(signal, "setitimer") else _Interrupts(left)


class _Alarm:
    """Rings once time is up, then again and again: at last one ring misses an `except: pass`."""

    def __init__(self, left: Callable[[], float], within: Callable) -> None:
        self.left, self.within, self.pause = left, within.__code__, 1e-6

    def __enter__(self) -> None:
        self.on, self.previous = True, signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, max(self.left(), LOOK))

    def __exit__(self, *_: object) -> None:
        self.on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.previous or signal.SIG_DFL)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self.on and (left := self.left()):
            signal.setitimer(signal.ITIMER_REAL, max(left, LOOK))
            return
        while frame and frame.f_code is not self.within:
            frame = frame.f_back
        self.pause = 1.3 * self.pause if self.pause < 1e-4 else 1e-6  # out of step with any loop
        if self.on:
            signal.setitimer(signal.ITIMER_REAL, self.pause)
        if frame:
            raise TimeLimit


class _Interrupts:
    """Where there is no timer signal (Windows): KeyboardInterrupts, told from the student's."""

    def __init__(self, left: Callable[[], float]) -> None:
        self.left, self.over, self.done = left, False, threading.Event()
        self.clock = threading.Thread(target=self._wait, daemon=True)

    def __enter__(self) -> None:
        self.clock.start()

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self.done.set()
            self.clock.join()
        except KeyboardInterrupt:
            if not self.over:
                raise
        if self.over and kind is KeyboardInterrupt:
            raise TimeLimit from None

    def _wait(self) -> None:
        while left := self.left():
            if self.done.wait(max(left, LOOK)):
                return
        self.over = True
        while not self.done.wait(0.01):
            _thread.interrupt_main()
