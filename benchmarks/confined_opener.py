"""The process that `confined` starts: opens the files it is told, confined like a worker, and says how it went."""

from __future__ import annotations

import contextlib
import copyreg
import gc
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

EXTENSION_CODE = 240
"""under which ``os.system`` stands in the registry of pickle's extensions, so that a file has one to call"""


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
    from auditor.worker.child import PRELOADED
    from auditor.worker.confinement import Seal, confine

    confine(Confinement(memory_gib=order["memory_gib"]))
    for name in PRELOADED:
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
