"""The worker's side: take the request, confine this process, do the task, say how it went."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, BinaryIO

from auditor.errors import AuditError, ModelFileError
from auditor.request import ScanRequest
from auditor.worker import protocol
from auditor.worker.confinement import Seal, confine, memory_of

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "Cannot allocate memory")

PRELOADED = (
    "torchvision",
    "onnxruntime",
    "safetensors",
    "auditor.loading.onnx_graph.load",
    "auditor.loading.torch_weights.state_dict",
)

PROGRESS_EVERY = 0.1
"""seconds between two messages about the same work"""


class Channel:
    """Messages to the command, on what was standard output; whatever else prints goes nowhere."""

    def __init__(self) -> None:
        self._stream: BinaryIO = os.fdopen(os.dup(1), "wb")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)

    def send(self, kind: str, **body: Any) -> None:
        """One message; a command that went away ends the worker."""
        try:
            self._stream.write(protocol.write(kind, body))
            self._stream.flush()
        except BrokenPipeError:
            os._exit(1)


Task = Callable[[ScanRequest, Channel, bool], None]


def main() -> None:
    """One task, from standard input to the last message."""
    order = json.loads(sys.stdin.buffer.readline())
    channel = Channel()
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    request = protocol.decode_request(order["request"])
    try:
        confined = confine(request.worker)
        tasks: dict[str, Task] = {
            "scan": _scan,
            "inspect": _inspect,
            "load": partial(_inspect, load=True),
            "explain": partial(_explain, asked=order.get("question")),
        }
        tasks[order["task"]](request, channel, confined)
    except KeyboardInterrupt:
        channel.send("interrupted")
    except AuditError as error:
        channel.send("error", name=type(error).__name__, message=str(error))
    except Exception as error:
        channel.send("error", **_described(error, request))


def _end_with_the_command() -> None:
    """Standard input ends when the command does, however that happened."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


def _described(error: Exception, request: ScanRequest) -> Mapping[str, str]:
    from auditor.doctor import mismatch_sentence

    trap = mismatch_sentence(error)
    if trap is not None:
        return {"name": AuditError.__name__, "message": trap}
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
        return {
            "name": ModelFileError.__name__,
            "message": f"expected a model that fits into {memory_of(request.worker):.1f} GiB of memory, got one that "
            "needs more; give more with --set worker.memory_gib=N, or audit a smaller export",
        }
    text = "".join(traceback.format_exception(error))
    return {"name": type(error).__name__, "message": str(error), "traceback": text}


def _scan(request: ScanRequest, channel: Channel, confined: bool) -> None:
    from dataclasses import replace

    from auditor import archive
    from auditor.findings import Audit
    from auditor.scan import run

    seal = _sealed(request)

    def checkpoint(audit: Audit, concluded: bool) -> None:
        seal.closed = False
        seal.check()
        channel.send("checkpoint", audit=archive.to_dict(audit), concluded=concluded)

    audit = run(request, progress=_progress(channel), checkpoint=checkpoint)
    if not confined:
        warning = "this system offers no bounds on memory and CPU time; the model was opened without them"
        audit = replace(audit, warnings=(*audit.warnings, warning))
    channel.send("done", audit=archive.to_dict(audit))


def _explain(request: ScanRequest, channel: Channel, confined: bool, *, asked: Mapping[str, Any]) -> None:
    from auditor.explain_one import explain_one
    from auditor.record_json import encode_record

    seal = _sealed(request)

    def opened() -> None:
        seal.closed = False
        seal.check()

    explained = explain_one(request, protocol.decode_question(asked), progress=_progress(channel), opened=opened)
    channel.send("done", explained=encode_record(explained))


def _progress(channel: Channel) -> Callable[[str, int, int], None]:
    """Progress as messages, not too many of them."""
    told: dict[str, float] = {}

    def progress(label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - told.get(label, 0.0) > PROGRESS_EVERY:
            told[label] = now
            channel.send("progress", label=label, done=int(done), total=int(total))

    return progress


def _sealed(request: ScanRequest) -> Seal:
    """Closed, unless the caller's own code is about to be imported or the caller's own file to be executed."""
    # what loading needs is imported before the seal closes: imports run programs and write files
    for name in PRELOADED:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    seal = Seal()
    options = [request.model_options, request.reference_options or request.model_options]
    theirs = any(
        (option.arch is not None and not option.arch.startswith(("torchvision:", "timm:"))) or option.unsafe_pickle
        for option in options
    )
    seal.closed = not theirs
    return seal


def _inspect(request: ScanRequest, channel: Channel, confined: bool, *, load: bool = False) -> None:
    """The examination first: a load that dies afterwards must not take it along."""
    from auditor.inspection import examine
    from auditor.record_json import encode_record

    channel.send("checkpoint", examination=encode_record(examine(request.model, request.limits)))
    trial = None
    if load:
        from auditor.trial import try_model

        seal = _sealed(request)
        trial = encode_record(try_model(request))
        seal.closed = False
        seal.check()
    channel.send("done", trial=trial)
