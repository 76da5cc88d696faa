"""A real schema registry for the tests: Apicurio Registry, with its interface that is Confluent's, in memory."""
import tarfile
import urllib.request

import fetching
from fetching import CACHE
from server_process import ServerProcess, free_ports

VERSION = "2.6.13.Final"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>tests</groupId><artifactId>registry</artifactId><version>1</version><packaging>pom</packaging></project>
"""


def get(folder):
    fetching.maven(folder, POM, "copy", f"-Dartifact={ARTIFACT}")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "program")
    return folder / "program"


def fetch():
    return fetching.into_cache(CACHE / f"apicurio-{VERSION}", "Maven Central", get)


class Registry(ServerProcess):
    """One, on a port of its own; its schemas go with it."""

    TITLE = "the schema registry"
    START_TIME = 120

    def __init__(self, folder):
        super().__init__(folder)
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read().decode()

    def start(self):
        self.launch(["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={self.folder}",
                     f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1", "-jar", next(fetch().glob("*-runner.jar"))],
                    cwd=self.folder)

    def ask(self):
        self.get("/subjects")
