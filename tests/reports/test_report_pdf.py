"""The PDF: which browser prints it, what becomes of one that fails, and what the paper holds."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from example_audits import audit

import auditor.worker
from auditor import archive, delivery
from auditor.cli import run
from auditor.errors import ConfigError
from auditor.findings import Audit
from auditor.reports import html, pdf

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the browsers played here are scripts")

Play = Callable[[str], Path]
WORKING = "printed.write_bytes(b'%PDF-1.7 played')"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a browser; returns the one folder of its search path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(pdf.VARIABLE, raising=False)
    monkeypatch.setattr(pdf, "APPLICATIONS", ())
    return folder


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """A browser that does what the given lines say; they know ``arguments``, ``page`` and ``printed``."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def written(lines: str) -> Path:
        script = tmp_path / "played-browser"
        start = f"""\
            #!{sys.executable}
            import os, pathlib, subprocess, sys, time
            arguments = sys.argv[1:]
            page = pathlib.Path(arguments[-1].removeprefix("file://"))
            printed = pathlib.Path([a for a in arguments if a.startswith("--print-to-pdf=")][0].partition("=")[2])
            here = pathlib.Path({str(tmp_path)!r})
            """
        script.write_text(textwrap.dedent(start) + textwrap.dedent(lines))
        script.chmod(0o755)
        monkeypatch.setenv(pdf.VARIABLE, str(script))
        return script

    return written


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_variable_names_the_browser_and_the_search_path_comes_next(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = executable(nowhere / "msedge")
    assert pdf.find_browser() == str(edge)
    chromium = executable(nowhere / "chromium")
    assert pdf.find_browser() == str(chromium)
    monkeypatch.setenv(pdf.VARIABLE, str(executable(tmp_path / "mine")))
    assert pdf.find_browser() == str(tmp_path / "mine")
    monkeypatch.setenv(pdf.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"expected a browser where CHROME_PATH says, got nothing to run at .*gone"):
        pdf.find_browser()


def test_a_mac_keeps_its_browsers_elsewhere(nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "APPLICATIONS", (str(tmp_path / "none"), str(executable(tmp_path / "Google Chrome"))))
    assert pdf.find_browser() == str(tmp_path / "Google Chrome")


def test_without_a_browser_nothing_is_scanned(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(auditor.worker, "scan", lambda *_, **__: pytest.fail("it was scanned"))
    assert run(["scan", "m.onnx", "-o", f"pdf={tmp_path / 'r.pdf'}"]) == 4
    said = capsys.readouterr().err
    assert said.startswith("audit: expected Chromium, Chrome or Edge to print a PDF with, got none; ")
    assert "CHROME_PATH" in said
    assert "html=FILE" in said
    assert not (tmp_path / "r.pdf").exists()


def test_a_browser_that_cannot_print_is_found_out_before_the_scan(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play("sys.exit('no usable sandbox')")
    monkeypatch.setattr(auditor.worker, "scan", lambda *_, **__: pytest.fail("it was scanned"))
    assert run(["scan", "m.onnx", "-o", f"pdf={tmp_path / 'r.pdf'}"]) == 4
    assert "got exit code 1 (no usable sandbox); name another browser" in capsys.readouterr().err


def test_the_browser_gets_the_page_in_a_folder_of_its_own_and_no_network(play: Play, backdoored: Audit) -> None:
    play("printed.write_bytes(b'%PDF-' + '\\n'.join(arguments).encode() + b'\\n' + page.read_bytes())")
    given, _, page = pdf.render(backdoored).partition(b"<!DOCTYPE html>")
    assert "<!DOCTYPE html>" + page.decode() == html.render(backdoored)
    arguments = given.decode().removeprefix("%PDF-").splitlines()
    assert {"--headless", "--no-pdf-header-footer", "--host-resolver-rules=MAP * ~NOTFOUND"} <= set(arguments)
    (profile,) = [Path(a.partition("=")[2]) for a in arguments if a.startswith("--user-data-dir=")]
    assert profile.parent.name.startswith("audit-pdf-")
    assert not profile.parent.exists()


@pytest.mark.parametrize("user", [0, 1000])
def test_the_sandbox_is_given_up_for_root_only(play: Play, user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    play("printed.write_bytes(b'%PDF-' + ' '.join(arguments).encode())")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert (b"--no-sandbox" in pdf.print_page("x")) == (user == 0)


@pytest.mark.parametrize(
    ("lines", "got"),
    [
        ("print('noise', file=sys.stderr); sys.exit('cannot open display')", r"exit code 1 \(cannot open display\)"),
        (WORKING + "; sys.exit(9)", "exit code 9"),
        ("os.kill(os.getpid(), 11)", "exit code -11"),
        ("pass", "no PDF"),
        ("printed.write_bytes(b'<html>')", "no PDF"),
    ],
)
def test_a_browser_that_fails_is_one_sentence_and_leaves_nothing(
    play: Play, tmp_path: Path, lines: str, got: str
) -> None:
    play(lines)
    with pytest.raises(ConfigError, match=f"^expected 'played-browser' to print a PDF, got {got}; name another"):
        pdf.print_page("x")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_browser_that_does_not_start_is_told(play: Play) -> None:
    play(WORKING).write_bytes(b"\x7fELF, and no more")
    with pytest.raises(ConfigError, match="expected to start the browser 'played-browser', got: "):
        pdf.print_page("x")


def test_a_browser_that_hangs_is_ended_with_all_that_it_started(play: Play, tmp_path: Path) -> None:
    play("""\
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (here / "part").write_text(str(child.pid))
        (here / "part").rename(here / "child")
        child.wait()
        """)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="got no answer within 2 s; "):
        pdf.print_page("x", limit=2)
    assert time.monotonic() - began < 20
    child = int((tmp_path / "child").read_text())
    while time.monotonic() - began < 20 and running(child):
        time.sleep(0.05)
    assert not running(child)
    assert list((tmp_path / "temporary").iterdir()) == []


def running(pid: int) -> bool:
    """Whether a process is there and is not merely waiting to be counted as dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_browser_that_fails_at_the_end_takes_no_other_report_with_it(
    play: Play, tmp_path: Path, backdoored: Audit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(f"if (here / 'scanned').exists(): sys.exit('out of memory')\n{WORKING}")

    def scan(*_: object, **__: object) -> Audit:
        (tmp_path / "scanned").touch()
        return backdoored

    monkeypatch.setattr(auditor.worker, "scan", scan)
    outputs = [f"-o{name}={tmp_path / name}" for name in ("pdf", "json", "html")]
    assert run(["scan", "m.onnx", "--quiet", *outputs]) == 4
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [f"wrote {tmp_path / 'json'}", f"wrote {tmp_path / 'html'}"]
    assert said[2].startswith("audit: expected 'played-browser' to print a PDF, got exit code 1 (out of memory); ")
    assert len(said) == 3
    assert archive.from_text((tmp_path / "json").read_text()).score == backdoored.score
    assert (tmp_path / "html").read_text() == html.render(backdoored)
    assert not (tmp_path / "pdf").exists()


def test_every_failed_report_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def failing(words: str) -> Callable[[object], str]:
        def render(_: object) -> str:
            raise ConfigError(words)

        return render

    wanted = [
        delivery.Target("a", tmp_path / "a", failing("first")),
        delivery.Target("b", tmp_path / "b", failing("second")),
        delivery.Target("c", tmp_path / "c", lambda _: b"\xff\x00"),
    ]
    written: list[Path] = []
    with pytest.raises(ConfigError, match="first"):
        written.extend(delivery.deliver(None, wanted))
    assert capsys.readouterr().err == "audit: second\n"
    assert (tmp_path / "c").read_bytes() == b"\xff\x00"
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.fixture
def saved(backdoored: Audit, tmp_path: Path) -> str:
    """An audit as a file."""
    (tmp_path / "audit.json").write_text(archive.to_text(backdoored))
    return str(tmp_path / "audit.json")


def test_a_pipe_gets_the_bytes(play: Play, saved: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    play("printed.write_bytes(b'%PDF-\\xff\\r\\n\\x00')")
    assert run(["report", saved, "-o", "pdf=-"]) == 0
    assert capsysbinary.readouterr().out == b"%PDF-\xff\r\n\x00"


def test_a_terminal_does_not(
    play: Play, saved: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(WORKING)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["report", saved, "-o", "pdf=-"]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "got a terminal, which cannot show it; write -o pdf=FILE" in shown.err


@pytest.fixture(scope="module")
def browser() -> str:
    """A browser that is installed here."""
    try:
        return pdf.find_browser()
    except ConfigError:
        pytest.skip("no browser is installed")


def test_the_paper_has_pages_bookmarks_and_tags_for_screen_readers(browser: str) -> None:
    few, many = (pdf.render(audit(k)) for k in (2, 1000))
    for data in (few, many):
        assert data.startswith(b"%PDF-")
        assert data.rstrip().endswith(b"%%EOF")
        assert b"/StructTreeRoot" in data
        assert b"/Outlines" in data
        assert len(data) < 5_000_000
    assert 3 < few.count(b"/Type /Page\n") < many.count(b"/Type /Page\n") < 60


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine: its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()
        thread.join()


def test_the_browser_reaches_no_network_even_if_a_page_asks_it_to(browser: str, server: tuple[str, list[str]]) -> None:
    address, asked = server
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{address}/here").close()
    local = address.replace("127.0.0.1", "localhost")
    page = f'<img src="{address}/a.png"><img src="{local}/b.png"><link rel="stylesheet" href="{address}/c.css">'
    assert pdf.print_page(page).startswith(b"%PDF-")
    assert asked == ["/here"]
