"""A SLURM cluster on this machine: munged, one slurmctld, and two slurmd with names and ports of their own.

Needs Debian's packages `slurm-wlm` and `munge`, and root. Everything lies in one folder; what was started
is ended by its process id, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from harmbench.processes import adopt_orphans, die_with

__all__ = ["NODES", "WANTED", "Cluster", "why_not"]

NODES = ("n1", "n2")
WANTED = "HARMBENCH_TEST_SLURM"
"""The environment variable that is 1 where a cluster is to be started, as `.ci/run` does."""
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
_READY_S = 120
_NODE_DEAD_S = 12
_REQUEUED_S = 20
"""After how long a job whose node died starts again; also how long a start of a job may take."""

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={wait_s}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdTimeout={dead_s}
MessageTimeout=60
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
KillWait=5
MailProg=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class NoClusterError(RuntimeError):
    """The daemons do not come up on this machine."""


def why_not() -> str:
    """Say why no cluster is started here; empty where one is."""
    if os.environ.get(WANTED) != "1":
        return f"starts daemons, takes over a minute; {WANTED}=1 runs it, as .ci/run does"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "a cluster of one machine needs root"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass
class Cluster:
    """A running cluster, from `start` to `stop`.

    Attributes:
        folder: of its files; short, since it holds a socket.
        started: what runs, by name.
    """

    folder: Path
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def cpus(self) -> int:
        """Cores of each node, at most two: a few jobs are to take all."""
        return min(2, os.cpu_count() or 1)

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the commands of SLURM."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def start(self) -> None:
        """Start all, and wait until both nodes are idle."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        text = _CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname(),
            ports=_free_ports(3),
            cpus=self.cpus,
            dead_s=_NODE_DEAD_S,
            wait_s=_REQUEUED_S,
        )
        (self.folder / "slurm.conf").write_text(text)
        files = {
            "--socket": "munge.socket",
            "--key-file": "munge.key",
            "--pid-file": "munged.pid",
            "--log-file": "munged.log",
            "--seed-file": "munged.seed",
        }
        options = [f"{option}={self.folder / name}" for option, name in files.items()]
        self._run("munged", "munged", "--foreground", "--force", *options)
        self._wait_for("munge's socket", (self.folder / "munge.socket").exists)
        self._run("slurmctld", "slurmctld", "-D", "-c")
        for node in NODES:
            self.start_node(node)
        self._wait_for("idle nodes", lambda: set(self.states().values()) == {"idle"})

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._run(node, "slurmd", "-D", "-N", node)

    def states(self) -> dict[str, str]:
        """Return the state of each node as SLURM has it."""
        told = self.call("sinfo", "--noheader", "--Node", "--format=%N %T")
        return dict(line.split() for line in told.splitlines())

    def call(self, *command: str) -> str:
        """Run a command of SLURM; return what it prints, empty where it fails."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout if done.returncode == 0 else ""

    def kill_node(self, node: str) -> None:
        """Let a node die: its daemon, and the jobs that it runs."""
        _kill(self.started.pop(node))

    def stop(self) -> None:
        """End what was started, and the jobs of it that run."""
        for name in reversed(list(self.started)):
            _kill(self.started.pop(name))

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.started[name] = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=partial(_prepare, os.getpid()),  # noqa: PLW1509 - one thread
            )

    def _wait_for(self, what: str, there) -> None:
        ends = time.monotonic() + _READY_S
        while not there():
            dead = [name for name, process in self.started.items() if process.poll() is not None]
            if dead or time.monotonic() > ends:
                raise NoClusterError(
                    f"no {what}: {', '.join(dead) or 'too slow'}; see {self.folder}"
                )
            time.sleep(0.2)


def _prepare(tests: int) -> None:
    """Let a daemon end with the tests, and stay the parent of the jobs that it lets go."""
    die_with(tests)
    adopt_orphans()


def _kill(daemon: subprocess.Popen[bytes]) -> None:
    """Kill a daemon and all processes below it."""
    with suppress(psutil.Error):
        process = psutil.Process(daemon.pid)
        process.suspend()  # it starts no more
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.Error):
                one.kill()
    daemon.wait()
