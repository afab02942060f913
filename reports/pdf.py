"""The HTML page on paper: printed to PDF by an installed browser of the Chromium family, without a window or network.

The browser is the one that the environment variable ``CHROME_PATH`` names, or else the first of `NAMES` on the search
path or of `APPLICATIONS` on a Mac. It runs in a temporary folder with a fresh profile and at most `LIMIT` seconds.
A browser from a snap sees no ``/tmp``; there, ``TMPDIR`` has to name a folder that it may read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from auditor.errors import ConfigError
from auditor.findings import Audit

from . import html

VARIABLE = "CHROME_PATH"
"""the environment variable that launchers of Chrome have in common"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge", "microsoft-edge")
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
LIMIT = 120.0
"""seconds; a page of 1000 classes takes two or three"""
INSTEAD = "write -o html=FILE and print that page from any browser"

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it, and the browser dies when it runs out
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    # whatever else it would ask for, no name is found
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-proxy-server",
    "--no-pdf-header-footer",
    "--generate-pdf-document-outline",
)


class Printer:
    """The report format ``pdf``."""

    binary = True
    """it gives bytes, which are nothing for a terminal"""

    def check(self) -> None:
        """Print an empty page, before a scan takes its time; raises `ConfigError` where that does not work."""
        print_page("<!DOCTYPE html><title>empty</title>")

    def __call__(self, audit: Audit) -> bytes:
        """The HTML page of an audit as a PDF; raises `ConfigError` when the browser fails."""
        return print_page(html.render(audit))


render = Printer()


def find_browser() -> str:
    """Path of the browser; raises `ConfigError` without one."""
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise ConfigError(
                f"expected a browser where {VARIABLE} says, got nothing to run at {named!a}; correct it, or {INSTEAD}"
            )
        return found
    for name in (*NAMES, *APPLICATIONS):
        found = shutil.which(name)
        if found is not None:
            return found
    raise ConfigError(
        f"expected Chromium, Chrome or Edge to print a PDF with, got none; install one, or name it in {VARIABLE}, "
        f"or {INSTEAD}"
    )


def print_page(page: str, limit: float = LIMIT) -> bytes:
    """An HTML page, complete in itself, as a PDF.

    Raises `ConfigError` when there is no browser, when it fails and when it takes more than ``limit`` seconds.
    """
    browser = find_browser()
    # a browser that was killed may still be writing to its profile
    with tempfile.TemporaryDirectory(prefix="audit-pdf-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        source, printed, words = folder / "page.html", folder / "page.pdf", folder / "words.txt"
        source.write_text(page, encoding="utf-8", errors="backslashreplace")
        where = (f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={printed}", source.as_uri())
        with words.open("wb") as said:
            code = _run([browser, *FLAGS, *_without_sandbox(), *where], folder, said.fileno(), limit)
        data = printed.read_bytes() if printed.is_file() else b""
        if code == 0 and data.startswith(b"%PDF-"):
            return data
        lines = words.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if code is None:
        got = f"no answer within {limit:g} s"
    else:
        got = f"exit code {code}" if code else "no PDF"
        got += f" ({lines[-1][:200]})" if lines else ""
    raise ConfigError(
        f"expected {Path(browser).name!a} to print a PDF, got {got}; name another browser in {VARIABLE}, or {INSTEAD}"
    )


def _without_sandbox() -> tuple[str, ...]:
    """As root, which is usual in containers, Chromium refuses to start with its sandbox.

    What it opens is our own page: escaped, without scripts, under a policy that allows none.
    """
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return ("--no-sandbox",) if is_root else ()


def _run(command: list[str], folder: Path, errors: int, limit: float) -> int | None:
    """The exit code, or None when it took too long; then it is ended, with all that it started."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd=folder,
            # else crash reports go to the home folder, which need not exist or be writable
            env={**os.environ, "BREAKPAD_DUMP_LOCATION": str(folder / "crashes")},
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(
            f"expected to start the browser {Path(command[0]).name!a}, got: {error.strerror or error}; "
            f"name another in {VARIABLE}, or {INSTEAD}"
        ) from error
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            if os.name == "posix":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
