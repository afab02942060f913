"""The command's side: run a scan in a worker, watch the clocks, and make an audit of whatever comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from auditor import __version__, archive, record_json
from auditor.errors import AuditError, ConfigError
from auditor.explained import Explained
from auditor.findings import Audit, FileFacts, ImageFacts, Provenance, Trial, Verdict
from auditor.inspection.examination import Examination
from auditor.loading.file_format import check_is_file, sha256_of
from auditor.progress import Progress
from auditor.request import Question, ScanRequest
from auditor.settings import parse_duration
from auditor.worker import protocol
from auditor.worker.process import WorkerProcess
from auditor.worker.protocol import Message, ProtocolError

OPENING = "opening the model"

TICK = 0.2
"""seconds between two looks at the clocks"""

GRACE = 60.0
"""seconds that an interrupted worker, or one beyond its budget, has to send what it has"""


class _NothingFinished(Exception):
    """The worker was interrupted before there was anything to keep."""


class WorkerDied(Exception):
    """The worker ended without a result; the text says how."""


@dataclass
class _Watch:
    """One worker under observation."""

    worker: WorkerProcess
    load_by: float
    end_by: float | None
    progress: Progress | None
    checkpoint: Mapping[str, Any] | None = None
    interrupted: bool = False
    began: float = field(default_factory=time.monotonic)

    def result(self) -> Mapping[str, Any]:
        """The body of its ``done`` message.

        Raises `WorkerDied` when there is none, whatever the worker reported as an error, and KeyboardInterrupt when
        it was interrupted before anything was finished.
        """
        while True:
            try:
                message = self.worker.receive(TICK)
                if message is not None and (done := self._taken(message)) is not None:
                    return done
            except KeyboardInterrupt:
                self._pass_on_interrupt()
            except EOFError:
                raise WorkerDied(self.worker.ending()) from None
            except ProtocolError as error:
                raise WorkerDied(f"it sent {error}") from None
            self._look_at_clocks()

    def _taken(self, message: Message) -> Mapping[str, Any] | None:
        if message.kind == "done":
            return message.body
        if message.kind == "error":
            raise protocol.error_of(message.body)
        if message.kind == "interrupted":
            raise _NothingFinished
        if message.kind == "checkpoint":
            self.checkpoint = message.body
        if self.progress is not None:
            self.progress(*((OPENING, 1, 1) if message.kind == "checkpoint" else protocol.progress_of(message.body)))
        return None

    def _pass_on_interrupt(self) -> None:
        """Once, it is asked to stop; twice, it is ended."""
        if self.interrupted:
            raise WorkerDied("interrupted by the user")
        self.interrupted = True
        self.end_by = min(self.end_by or float("inf"), time.monotonic() + GRACE)
        self.worker.interrupt()

    def _look_at_clocks(self) -> None:
        now = time.monotonic()
        if self.checkpoint is None and now > self.load_by:
            raise WorkerDied(
                f"the model was not open after {now - self.began:.0f} s (--set worker.loading_seconds=N gives more)"
            )
        if self.end_by is not None and now > self.end_by:
            raise WorkerDied("it did not stop at the end of its time")


def scan(request: ScanRequest, *, progress: Progress | None = None) -> Audit:
    """One whole audit, in a confined process of its own; imports no torch.

    Raises what `auditor.scan.run` raises. When the worker dies, the audit holds what was finished; its verdict is
    ``inconclusive``, unless what was finished convicts the model already.
    """
    for path in (request.model, request.reference):
        if path is not None:
            check_is_file(path, request.limits)
    if progress is not None:
        progress(OPENING, 0, 0)
    started = datetime.now(UTC)
    budget = parse_duration(request.settings.budget)
    now = time.monotonic()
    worker = WorkerProcess("scan", protocol.encode_request(request))
    watch = _Watch(
        worker,
        load_by=now + request.worker.loading_seconds,
        end_by=None if budget is None else now + request.worker.loading_seconds + 1.25 * budget + GRACE,
        progress=progress,
    )
    try:
        return _audit(watch.result())
    except WorkerDied as died:
        return _unfinished(request, watch, started, str(died))
    except _NothingFinished:
        raise KeyboardInterrupt from None
    finally:
        worker.close()


def explain(request: ScanRequest, question: Question, *, progress: Progress | None = None) -> Explained:
    """``audit explain`` in a confined process of its own; raises `AuditError`, also when that process dies."""
    for path in (request.model, request.reference):
        if path is not None:
            check_is_file(path, request.limits)
    worker = WorkerProcess(
        "explain", protocol.encode_request(request), question=protocol.encode_question(question)
    )
    watch = _Watch(worker, load_by=float("inf"), end_by=None, progress=progress)
    try:
        return cast(Explained, record_json.decode_record(Explained, watch.result().get("explained"), "explained"))
    except WorkerDied as died:
        raise AuditError(
            f"expected pictures of '{request.model.name}', got no end of it: the process that drew them ended: {died}; "
            "give it more with --set worker.memory_gib=N, or ask for less with --explain standard"
        ) from None
    except _NothingFinished:
        raise KeyboardInterrupt from None
    finally:
        worker.close()


@dataclass(frozen=True)
class Inspected:
    """What is known of a file without scanning it."""

    examination: Examination
    trial: Trial | None = None
    """None unless loading was asked for and worked"""
    error: AuditError | None = None
    """why loading did not work"""


def inspect_file(request: ScanRequest, *, load: bool = False) -> Inspected:
    """Examine the model file in a confined process of its own; with ``load``, open it too.

    Raises `AuditError` for what cannot even be examined. An error while loading is part of the result.
    """
    check_is_file(request.model, request.limits)
    worker = WorkerProcess("load" if load else "inspect", protocol.encode_request(request))
    end_by = time.monotonic() + request.worker.loading_seconds
    watch = _Watch(worker, load_by=end_by, end_by=end_by, progress=None)
    trial, error = None, None
    try:
        encoded = watch.result().get("trial")
        trial = record_json.decode_record(Trial, encoded, "trial") if encoded is not None else None
    except WorkerDied as died:
        error = AuditError(f"expected to read '{request.model.name}' in a process of its own, got no end of it: {died}")
    except AuditError as refused:
        error = refused
    finally:
        worker.close()
    if watch.checkpoint is None:
        assert error is not None
        raise error
    found = record_json.decode_record(Examination, watch.checkpoint.get("examination"), "examination")
    return Inspected(found, trial, error)


def as_json(found: Inspected) -> str:
    """What `inspect_file` found, as indented JSON."""
    data = {
        "examination": record_json.encode_record(found.examination),
        "trial": None if found.trial is None else record_json.encode_record(found.trial),
        "error": None if found.error is None else str(found.error),
    }
    return json.dumps(data, indent=1, allow_nan=False)


def _audit(body: Mapping[str, Any]) -> Audit:
    try:
        return archive.from_dict(body.get("audit"))
    except ConfigError as error:  # it speaks of a file that the user gave, which there is none of
        raise WorkerDied(f"it sent a damaged audit ({error})") from None


def _unfinished(request: ScanRequest, watch: _Watch, started: datetime, why: str) -> Audit:
    """What there is of an audit whose worker died."""
    audit = None
    if watch.checkpoint is not None:
        try:
            audit = _audit(watch.checkpoint)
        except WorkerDied as damaged:
            why = f"{why}; {damaged}"
    if audit is None:
        audit = _never_opened(request, started)
    if watch.checkpoint is not None and watch.checkpoint.get("concluded") is True:
        warning = f"the verdict is final, its explanations are not: the process that drew them did not finish: {why}"
        return replace(audit, warnings=(*audit.warnings, warning))
    told = f"the process that measured the model did not finish: {why}"
    verdict = Verdict.INCONCLUSIVE if audit.verdict is Verdict.NO_EVIDENCE else audit.verdict
    reason = f"Nothing can be concluded: {told}." if verdict is Verdict.INCONCLUSIVE else audit.reason
    seconds = time.monotonic() - watch.began
    return replace(audit, verdict=verdict, reason=reason, warnings=(*audit.warnings, told), seconds=seconds)


def _never_opened(request: ScanRequest, started: datetime) -> Audit:
    return Audit(
        verdict=Verdict.INCONCLUSIVE,
        score=0.0,
        reason="",
        target_classes=(),
        source_classes=(),
        warnings=(),
        evidence=(),
        outcomes=(),
        model=FileFacts(request.model.name, sha256_of(request.model), "not opened"),
        reference=None,
        images=ImageFacts("none", 0, 0, False),
        provenance=Provenance(
            request.settings.seed,
            "not chosen",
            {"backdoor-auditor": __version__},
            started.isoformat(timespec="seconds"),
            {"request": protocol.encode_request(request)["settings"]},
        ),
        seconds=0.0,
        image_passes=0,
        family_wise_level=request.settings.level,
        blind_spots=("Nothing was measured: the model was never open.",),
    )
