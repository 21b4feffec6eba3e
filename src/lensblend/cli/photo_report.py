"""What ``lensblend render`` says of each photo: lines of JSON on standard output, and a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lensblend.cli.photo_files import STREAM, Job
from lensblend.errors import DataError
from lensblend.runs.messages import say
from lensblend.storage import json_text


class Report:
    """Keeps what became of photos, and says it.

    Args:
        files: What is written for each photo.
        common: What is true of all: device, settings.
        stream: Where a line of JSON is written for each photo; None writes none.
    """

    def __init__(self, files: Mapping[Job, Sequence[Path]], common: Mapping[str, Any], stream: Any = None) -> None:
        self.failures: dict[Job, str] = {}
        self._files, self._common, self._stream = files, common, stream
        self._rendered = self._skipped = 0

    def skipped(self, job: Job) -> None:
        """Count a photo whose rendering is there."""
        self._skipped += 1
        self._write(job, "skipped")

    def failed(self, job: Job, reason: str) -> None:
        """Count a photo that cannot be rendered."""
        reason = reason.replace(str(job.source), job.name)
        self.failures[job] = reason if job.name in reason else f"{job.name}: {reason}"
        self._write(job, "failed", error=self.failures[job])

    def rendered(self, job: Job, size: tuple[int, int], seconds: float) -> None:
        """Count a photo that was rendered, of this height and width."""
        self._rendered += 1
        self._write(job, "rendered", size=list(size), seconds=round(seconds, 3))

    def _write(self, job: Job, status: str, **more: Any) -> None:
        if self._stream is None:
            return
        output = str(self._files[job][0]) if self._files[job] else str(STREAM)
        line = {"file": job.name, "output": output, "status": status, "size": None, "seconds": None, "error": None}
        self._stream.write(json_text({**line, **self._common, **more}, None) + "\n")
        self._stream.flush()

    def conclude(self, output: Path | None) -> None:
        """Say how many were rendered, and where to.

        Raises:
            DataError: Some could not be; the message names all of them.
        """
        streamed = any(job.target == STREAM for job in self._files)
        place = "to standard output" if streamed else "beside them" if output is None else f"into {output}"
        left = f"; renderings of {self._skipped} were there and left alone" if self._skipped else ""
        say(f"{self._rendered} of {len(self._files)} photos rendered {place}{left}")
        if self.failures:
            raise DataError("Not rendered:\n  " + "\n  ".join(self.failures.values()))
