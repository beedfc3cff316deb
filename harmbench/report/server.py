"""A local web server for one run: its page, its files, and the volumes that the page has no space for.

It listens on 127.0.0.1 alone. It answers with files that lie in the run folder, after links are
resolved, and with the run's own scans and outputs, which are asked for by the names of subject,
direction and method, never by a path.
"""

from __future__ import annotations

import functools
import gzip
import mimetypes
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from harmbench.errors import ReportError
from harmbench.metrics.suite import METRICS
from harmbench.report.evidence import Evidence
from harmbench.report.loading import load_evidence
from harmbench.report.packing import Part, SubjectVolumes, pack
from harmbench.volume import Volume

__all__ = ["RunServer", "open_server"]

_HOST = "127.0.0.1"
_NAMES = (_HOST, "localhost")


class RunServer(ThreadingHTTPServer):
    """Serves one run; `serve_forever` runs it, `server_close` frees the port.

    Attributes:
        root: the run folder, links resolved.
        page: address of the page, below `/`.
        evidence: the run.
    """

    daemon_threads = True

    def __init__(self, root: Path, page: str, evidence: Evidence, port: int) -> None:
        super().__init__((_HOST, port), _Handler)
        self.root = root
        self.page = page
        self.evidence = evidence

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{_HOST}:{self.server_port}/{self.page}"

    def find(self, path: str) -> Path | None:
        """Return the file of the run folder that a decoded path names; `None` for all others."""
        try:
            found = (self.root / path.lstrip("/")).resolve()
            inside = found.is_relative_to(self.root) and found.is_file()
        except (OSError, ValueError):
            return None
        return found if inside else None

    def volume(self, asked: Mapping[str, str]) -> bytes | None:
        """Return a volume as a compressed NIfTI file; `None` where the run has none of the names."""
        subject, part = asked.get("subject", ""), asked.get("part", "image")
        known = {name for names in self.evidence.groups.values() for name in names}
        if subject not in known or part not in {"image", "labels"}:
            return None
        volumes = SubjectVolumes(self.evidence, subject)
        found = _choose(volumes, asked, "labels" if part == "labels" else "image")
        if found is None:
            return None
        return gzip.compress(pack(found, volumes.window), compresslevel=1, mtime=0)


@functools.lru_cache(maxsize=64)
def _answer(server: RunServer, asked: tuple[tuple[str, str], ...]) -> bytes | None:
    """Return the volume asked for; those asked for lately stay in memory."""
    return server.volume(dict(asked))


def _choose(volumes: SubjectVolumes, asked: Mapping[str, str], part: Part) -> Volume | None:
    ways = {str(way): way for way in volumes.evidence.directions}
    way = ways.get(asked.get("direction", ""))
    method, side = asked.get("method", ""), asked.get("side", "")
    if way is None:
        return None
    if side in {"source", "target"}:
        return volumes.scan(volumes.session(way, "source" if side == "source" else "target"), part)
    return volumes.output(method, way, part) if method in volumes.evidence.methods else None


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: RunServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a file or a volume."""
        self._respond(body=True)

    def do_HEAD(self) -> None:
        """Answer with the headers alone."""
        self._respond(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing: the terminal shows the address."""

    def _respond(self, *, body: bool) -> None:
        # A page elsewhere could reach this server under a name of its own that leads to 127.0.0.1.
        if self.headers.get("Host", "").partition(":")[0] not in _NAMES:
            self._send(HTTPStatus.FORBIDDEN, b"", "text/plain", body=body)
            return
        target = urlsplit(self.path)
        path = unquote(target.path)
        if path == "/":
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", f"/{self.server.page}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path == "/volume":
            content = _answer(self.server, tuple(sorted(parse_qsl(target.query))))
            kind = "application/gzip"
        else:
            file = self.server.find(path)
            content = None if file is None else file.read_bytes()
            kind = "" if file is None else mimetypes.guess_type(file.name)[0] or "text/plain"
        if content is None:
            self._send(HTTPStatus.NOT_FOUND, b"not in this run\n", "text/plain", body=body)
        else:
            self._send(HTTPStatus.OK, content, kind, body=body)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, *, body: bool) -> None:
        text = kind.startswith("text/") or kind == "application/json"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        if body:
            self.wfile.write(content)


def open_server(run: Path, port: int = 0) -> RunServer:
    """Open a server for a run whose report stands in its folder.

    Args:
        run: the run folder.
        port: from 1 to 65535; 0 takes one that is free.

    Raises:
        ReportError: the folder is not a run's, has no report, or the port is taken.
    """
    root = Path(run).resolve()
    evidence = load_evidence([root], METRICS)
    page = root / "report" / "index.html"
    if not page.is_file():
        raise ReportError(f"{run}: no report yet; make it with: harmbench report {run}")
    try:
        return RunServer(root, quote(page.relative_to(root).as_posix()), evidence, port)
    except (OSError, OverflowError) as error:
        raise ReportError(f"port {port} of {_HOST} cannot be used: {error}") from error
