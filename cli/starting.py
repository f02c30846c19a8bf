"""The process, before anything heavy is imported: what signals do from its first moment, and where its result goes.

As process 1 of a container nothing has a default: a signal without a handler is ignored, and `docker stop` would wait.
Imports only what costs nothing.
"""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, TextIO

END_WITHIN_S = 8.0
"""After a signal, for a command whose thread hangs in a driver. What it had not committed, its database rolls back."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line as the process; returns the exit code of its work, whatever became of its output."""
    end_on_signals()
    result = keep_streams()
    # A page of payouts, like an import, is some hundred thousand objects without cycles: with the default threshold,
    # looking through them again and again was two fifths of a sweep's processor time (docs/performance.md).
    gc.set_threshold(50_000, 20, 100)
    # Imports, through which signals must be obeyed.
    main = importlib.import_module("cli.app").main
    code: int = main([_as_utf_8(one) for one in arguments])
    return _finished(code, result)


def _as_utf_8(argument: str) -> str:
    """An argument as it was typed, whatever encoding the environment says: identities are UTF-8."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument


def end_on_signals() -> None:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: what it has not committed is rolled back. The daemon has others.

    A second signal, or a thread that hangs in a driver, ends it at once.
    """
    seen = threading.Event()

    def end(number: int, _frame: FrameType | None) -> None:
        code = 128 + number
        if seen.is_set():
            os._exit(code)
        seen.set()
        timer = threading.Timer(END_WITHIN_S, os._exit, (code,))
        timer.daemon = True
        timer.start()
        raise SystemExit(code)

    for number in (signal.SIGTERM, signal.SIGHUP):
        # Who was started with it ignored, by nohup for one, leaves it so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


class Output(io.FileIO):
    """Standard output or error that never fails a command: its work is done, and its exit code counts.

    What cannot be written is dropped; ``fault`` keeps the first reason.
    """

    fault: str | None = None
    unopened: str | None = None
    """Why it could not be written to from the beginning."""

    def write(self, data: Any, /) -> int:
        """Write, or drop it."""
        if self.fault is None:
            self.fault = self.unopened
        if self.fault is None:
            try:
                return super().write(data) or 0
            except OSError as error:
                self.fault = error.strerror or type(error).__name__
        return memoryview(data).nbytes


def keep_streams() -> Output:
    """Make standard output and error what a command may always write to; returns the first.

    What their encoding cannot say is written as an escape. A number that is closed is taken, so that no connection to
    a database gets it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    result, said = _output(1, sys.stdout), _output(2, sys.stderr)
    sys.stdout, sys.stderr = _text(result, sys.stdout), _text(said, sys.stderr)
    return result


def is_unread() -> bool:
    """Whether standard output takes nothing more, as when `head` has seen enough: who lists much need not go on."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, Output) and raw.fault is not None


def _output(number: int, opened: object) -> Output:
    output = Output(number, "wb", closefd=False)
    if opened is None:
        output.unopened = os.strerror(errno.EBADF)
    else:
        # One who shares the terminal may have made it refuse to wait.
        os.set_blocking(number, True)
    return output


def _text(output: Output, before: TextIO | None) -> TextIO:
    buffer = io.BufferedWriter(output)
    is_live = before is sys.__stderr__ or output.isatty()
    encoding = "utf-8" if before is None else before.encoding
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", line_buffering=is_live)


def _finished(code: int, result: Output) -> int:
    sys.stdout.flush()
    if result.fault is not None:
        sys.stderr.write(f"The result could not be written to standard output: {result.fault}.\n")
    sys.stderr.flush()
    return code
