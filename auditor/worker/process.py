"""Start a worker, read its lines as they come, notice when it dies, and end it when it must end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

from auditor.worker import protocol
from auditor.worker.confinement import environment
from auditor.worker.protocol import Message, ProtocolError

KEPT_ERRORS = 4000
"""bytes of the worker's last words"""


class WorkerProcess:
    """One worker: ``python -m auditor.worker``, in a session of its own, so that Ctrl-C reaches it only through us."""

    def __init__(self, task: str, request: Mapping[str, Any], **more: Any) -> None:
        self._process = subprocess.Popen(
            # -P: the folder that the user stands in may hold a torch.py of somebody else's
            [sys.executable, "-P", "-m", "auditor.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(os.environ),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._messages: queue.Queue[Message | ProtocolError | None] = queue.Queue(maxsize=1000)
        self._last_words = bytearray()
        self._threads = [
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._overhear, args=(self._process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        with contextlib.suppress(BrokenPipeError):  # it died already; its end says why
            self._process.stdin.write(json.dumps({"task": task, "request": request, **more}).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def receive(self, seconds: float) -> Message | None:
        """The next message, or None when there is none within ``seconds``.

        Raises `ProtocolError` for a line that is none, and `EOFError` once the worker has ended.
        """
        try:
            found = self._messages.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(found, ProtocolError):
            raise found
        if found is None:
            raise EOFError
        return found

    def interrupt(self) -> None:
        """Ask it to stop and to send what it has; where signals are missing, end it."""
        if os.name == "posix":
            self._process.send_signal(signal.SIGINT)
        else:
            self._process.kill()

    def close(self) -> None:
        """End it, whatever it is doing, with everything it may have started."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def ending(self) -> str:
        """How it ended, in words: after `EOFError`."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "it stopped answering"
        for thread in self._threads:
            thread.join(timeout=5)
        if code < 0:
            return _of_signal(-code)
        words = self._last_words.decode("utf-8", "replace").strip().splitlines()
        return f"it ended with code {code}" + (f": {words[-1][:200]}" if words else "")

    def _listen(self, stream: IO[bytes]) -> None:
        while line := stream.readline(protocol.MOST_BYTES + 1):
            if len(line) > protocol.MOST_BYTES:
                self._messages.put(ProtocolError(f"a message of more than {protocol.MOST_BYTES:,} bytes"))
                break
            try:
                self._messages.put(protocol.read(line))
            except ProtocolError as error:
                self._messages.put(error)
                break
        self._messages.put(None)

    def _overhear(self, stream: IO[bytes]) -> None:
        while piece := stream.read1(4096):  # type: ignore[attr-defined]
            self._last_words += piece
            del self._last_words[:-KEPT_ERRORS]


def _of_signal(number: int) -> str:
    meanings = {
        "SIGKILL": "it was killed from outside, usually because the machine ran out of memory",
        "SIGXCPU": "it used up its CPU time (--set worker.cpu_seconds=N gives more)",
        "SIGSEGV": "a native library crashed",
        "SIGBUS": "a native library crashed",
        "SIGFPE": "a native library crashed",
        "SIGILL": "a native library crashed",
        "SIGABRT": "a native library gave up, usually because it ran out of memory",
    }
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{meanings.get(name, 'it was ended from outside')} ({name})"
