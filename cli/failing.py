"""How a command ends that cannot go on: one sentence on stderr, and the exit code that scripts depend on."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from reconciler.errors import Defect, Halted, InvariantBroken, Outage, ReconcilerError
from reconciler.exit_codes import UNEXPECTED, ExitCode
from reconciler.redaction import redact

INTERRUPTED = 130
"""What shells report for a program ended by Ctrl-C."""


@dataclass(slots=True)
class Ending:
    """The exit code that a command line ends with."""

    code: int = int(ExitCode.CLEAN)


@contextmanager
def exit_code_of() -> Iterator[Ending]:
    """Turn every way to fail into a sentence on stderr and an exit code."""
    ending = Ending()
    try:
        yield ending
    except click.exceptions.Exit as exit_:
        ending.code = exit_.exit_code
    except click.ClickException as error:
        _say(error.format_message())
        ending.code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        ending.code = INTERRUPTED
    except Outage as outage:
        _say(str(outage))
        ending.code = ExitCode.UNREACHABLE
    except Defect as defect:
        _say(str(defect))
        ending.code = UNEXPECTED
    except InvariantBroken as broken:
        _say(f"{broken}. Nothing more is paid until a person has looked.")
        ending.code = ExitCode.HALTED
    except Halted as halted:
        _say(str(halted))
        ending.code = ExitCode.HALTED
    except ReconcilerError as error:
        _say(str(error))
        ending.code = ExitCode.USAGE
    except SystemExit as ended:
        _say("Told to end before it was through; what was not committed is rolled back.")
        ending.code = ended.code if isinstance(ended.code, int) else UNEXPECTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person gets a sentence, not a traceback
        where = traceback.extract_tb(error.__traceback__)[-1]
        _say(f"Unexpected {type(error).__name__} in {where.name} (line {where.lineno}): {error}. This is a defect.")
        ending.code = UNEXPECTED


def _say(sentence: str) -> None:
    text = redact(" ".join(sentence.split())).rstrip(".")
    end = "" if text.endswith(("?", "!")) else "."
    sys.stderr.write(f"{text}{end}\n")
