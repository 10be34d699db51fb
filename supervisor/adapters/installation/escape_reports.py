"""The escape suite's last reports, one file for each isolation tier and backend."""

import logging
from pathlib import Path

from contracts.execution.escape_report import EscapeReport
from contracts.wire.errors import ContractError
from contracts.wire.types import BackendName, IsolationTier
from supervisor.adapters.files import write_private

__all__ = ["EscapeReports"]

_log = logging.getLogger(__name__)


class EscapeReports:
    """Stores each report in its canonical form, so that the file's SHA-256 is the report's digest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: tuple[object, ...] = ()
        self._report: EscapeReport | None = None

    def path(self, isolation: IsolationTier, backend: BackendName) -> Path:
        """Return where a report lies."""
        return self._directory / f"{isolation}.{backend}.json"

    def store(self, report: EscapeReport) -> Path:
        """Put a report in the place of the one before."""
        path = self.path(report.isolation, report.backend)
        write_private(path, report.canonical())
        return path

    def read(self, isolation: IsolationTier, backend: BackendName) -> EscapeReport | None:
        """Return the last report; None where there is none, or none that can be read, which is logged."""
        path = self.path(isolation, backend)
        try:
            status = path.stat()
            # Some 100 kB of JSON, read for every execution and changed by hand alone.
            key = (path, status.st_ino, status.st_size, status.st_mtime_ns)
            if self._read != key:
                self._report = EscapeReport.parse(path.read_bytes())
                self._read = key
            return self._report
        except FileNotFoundError:
            return None
        except (OSError, ContractError) as error:
            _log.warning("the report of the escape suite cannot be read: %s: %s", path, error)
            return None
