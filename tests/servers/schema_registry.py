"""A real schema registry for the tests: Apicurio Registry, with its interface that is Confluent's, in memory."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request

from kafka_broker import CACHE, COPIER, FETCH_TRIES, START_TIME, Failed, free_ports

VERSION = "2.6.13.Final"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
PROGRAM = CACHE / f"apicurio-{VERSION}"
POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>tests</groupId><artifactId>registry</artifactId><version>1</version><packaging>pom</packaging></project>
"""


def run_maven(folder):
    (folder / "pom.xml").write_text(POM)
    return subprocess.run(["mvn", "-q", "-B", "-ntp", f"-Dmaven.repo.local={CACHE}/m2", "-f", folder / "pom.xml",
                           f"org.apache.maven.plugins:maven-dependency-plugin:{COPIER}:copy", f"-Dartifact={ARTIFACT}",
                           f"-DoutputDirectory={folder}"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def unpack(folder):
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "program")
    return folder / "program"


def fetch():
    """Puts the program into the cache, whole or not at all."""
    if PROGRAM.exists():
        return
    fresh = CACHE / f"apicurio-{VERSION}.{os.getpid()}"
    for attempt in range(1, FETCH_TRIES + 1):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            done = run_maven(fresh)
        except FileNotFoundError:
            raise Failed("there is no mvn: make test-packages installs it") from None
        if done.returncode == 0 and any(fresh.glob("*.tar.gz")):
            program = unpack(fresh)
            try:
                program.rename(PROGRAM)
            except OSError:  # another run was first
                if not PROGRAM.exists():
                    raise
            shutil.rmtree(fresh, ignore_errors=True)
            return
        print(f"schema registry: fetching {VERSION}, try {attempt} of {FETCH_TRIES}: {done.stdout.strip()[-300:]}", file=sys.stderr)
        time.sleep(attempt * 2)  # before a registry is asked again
    raise Failed(f"Apicurio Registry {VERSION} could not be fetched from Maven Central: see above")


class Registry:
    """One, on a port of its own; its schemas go with it."""

    def __init__(self, folder):
        self.folder, self.port, self.process = pathlib.Path(folder), free_ports(1)[0], None
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self.log = self.folder / "registry.log"

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read().decode()

    def start(self):
        fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={self.folder}",
                 f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1", "-jar", next(PROGRAM.glob("*-runner.jar"))],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder)
        end = time.monotonic() + 2 * START_TIME
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(f"the schema registry did not start; the end of {self.log}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)  # between two looks

    def answers(self):
        try:
            self.get("/subjects")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def end(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()
