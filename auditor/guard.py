"""Every way a command can end, as one sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from auditor.errors import AuditError
from auditor.terminal import abandon, plain, say

BELOW_GATE, AT_GATE, FAILED, NOTHING_TO_SCAN, USAGE = range(5)

TYPER_INTERRUPTED = 130
"""what newer versions of Typer return for Ctrl-C instead of raising Abort"""

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""click's, which newer versions of Typer carry inside themselves under another name"""


@dataclass
class Session:
    """What holds for the whole command."""

    debug: bool = False


def guarded(app: Callable[..., Any], arguments: Sequence[str] | None) -> int:
    """Run a Typer application; the exit code. Never a traceback unless ``--debug`` asks for it."""
    session = Session()
    try:
        code = app(arguments, prog_name="audit", standalone_mode=False, obj=session)
        return _interrupted() if code == TYPER_INTERRUPTED else int(code or 0)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except typer.Exit as error:
        return error.exit_code
    except UsageError as error:
        say(f"audit: {_usage_sentence(error)}")
        return USAGE
    except (BrokenPipeError, SystemExit):
        # the reader of the output went away, of which Typer makes an exit with 1: nothing more can be said there
        abandon(sys.stdout)
        return FAILED
    except Exception as error:  # the last line of defence: one sentence, not a traceback
        return _explain(error, session)


def _interrupted() -> int:
    say("audit: interrupted before anything was finished; run it again, with --budget if time is short")
    return FAILED


def _usage_sentence(error: Any) -> str:
    message = plain(str(error.format_message())).rstrip(".")
    command = getattr(getattr(error, "ctx", None), "command_path", "audit") or "audit"
    return f"{message[:1].lower()}{message[1:]}; see {command} --help"


def _explain(error: Exception, session: Session) -> int:
    from auditor.doctor import mismatch_sentence
    from auditor.worker.protocol import Unexpected

    if session.debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    trap = mismatch_sentence(error)
    if trap is not None:
        say(f"audit: {trap}")
        return FAILED
    if isinstance(error, AuditError):
        say(f"audit: {error}")
        return error.exit_code
    name = type(error).__name__
    if isinstance(error, Unexpected):
        name = error.name
        if session.debug:
            for line in error.traceback.splitlines():
                say(line)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    say(
        f"audit: unexpected {name}: {first}; this is a fault of the auditor: "
        "please report it with the output of 'audit doctor' and of 'audit --debug' before the same command"
    )
    return FAILED
