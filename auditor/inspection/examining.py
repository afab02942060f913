"""``examine``: what a model file says of itself, found without running anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditor.errors import ModelFileError
from auditor.findings import FileFinding
from auditor.inspection.examination import Examination
from auditor.inspection.grouping import grouped
from auditor.loading.file_format import check_is_file, sha256_of
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.quoting import quoted

_MOST = {"inputs": 64, "outputs": 64, "operations": 512, "pickled_globals": 1000, "external_files": 1000}
"""how much of each list is kept: a hostile file can make any of them as long as itself"""


def examine(path: Path, limits: Limits = DEFAULT_LIMITS) -> Examination:
    """Examine a model file of any kind; nothing in it is executed, evaluated or followed out of its folder.

    A damaged or dangerous file gives an Examination whose findings say so. Raises ModelFileError only when there is
    no file to examine: missing, empty, a folder, or above ``limits.file_bytes``.
    """
    check_is_file(path, limits)
    from auditor.inspection.kinds import examiner

    kind, look = examiner(path)
    fields: dict[str, Any] = {}
    findings: list[FileFinding] = []
    try:
        fields, findings = look(path, limits)
    except ModelFileError as error:
        findings = [FileFinding("unreadable", "danger", str(error))]
    except Exception as error:
        # a parser met what its author did not think of; the file is the cause, and the reader is told
        reason = quoted(f"{type(error).__name__}: {error}", 160)
        findings = [
            FileFinding(
                "unreadable",
                "danger",
                f"expected a complete model file, got one that cannot be examined ({reason}); export or save it again",
            )
        ]
    for name, most in _MOST.items():
        fields[name] = fields.get(name, ())[:most]
    return Examination(
        file_name=quoted(path.name)[1:-1],
        size=path.stat().st_size,
        sha256=sha256_of(path),
        format=str(fields.pop("format", kind)),
        findings=tuple(grouped(findings)),
        **fields,
    )
