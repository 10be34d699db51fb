import hashlib
import logging
from pathlib import Path

import pytest

from supervisor.adapters.installation.escape_reports import EscapeReports
from tests.factories import make_escape_report


def test_a_report_is_read_as_it_was_stored_and_its_file_has_its_digest(tmp_path: Path) -> None:
    reports, report = EscapeReports(tmp_path / "escape"), make_escape_report()
    path = reports.store(report)
    assert reports.read("hardened", "cpu_avx2") == report
    assert "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() == report.canonical_digest()
    assert path.stat().st_mode & 0o777 == 0o600
    later = make_escape_report(kernel="6.19.0")
    reports.store(later)
    assert reports.read("hardened", "cpu_avx2") == later


def test_of_another_tier_or_backend_there_is_none(tmp_path: Path) -> None:
    reports = EscapeReports(tmp_path / "escape")
    reports.store(make_escape_report())
    assert reports.read("gvisor", "cpu_avx2") is None
    assert reports.read("hardened", "cpu_avx512") is None


def test_a_broken_report_is_none_and_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reports = EscapeReports(tmp_path)
    reports.path("hardened", "cpu_avx2").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert reports.read("hardened", "cpu_avx2") is None
    assert "cannot be read" in caplog.text
