"""The local server: it shows one run, and nothing else of the machine."""

from __future__ import annotations

import gzip
import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import nibabel as nib
import numpy as np
import pytest

from harmbench.errors import ReportError
from harmbench.report.server import RunServer, open_server

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def server(finished_report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunServer]:
    finished_run = finished_report.parent
    outside = tmp_path_factory.mktemp("outside") / "secret.txt"
    outside.write_text("secret")
    (finished_run.parent / "secret.txt").write_text("secret")
    (finished_run / "link.txt").symlink_to(outside)
    (finished_run / "folder").symlink_to(outside.parent)
    (finished_run / "inside.txt").symlink_to(finished_run / "run.json")
    with open_server(finished_run) as opened:
        thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def get(server: RunServer, path: str, method: str = "GET", host: str = "") -> tuple[int, bytes]:
    """Ask with the path as it is: clients of a higher level tidy it up first."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=bool(host))
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_it_listens_to_this_machine_alone(server: RunServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address.endswith("/report/index.html")
    assert get(server, "/")[0] == 302
    assert get(server, "/report/index.html")[0] == 200
    assert get(server, "/run.json", "HEAD") == (200, b"")
    assert get(server, "/inside.txt")[0] == 200, "a link to a file of the run"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/report/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/report/%2e%2e/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/%2fetc%2fpasswd",
        "///etc/passwd",
        "/link.txt",
        "/folder/secret.txt",
        "/run.json%00.txt",
        "/report",
        "/cells",
        "/nothing",
        "/" + "a" * 5000,
    ],
)
def test_nothing_outside_the_run_is_served(server: RunServer, path: str) -> None:
    status, content = get(server, path)
    assert status == 404
    assert b"secret" not in content
    assert b"root:" not in content


def test_other_names_of_this_machine_are_refused(server: RunServer) -> None:
    assert get(server, "/run.json", host="evil.example")[0] == 403
    assert get(server, "/run.json", host=f"localhost:{server.server_port}")[0] == 200


def test_volumes_are_asked_for_by_name(server: RunServer) -> None:
    asked = {"subject": "s2", "part": "image", "method": "dm", "direction": "3T-to-1.5T"}
    status, content = get(server, f"/volume?{urlencode(asked)}")
    assert status == 200
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    data = np.asanyarray(image.dataobj)
    assert data.ndim == 3
    assert 0 <= data.min() < 0.01 < 0.5 < data.max() <= 1
    scan = {"subject": "s2", "part": "labels", "direction": "3T-to-1.5T", "side": "source"}
    labels = nib.Nifti1Image.from_bytes(
        gzip.decompress(get(server, f"/volume?{urlencode(scan)}")[1])
    )
    assert set(np.unique(np.asanyarray(labels.dataobj))) == {0, 1, 2, 3}
    for wrong in (
        {"subject": "../s2"},
        {"method": "nothing"},
        {"direction": "/etc"},
        {"part": "../../x"},
    ):
        assert get(server, f"/volume?{urlencode({**asked, **wrong})}")[0] == 404
    failed = {**asked, "subject": "s3", "method": "pgan"}
    assert get(server, f"/volume?{urlencode(failed)}")[0] == 404


def test_a_run_without_a_report_and_a_taken_port(make_run: MakeRun) -> None:
    run = make_run(subjects=("s1", "s2"), volumes=False)
    with pytest.raises(ReportError, match="no report yet; make it with: harmbench report"):
        open_server(run)
    (run / "report").mkdir()
    (run / "report" / "index.html").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ReportError, match="cannot be used"):
            open_server(run, taken.getsockname()[1])


def test_ctrl_c_ends_it(server: RunServer) -> None:
    command = [sys.executable, "-m", "harmbench", "serve", str(server.root), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stderr is not None
            assert run.stderr.readline().startswith("page: http://127.0.0.1:")
            run.send_signal(signal.SIGINT)
            _, err = run.communicate(timeout=60)
        finally:
            run.kill()
    assert (run.returncode, err) == (0, "stopped\n")
