"""Open model files one after another in a process confined like a scan's worker, and tell how each went.

Starting a worker takes seconds, so a corpus of hundreds of files shares one. The process that opens them has the same
limits, environment and seal as the worker (`auditor.worker.confinement`); a file that ends it is told from one that is
refused, and the rest is opened by a new process.
"""

from __future__ import annotations

import contextlib
import copyreg
import gc
import importlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 20.0
"""that one file may take"""

MEMORY_GIB = 3.0
"""that the process may take"""

EXTENSION_CODE = 240
"""under which ``os.system`` stands in the registry of pickle's extensions, so that a file has one to call"""


@dataclass(frozen=True)
class Job:
    """One file to open, with options of `auditor.loading.load_network`."""

    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How one file went."""

    ending: str
    """``loaded``, the name of the exception, ``died`` or ``too slow``"""
    refused: bool
    """whether the exception is one of `auditor.errors`"""
    message: str
    seconds: float
    trespasses: tuple[str, ...] = ()
    """audit events that opening a model never needs, as they were tried"""
    watched: tuple[str, ...] = ()
    """imports by a pickle, imports of bait modules, and opened files among those that must stay closed"""
    peak_mib: float = 0.0
    """resident memory of the whole process at its highest while this file was open"""
    examined: str = ""
    """what the examination without loading raised, if it did: it should never"""
    findings: tuple[str, ...] = ()
    """what that examination found, as ``severity id``"""
    legible: bool = True
    """whether every text of it can be printed as it is"""

    @property
    def sound(self) -> bool:
        """Loaded or refused in a sentence, examined without fail, and nothing tried."""
        ended = (self.ending == "loaded" or self.refused) and not self.examined and self.legible
        return ended and not self.trespasses and not self.watched


def open_all(
    jobs: Sequence[Job],
    *,
    closed: Sequence[str] = (),
    bait: Sequence[str] = (),
    python_path: Sequence[str] = (),
    seconds: float = SECONDS,
    memory_gib: float = MEMORY_GIB,
) -> list[Outcome]:
    """One outcome for each job.

    ``closed`` are paths, or folders, that nothing may open; ``bait`` are modules that nothing may import, found in the
    folders of ``python_path``.
    """
    order = {"memory_gib": memory_gib, "closed": [str(path) for path in closed], "bait": list(bait)}
    found: list[Outcome] = []
    while len(found) < len(jobs):
        with _Opener(order, python_path) as opener:
            for job in jobs[len(found) :]:
                found.append(opener.open(job, seconds))
                if opener.gone:
                    break
    return found


class _Opener:
    """The process that opens files."""

    def __init__(self, order: Mapping[str, Any], python_path: Sequence[str]) -> None:
        from auditor.worker.confinement import environment

        variables = environment(os.environ)
        paths = [*python_path, *filter(None, [variables.get("PYTHONPATH")])]
        variables["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths)
        variables.setdefault("OMP_NUM_THREADS", "1")
        self.gone = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._errors = bytearray()
        for target in (self._listen, self._overhear):
            threading.Thread(target=target, daemon=True).start()
        self._say(order)
        ready = self._answers.get(timeout=120)
        if ready != b"ready\n":
            raise RuntimeError(f"the opening process did not start: {self._last_words()}")

    def __enter__(self) -> _Opener:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()

    def open(self, job: Job, seconds: float) -> Outcome:
        """The outcome; `gone` is set when the process did not survive it."""
        began = time.monotonic()
        self._say(asdict(job))
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            self.gone = True
            return Outcome("too slow", False, f"no answer after {seconds:g} s", seconds)
        if not line:
            self.gone = True
            code = self._process.wait(timeout=10)
            return Outcome("died", False, f"code {code}: {self._last_words()}", time.monotonic() - began)
        answer: dict[str, Any] = json.loads(line)
        lists = {key: tuple(value) for key, value in answer.items() if isinstance(value, list)}
        return Outcome(**{**answer, **lists})

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            self._answers.put(line)
        self._answers.put(b"")

    def _overhear(self) -> None:
        assert self._process.stderr
        while piece := self._process.stderr.read1(4096):  # type: ignore[attr-defined]
            self._errors += piece

    def _last_words(self) -> str:
        time.sleep(0.2)
        return self._errors[-1500:].decode("utf-8", "replace")


class _Witness:
    """Hears what a pickle imports, which bait was taken, and which closed file was opened."""

    def __init__(self, closed: Sequence[str], bait: Sequence[str]) -> None:
        self.closed, self.bait = tuple(closed), frozenset(bait)
        self.heard: list[str] = []
        self.listening = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if event == "pickle.find_class" or (event == "import" and arguments[0] in self.bait):
            self.heard.append(f"{event} {'.'.join(str(part) for part in arguments[:2])}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)) and self.closed:
            path = os.fsdecode(arguments[0])
            if any(path == place or path.startswith(place + os.sep) for place in self.closed):
                self.heard.append(f"open {path}")


class _Memory:
    """The highest resident memory of this process since it was last asked, where the system can say so."""

    def __init__(self) -> None:
        try:  # writing 5 forgets the highest so far (proc(5)); opened now, since nothing may be opened to write later
            self._forget = os.open("/proc/self/clear_refs", os.O_WRONLY)
        except OSError:
            self._forget = -1

    def start(self) -> None:
        with contextlib.suppress(OSError):
            if self._forget >= 0:
                os.write(self._forget, b"5")

    def peak_mib(self) -> float:
        with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """The confined process: jobs on standard input, outcomes on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    order = json.loads(sys.stdin.readline())
    copyreg.add_extension("posix", "system", EXTENSION_CODE)
    from auditor.request import Confinement
    from auditor.worker.confinement import Seal, confine

    confine(Confinement(memory_gib=order["memory_gib"]))
    # as in the worker: what loading needs is imported before the seal closes
    for name in (
        "torchvision",
        "onnxruntime",
        "safetensors",
        "auditor.loading.onnx_graph.network",
        "auditor.loading.torch_weights.state_dict",
    ):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    seal, witness, memory = Seal(), _Witness(order["closed"], order["bait"]), _Memory()
    gc.collect()
    gc.freeze()  # the libraries stay: collecting what a file left behind need not look at them
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        memory.start()
        outcome = _opened(Path(job["path"]), job["options"], seal, witness)
        outcome["peak_mib"] = round(memory.peak_mib(), 1)
        print(json.dumps(outcome), file=answers, flush=True)
        gc.collect()  # what one file left behind is not counted against the next


def _opened(path: Path, options: Mapping[str, Any], seal: Any, witness: _Witness) -> dict[str, Any]:
    from auditor.errors import AuditError

    began = time.monotonic()
    ending, refused, message = "loaded", False, ""
    try:
        with _listening(witness), seal.opening():
            _open(path, options)
    except AuditError as error:
        ending, refused, message = type(error).__name__, True, str(error)
    except Exception as error:
        ending, message = type(error).__name__, f"{type(error).__module__}.{type(error).__qualname__}: {error}"[:2000]
    examined = _examined(path, seal, witness)
    trespasses, heard = list(seal.trespasses), list(witness.heard)
    seal.trespasses.clear()
    witness.heard.clear()
    return {
        "ending": ending,
        "refused": refused,
        "message": message,
        "seconds": round(time.monotonic() - began, 3),
        "trespasses": trespasses,
        "watched": heard,
        **examined,
    }


def _examined(path: Path, seal: Any, witness: _Witness) -> dict[str, Any]:
    """What ``audit inspect`` says of the file, under the same watch."""
    from auditor.inspection import examine
    from auditor.record_json import encode_record

    try:
        with _listening(witness), seal.opening():
            examination = examine(path)
    except Exception as error:
        return {"examined": f"{type(error).__name__}: {error}"[:2000]}
    findings = [f"{finding.severity} {finding.id}" for finding in examination.findings]
    return {"findings": findings, "legible": _legible(encode_record(examination))}


def _legible(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_legible(key) and _legible(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_legible, value))
    return not isinstance(value, str) or value.isprintable()


@contextlib.contextmanager
def _listening(witness: _Witness) -> Iterator[None]:
    witness.listening = True
    try:
        yield
    finally:
        witness.listening = False


def _open(path: Path, options: Mapping[str, Any]) -> None:
    """Load the network, and ask it once: what a file holds may act only when it is used."""
    import torch

    from auditor.loading import load_network

    network = load_network(path, **options)
    shape = network.input_shape or (3, 32, 32)
    if network.input_shape is not None:
        with torch.no_grad(), contextlib.suppress(RuntimeError):
            count = network.fixed_batch or 1
            images = torch.zeros(count, *shape)
            network.module(images.permute(0, 2, 3, 1) if network.layout == "nhwc" else images)


if __name__ == "__main__":
    main()
