"""The command line: exit codes, options from flags and files, where reports go, what is never shown."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from auditor import __version__, archive, cli, options
from auditor.cli import exit_code, run
from auditor.errors import AuditError, ConfigError
from auditor.findings import Audit, FileFacts, ImageFacts, Provenance, Verdict
from auditor.request import ScanRequest
from auditor.terminal import plain

AUDIT = Audit(
    verdict=Verdict.NO_EVIDENCE,
    score=0.1,
    reason="nothing stands out",
    target_classes=(),
    source_classes=(),
    warnings=(),
    evidence=(),
    outcomes=(),
    model=FileFacts(name="model.onnx", sha256="0" * 64, format="onnx", num_classes=10, input_shape=(1, 8, 8)),
    reference=None,
    images=ImageFacts(source="class impressions", count=10, held_out=5, labelled=False),
    provenance=Provenance(seed=0, device="cpu", versions={}, started="2024-01-01T00:00:00+00:00"),
    seconds=1.0,
    image_passes=1,
    family_wise_level=0.01,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ScanRequest]:
    """Requests that reach the scan, which answers `AUDIT` at once."""
    return answering(monkeypatch, AUDIT)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Audit | BaseException) -> list[ScanRequest]:
    import auditor.worker

    seen: list[ScanRequest] = []

    def scan(request: ScanRequest, **_: object) -> Audit:
        seen.append(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(auditor.worker, "scan", scan)
    return seen


@pytest.mark.parametrize("command", [["--help"], ["scan", "--help"], ["detectors", "--help"], ["--version"]])
def test_help_imports_no_torch(command: list[str]) -> None:
    code = (
        "import sys; from auditor.cli import run; assert run(sys.argv[1:]) == 0; "
        "heavy = {'torch', 'torchvision', 'onnx', 'sklearn', 'PIL'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_version_and_bare_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"audit {__version__}\n"
    # a gate whose arguments were lost must not pass
    assert run([]) == 4
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verdict", "fail_on", "code"),
    [
        (Verdict.NO_EVIDENCE, "suspicious", 0),
        (Verdict.SUSPICIOUS, "suspicious", 1),
        (Verdict.BACKDOORED, "suspicious", 1),
        (Verdict.SUSPICIOUS, "backdoored", 0),
        (Verdict.BACKDOORED, "backdoored", 1),
        (Verdict.BACKDOORED, "never", 0),
        (Verdict.INCONCLUSIVE, "suspicious", 2),
        (Verdict.INCONCLUSIVE, "never", 2),
    ],
)
def test_exit_code_of_each_verdict(
    monkeypatch: pytest.MonkeyPatch, verdict: Verdict, fail_on: str, code: int
) -> None:
    assert exit_code(verdict, fail_on) == code
    answering(monkeypatch, replace(AUDIT, verdict=verdict))
    assert run(["scan", "m.onnx", "--quiet", "--fail-on", fail_on]) == code


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["scan"], 3, "expected a model to scan, got none"),
        (["scan", "m.onnx", "--nonsense"], 4, "no such option: --nonsense"),
        (["nonsense"], 4, "no such command 'nonsense'"),
        (["scan", "a.onnx", "b.onnx"], 4, "unexpected extra argument"),
        (["scan", "m.onnx", "--seed"], 4, "--seed"),
        (["scan", "m.onnx", "--seed", "-1"], 4, "expected scan.seed in 0 to"),
        (["scan", "m.onnx", "--level", "0.9"], 4, "expected scan.level in 1e-06 to 0.2, got 0.9"),
        (["scan", "m.onnx", "--device", "tpu"], 4, "one of auto, cpu, cuda"),
        (["scan", "m.onnx", "--range", "0..7"], 4, "0..1, 0..255, -1..1"),
        (["scan", "m.onnx", "--mean", "a,b"], 4, "list of float"),
        (["scan", "m.onnx", "--std", "0"], 4, "model.std"),
        (["scan", "m.onnx", "--fail-on", "clean"], 4, "one of suspicious, backdoored, never"),
        (["scan", "m.onnx", "--detector", "none-such"], 4, "expected a detector among"),
        (["scan", "m.onnx", "--set", "limits.nodez=1"], 4, "known settings: "),
        (["scan", "m.onnx", "--set", "worker.memory_gib=0"], 4, "expected worker.memory_gib in 0.5 to"),
        (
            ["scan", "m.onnx", "--set", "nonsense.steps=1"],
            4,
            "expected a table of settings among scan, model, reference, limits, worker",
        ),
        (["scan", "m.onnx", "--set", "iscp=1"], 4, "detector.setting=value"),
        (["scan", "m.onnx", "--config", "missing.toml"], 4, "expected a settings file"),
        (["scan", "m.onnx", "--reference-mean", "0.5"], 4, "add --reference"),
        (["scan", "m.onnx", "--classes", "missing.txt"], 4, "expected a file of class names"),
        (["scan", "m.onnx", "-o", "docx=a.docx"], 4, "expected a report among"),
        (["scan", "m.onnx", "-o", "report.html"], 4, "expected -o FORMAT=FILE"),
        (["scan", "m.onnx", "-o", "html=missing/r.html"], 4, "expected an existing folder"),
        (["scan", "m.onnx", "-o", "html=."], 4, "expected a file to write"),
        (["scan", "m.onnx", "-o", "html=m.onnx"], 4, "as an input"),
        (["scan", "m.onnx", "-o", "html=r", "-o", "json=r"], 4, "a file of its own"),
        (["scan", "m.onnx", "-o", "html=-", "-o", "json=-"], 4, "one report on standard output"),
        (["detectors", "none-such"], 4, "expected a detector among"),
        (["report", "missing.json"], 4, "expected an audit at 'missing.json'"),
    ],
)
def test_wrong_usage_is_one_sentence_before_any_work(
    arguments: list[str],
    code: int,
    sentence: str,
    asked: list[ScanRequest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not asked
    assert not list(tmp_path.iterdir())


def test_flags_win_over_set_and_file(tmp_path: Path, asked: list[ScanRequest]) -> None:
    config = tmp_path / "audit.toml"
    config.write_text(
        '[scan]\nseed = 1\nlevel = 0.02\nbudget = "5m"\nfail_on = "never"\ndetector = ["iscp"]\n'
        '[model]\npreprocess = "mnist"\nmean = [0.1]\n[reference]\narch = "a.b:c"\n[iscp]\nsteps = 9\n'
    )
    argv = ["scan", "m.onnx", "--config", str(config), "--reference", "r.pt", "--quiet"]
    assert (
        run([*argv, "--seed", "2", "--mean", "0.3", "--set", "scan.level=0.03", "--set", "iscp.steps=8"]) == 0
    )
    (request,) = asked
    assert request.settings.seed == 2
    assert request.settings.level == 0.03
    assert request.settings.budget == "5m"
    assert request.detectors == ("iscp",)
    assert request.detector_settings == {"iscp": {"steps": "8"}}
    assert request.model_options.preprocess == "mnist"
    assert request.model_options.mean == (0.3,)
    assert request.reference_options is not None
    assert request.reference_options.arch == "a.b:c"
    # the reference is read as the suspect is, where it does not say otherwise
    assert request.reference_options.mean == (0.3,)


def test_the_gate_of_a_settings_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "audit.toml").write_text('[scan]\nfail_on = "backdoored"\n')
    answering(monkeypatch, replace(AUDIT, verdict=Verdict.SUSPICIOUS))
    argv = ["scan", "m.onnx", "--quiet", "--config", str(tmp_path / "audit.toml")]
    assert run(argv) == 0
    assert run([*argv, "--fail-on", "suspicious"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scan]\nseeds = 1\n", "known settings: seed, device, budget"),
        ("[scam]\nseed = 1\n", "expected a table of settings among scan, model, reference"),
        ("[limits]\nstep = 1\n", "known settings: file_bytes"),
        ("[model]\nshape = 1\n", "known settings: arch, preprocess"),
        ("seed = 1\n", "expected a table"),
        ("[scan]\nseed = [1]\n", "expected int for scan.seed"),
    ],
)
def test_unknown_keys_of_a_settings_file_fail(
    tmp_path: Path, asked: list[ScanRequest], capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (tmp_path / "audit.toml").write_text(text)
    assert run(["scan", "m.onnx", "--config", str(tmp_path / "audit.toml")]) == 4
    assert message in capsys.readouterr().err
    assert not asked


def test_without_options_the_declared_defaults_hold() -> None:
    request, gate = options.assemble(Path("m.onnx"), {"scan": {"seed": None}})
    assert request == ScanRequest(model=Path("m.onnx"))
    assert gate.fail_on == "suspicious"


def test_reports_are_written_and_rendered_again(
    tmp_path: Path, asked: list[ScanRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = tmp_path / "audit.json", tmp_path / "again.json"
    assert run(["scan", "m.onnx", "-o", f"json={first}", "-o", f"html={tmp_path / 'r.html'}"]) == 0
    shown = capsys.readouterr()
    assert "nothing stands out" in shown.out
    assert "wrote " in shown.err
    assert archive.from_text(first.read_text()) == AUDIT
    assert run(["report", str(first), "-o", f"json={again}", "-o", f"html={tmp_path / 'again.html'}"]) == 0
    assert again.read_text() == first.read_text()
    assert (tmp_path / "again.html").read_text() == (tmp_path / "r.html").read_text()
    assert len(list(tmp_path.iterdir())) == 4  # nothing half-written is left
    capsys.readouterr()
    assert run(["report", str(first)]) == 0
    assert "nothing stands out" in capsys.readouterr().out


def test_a_report_on_standard_output_stands_alone(
    asked: list[ScanRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["scan", "m.onnx", "-o", "json=-"]) == 0
    shown = capsys.readouterr()
    assert archive.from_text(shown.out) == AUDIT
    assert "nothing stands out" in shown.err
    assert run(["scan", "m.onnx", "-o", "json=-", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert archive.from_text(shown.out) == AUDIT
    assert shown.err == ""


def test_a_damaged_audit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"{", b"[]", b'{"schema_version": 1}', b"\xff"):
        (tmp_path / "a.json").write_bytes(content)
        assert run(["report", str(tmp_path / "a.json")]) == 4
        err = capsys.readouterr().err
        assert err.startswith("audit: expected")
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (AuditError("expected a, got b; do c"), 2, "audit: expected a, got b; do c\n"),
        (ConfigError("expected a, got b; do c"), 4, "audit: expected a, got b; do c\n"),
        (ValueError("boom\nmore"), 2, "audit: unexpected ValueError: boom; this is a fault of the auditor"),
        (KeyboardInterrupt(), 2, "interrupted before anything was finished"),
        (RuntimeError("operator torchvision::nms does not exist"), 2, "torchvision built for each other"),
    ],
)
def test_errors_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    sentence: str,
) -> None:
    answering(monkeypatch, error)
    assert run(["scan", "m.onnx"]) == code
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1


def test_debug_shows_where_an_unexpected_error_came_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, ValueError("boom"))
    assert run(["--debug", "scan", "m.onnx"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_a_terminal_would_obey_is_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "a\x1b[2Jb\rc\nd\u202ee\x9b31m"
    assert plain(hostile) == "a\\x1b[2Jb\\rc\\nd\\u202ee\\x9b31m"
    assert plain("grün 数 [bold]") == "grün 数 [bold]"
    answering(monkeypatch, AuditError(hostile))
    run(["scan", "m.onnx"])
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\u202e" not in err


def test_detectors_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detectors"]) == 0
    listed = capsys.readouterr().out
    for name in ("iscp", "bias_map", "pairwise", "dominant_pattern"):
        assert name in listed
        assert run(["detectors", name]) == 0
        page = capsys.readouterr().out
        for word in ("measures", "needs", "setting", "default", "range", "paper", "--set"):
            assert word in page


def test_python_dash_m(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "auditor", "scan", str(tmp_path / "missing.onnx")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "missing.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["audit", "scan"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
