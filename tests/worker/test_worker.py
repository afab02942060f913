"""The confined process: what it may do, what comes back, and what is left of an audit when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from auditor import archive, errors
from auditor.demo_training import network, save_onnx
from auditor.errors import AuditError, ConfigError, ModelFileError
from auditor.findings import Audit, Verdict
from auditor.loading.limits import Limits
from auditor.request import Confinement, ModelOptions, ScanRequest, ScanSettings
from auditor.worker import protocol, supervise
from auditor.worker.confinement import REFUSED, environment
from auditor.worker.process import WorkerProcess
from auditor.worker.protocol import Message, ProtocolError, Unexpected
from tests.test_cli import AUDIT


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ONNX classifier with seeded weights."""
    path, rng, net = tmp_path_factory.mktemp("worker") / "model.onnx", torch.Generator().manual_seed(0), network()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.1
    save_onnx(path, net)
    return path


def test_a_request_travels_whole() -> None:
    request = ScanRequest(
        model=Path("m.onnx"),
        reference=Path("r.pt"),
        model_options=ModelOptions(mean=(0.1, 0.2, 0.3), allow_torchscript=True),
        reference_options=ModelOptions(arch="torchvision:resnet18"),
        settings=ScanSettings(seed=7, budget="90s", black_box=True),
        detectors=("iscp", "blend"),
        detector_settings={"iscp": {"steps": "9"}},
        limits=Limits(nodes=7),
        worker=Confinement(memory_gib=2.5, cpu_seconds=60),
    )
    sent = json.loads(json.dumps(protocol.encode_request(request)))
    assert protocol.decode_request(sent) == request
    assert protocol.decode_request(json.loads(json.dumps(protocol.encode_request(ScanRequest(model=Path("a"))))))


def test_secrets_stay_behind() -> None:
    kept = environment({"PATH": "/bin", "OMP_NUM_THREADS": "1", "AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "t"})
    assert kept == {"PATH": "/bin", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"kind": "exec"}', b"\xff", b"[" * 100_000, b'{"kind": ["done"]}'],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises((ProtocolError, TypeError)):
        protocol.read(line)


def test_errors_come_back_as_what_they_were() -> None:
    for name in ("ConfigError", "UnsafeFileError", "ModelMismatchError"):
        found = protocol.error_of({"name": name, "message": "m"})
        assert type(found) is getattr(errors, name)
    assert isinstance(protocol.error_of({"name": "SystemExit", "message": "m"}), Unexpected)
    assert isinstance(protocol.error_of({"name": "annotations"}), Unexpected)


TRIES = {
    "subprocess.Popen": "import subprocess; subprocess.run(['true'])",
    "os.system": "os.system('true')",
    "os.exec": "os.execv('/bin/true', ['true'])",
    "os.posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "os.fork": "os.fork()",
    "os.forkpty": "os.forkpty()",
    "pty.spawn": "import pty; pty.spawn(['true'])",
    "socket.connect": "socket.socket().connect(('127.0.0.1', 9))",
    "socket.bind": "socket.socket().bind(('127.0.0.1', 0))",
    "socket.sendto": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "socket.sendmsg": "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', 9))",
    "socket.getaddrinfo": "socket.getaddrinfo('localhost', 9)",
    "socket.gethostbyname": "socket.gethostbyname('localhost')",
    "os.remove": "os.remove('kept')",
    "os.rename": "os.rename('kept', 'moved')",
    "os.rmdir": "os.rmdir('.')",
    "os.mkdir": "os.mkdir('made')",
    "os.link": "os.link('kept', 'linked')",
    "os.symlink": "os.symlink('kept', 'linked')",
    "os.truncate": "os.truncate('kept', 0)",
    "os.chmod": "os.chmod('kept', 0)",
    "os.chown": "os.chown('kept', 1, 1)",
    "os.putenv": "os.environ['SET'] = '1'",
    "os.kill": "os.kill(os.getpid(), 0)",
    "shutil.rmtree": "import shutil; shutil.rmtree('.')",
    "shutil.copyfile": "import shutil; shutil.copyfile('kept', 'copied')",
    "shutil.move": "import shutil; shutil.move('kept', 'moved')",
    "webbrowser.open": "import webbrowser; webbrowser.GenericBrowser('true').open('http://localhost:9')",
    "open": "open('canary', 'w')",
}
"""audit event → code that raises it"""

WINDOWS = {"os.startfile", "os.spawn"}


@pytest.mark.parametrize("event", TRIES)
def test_the_seal_refuses(event: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    code = """
        import os, pty, shutil, socket, subprocess, webbrowser
        from auditor.errors import UnsafeFileError
        from auditor.worker.confinement import Seal
        seal = Seal()
        open(os.devnull, "w").close()
        try:
            with seal.opening():
                open("kept").close()          # reading is allowed
                open(os.devnull, "w").close()
                try:
                    exec(ATTEMPT)
                except UnsafeFileError:
                    pass                       # a loader that catches everything hides nothing
        except UnsafeFileError as error:
            print("refused:", seal.trespasses[0], error)
    """.replace("ATTEMPT", repr(TRIES[event]))
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith(f"refused: {event} "), done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "x"


def test_every_refused_event_is_tried() -> None:
    """A misspelt event would never fire."""
    assert set(TRIES) - {"open"} == REFUSED - WINDOWS


class Scripted:
    """Stands in for a worker: plays messages, then ends."""

    def __init__(self, *messages: Message | BaseException | None, ending: str = "a native library crashed") -> None:
        self.messages: Iterator[Message | BaseException | None] = iter(messages)
        self.how, self.interrupts, self.closed = ending, 0, False

    def __call__(self, task: str, request: dict[str, Any]) -> Scripted:
        return self

    def receive(self, seconds: float) -> Message | None:
        found = next(self.messages, EOFError())
        if isinstance(found, BaseException):
            raise found
        return found

    def interrupt(self) -> None:
        self.interrupts += 1

    def ending(self) -> str:
        return self.how

    def close(self) -> None:
        self.closed = True


def told(audit: Audit, kind: str = "checkpoint") -> Message:
    return Message(kind, {"audit": json.loads(json.dumps(archive.to_dict(audit)))})


def scanned(monkeypatch: pytest.MonkeyPatch, model: Path, script: Scripted, **options: Any) -> Audit:
    monkeypatch.setattr(supervise, "WorkerProcess", script)
    try:
        return supervise.scan(ScanRequest(model=model, **options))
    finally:
        assert script.closed


def test_a_finished_audit_comes_back(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    assert scanned(monkeypatch, model, Scripted(told(AUDIT), told(AUDIT, "done"))) == AUDIT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Verdict.NO_EVIDENCE, Verdict.INCONCLUSIVE),
        (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        (Verdict.BACKDOORED, Verdict.BACKDOORED),
    ],
)
def test_a_worker_that_dies_leaves_what_was_finished(
    monkeypatch: pytest.MonkeyPatch, model: Path, before: Verdict, after: Verdict
) -> None:
    half = replace(AUDIT, verdict=before, reason="so far")
    audit = scanned(monkeypatch, model, Scripted(told(half)))
    assert audit.verdict is after
    assert "a native library crashed" in audit.warnings[-1]
    assert audit.model == AUDIT.model
    assert ("so far" in audit.reason) == (after is Verdict.BACKDOORED)


def test_a_worker_that_dies_while_explaining_keeps_its_verdict(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    final = told(replace(AUDIT, verdict=Verdict.NO_EVIDENCE, reason="all measured"))
    concluded = Message("checkpoint", {**final.body, "concluded": True})
    audit = scanned(monkeypatch, model, Scripted(concluded))
    assert audit.verdict is Verdict.NO_EVIDENCE
    assert audit.reason == "all measured"
    assert "the verdict is final, its explanations are not" in audit.warnings[-1]


@pytest.mark.parametrize(
    "script",
    [
        Scripted(),
        Scripted(ProtocolError("a line that is not JSON")),
        Scripted(Message("done", {"audit": {"verdict": "no_evidence"}})),
        Scripted(Message("checkpoint", {"audit": []})),
    ],
    ids=["death", "junk", "damaged audit", "damaged checkpoint"],
)
def test_nothing_that_was_sent_is_believed_unchecked(
    monkeypatch: pytest.MonkeyPatch, model: Path, script: Scripted
) -> None:
    audit = scanned(monkeypatch, model, script)
    assert audit.verdict is Verdict.INCONCLUSIVE
    assert len(audit.model.sha256) == 64
    assert audit.reason.startswith("Nothing can be concluded")


def test_an_error_of_the_worker_is_raised_here(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    told_error = Message("error", {"name": "ConfigError", "message": "expected a, got b"})
    with pytest.raises(ConfigError, match="expected a, got b"):
        scanned(monkeypatch, model, Scripted(told_error))


def test_a_load_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setattr(supervise.time, "monotonic", iter(range(0, 10_000, 500)).__next__)
    audit = scanned(monkeypatch, model, Scripted(*[None] * 20))
    assert audit.verdict is Verdict.INCONCLUSIVE
    assert "worker.loading_seconds" in audit.reason


def test_ctrl_c_asks_once_and_ends_at_the_second(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    once = Scripted(told(AUDIT), KeyboardInterrupt(), told(AUDIT, "done"))
    assert scanned(monkeypatch, model, once) == AUDIT
    assert once.interrupts == 1
    twice = Scripted(told(AUDIT), KeyboardInterrupt(), None, KeyboardInterrupt())
    assert scanned(monkeypatch, model, twice).verdict is Verdict.INCONCLUSIVE
    early = Scripted(KeyboardInterrupt(), Message("interrupted"))
    with pytest.raises(KeyboardInterrupt):
        scanned(monkeypatch, model, early)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_is_killed_leaves_an_inconclusive_audit(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """The real process, killed as the kernel kills what takes too much memory."""
    monkeypatch.setenv("MY_TOKEN", "secret")
    receive, environments = WorkerProcess.receive, []

    def killing(self: WorkerProcess, seconds: float) -> Message | None:
        found = receive(self, seconds)
        if found is not None and found.kind == "checkpoint":
            environments.append(Path(f"/proc/{self._process.pid}/environ").read_bytes())
            os.kill(self._process.pid, signal.SIGKILL)
        return found

    monkeypatch.setattr(WorkerProcess, "receive", killing)
    audit = supervise.scan(ScanRequest(model=model))
    assert audit.verdict is Verdict.INCONCLUSIVE
    assert "SIGKILL" in audit.reason
    assert (audit.model.num_classes, audit.model.input_shape) == (10, (1, 28, 28))
    assert environments
    assert b"MY_TOKEN" not in environments[0]


def test_memory_beyond_the_limit_is_one_sentence_or_an_inconclusive_audit(model: Path) -> None:
    """Which of the two depends on whether Python or a native library meets the limit."""
    try:
        told_of = supervise.scan(ScanRequest(model=model, worker=Confinement(memory_gib=0.5))).reason
    except ModelFileError as error:
        told_of = str(error)
    assert "memory" in told_of


def test_the_command_imports_no_torch(model: Path) -> None:
    code = (
        "import sys; from auditor.cli import run; assert run(sys.argv[1:]) == 4; "
        "heavy = {'torch', 'onnx', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    argv = [sys.executable, "-c", code, "scan", str(model), "--set", "iscp.stepz=1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "known settings: " in done.stderr


def test_an_error_inside_a_worker_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no model at all")
    with pytest.raises(AuditError):
        supervise.scan(ScanRequest(model=tmp_path / "m.onnx"))
