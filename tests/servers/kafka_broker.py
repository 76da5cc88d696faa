#!/usr/bin/env python3
"""A real Apache Kafka broker (KRaft, one node), for the tests and for people.

    kafka_broker.py fetch              get the brokers' programs (Maven Central, through mvn)
    kafka_broker.py up [VERSION]       start one in the background and say how to reach it (make kafka-up)
    kafka_broker.py down               end it, and remove its data (make kafka-down)

Listeners: plain; TLS; TLS that wants a client's certificate; SASL over TLS (PLAIN, SCRAM-SHA-256 and -512); OAUTHBEARER over TLS, for
tokens without a signature.
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

import certificates

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("TCPDIAG_CACHE", ROOT / "build" / "cache")).absolute()
HERE = ROOT / "build" / "kafka"  # of `up`

# librdkafka before 2.6.1 cannot do SCRAM with Kafka 4; with 3.9 it can.
NEWEST, WITH_SCRAM = "4.4.0", "3.9.2"
SCALA, SLF4J, COPIER = "2.13", "1.7.36", "3.8.1"
USER, PASSWORD = "agent", "agent-secret"
LISTENERS = ("PLAINTEXT", "SSL", "MUTUAL", "SASL_SSL", "OAUTH", "CONTROLLER")
FIRST_PORT = 19092  # of `up`
FETCH_TRIES = 4
START_TIME = 60     # s; two or three are usual

POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>tests</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_{scala}</artifactId><version>{kafka}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{slf4j}</version></dependency>
</dependencies></project>
"""

# Without the two times, a start after kill -9 waits 12 s for the dead broker's session to run out.
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{CONTROLLER}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{CONTROLLER}
advertised.listeners={listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,SASL_SSL:SASL_SSL,OAUTH:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
ssl.keystore.type=PEM
ssl.keystore.location={folder}/tls/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/tls/ca.pem
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="{user}";
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
num.partitions=1
num.network.threads=1
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1000
"""


class Failed(Exception):
    """What went wrong, as one sentence for a person."""


# --- the programs --------------------------------------------------------------

def jars(version):
    return CACHE / f"kafka-{version}"


def run_maven(version, folder):
    (folder / "pom.xml").write_text(POM.format(scala=SCALA, kafka=version, slf4j=SLF4J))
    return subprocess.run(["mvn", "-q", "-B", "-ntp", f"-Dmaven.repo.local={CACHE}/m2", "-f", folder / "pom.xml",
                           f"org.apache.maven.plugins:maven-dependency-plugin:{COPIER}:copy-dependencies",
                           "-DincludeScope=runtime", f"-DoutputDirectory={folder}"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def fetch(version):
    """Puts the broker's jars into the cache, whole or not at all."""
    if jars(version).exists():
        return
    fresh = CACHE / f"kafka-{version}.{os.getpid()}"
    for attempt in range(1, FETCH_TRIES + 1):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            done = run_maven(version, fresh)
        except FileNotFoundError:
            raise Failed("there is no mvn: make test-packages installs it") from None
        if done.returncode == 0 and any(fresh.glob("kafka_*.jar")):
            with contextlib.suppress(OSError):  # another run was first
                fresh.rename(jars(version))
            shutil.rmtree(fresh, ignore_errors=True)
            return
        print(f"kafka: fetching {version}, try {attempt} of {FETCH_TRIES}: {done.stdout.strip()[-300:]}", file=sys.stderr)
        time.sleep(attempt * 2)  # before a registry is asked again
    raise Failed(f"Kafka {version} could not be fetched from Maven Central: see above")


def java(version, *words):
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", f"{jars(version)}/*", *map(str, words)]


# --- a broker ------------------------------------------------------------------

def free_ports(count):
    """Ports that nobody has now; all are held until all are known."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Broker:
    """One broker, in a folder of its own; its data outlive a kill and a new start."""

    def __init__(self, folder, version=NEWEST, ports=None):
        self.folder, self.version, self.process = pathlib.Path(folder).absolute(), version, None
        self.ports = dict(zip(LISTENERS, ports or free_ports(len(LISTENERS))))
        self.log = self.folder / "broker.log"

    def address(self, listener="PLAINTEXT"):
        return f"127.0.0.1:{self.ports[listener]}"

    def tls(self, name):
        """ca.pem, client.pem, client.key, other.pem, stranger.pem, ..."""
        return self.folder / "tls" / name

    def make(self):
        """Certificates, configuration, empty storage."""
        fetch(self.version)
        tls = certificates.make(self.folder / "tls")
        (tls / "keystore.pem").write_text("".join((tls / part).read_text() for part in ("server.key", "server.pem", "ca.pem")))
        listeners = ",".join(f"{name}://{self.address(name)}" for name in LISTENERS if name != "CONTROLLER")
        properties = self.folder / "server.properties"
        properties.write_text(PROPERTIES.format(listeners=listeners, folder=self.folder, user=USER, password=PASSWORD, **self.ports))
        scram = [word for size in (256, 512) for word in ("--add-scram", f"SCRAM-SHA-{size}=[name={USER},password={PASSWORD}]")]
        done = subprocess.run(java(self.version, "kafka.tools.StorageTool", "format", "-t", "tcpdiag-tests-00000000",
                                   "-c", properties, *scram),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"the broker's storage could not be made: {(done.stdout + done.stderr).strip()[-600:]}")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(java(self.version, f"-Djava.io.tmpdir={self.folder}", "kafka.Kafka",
                                                 self.folder / "server.properties"),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.wait()

    def answers(self):
        """It takes connections: the listeners open when the broker is ready."""
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.ports["SASL_SSL"]), 1).close()
            return True
        return False

    def wait(self):
        end = time.monotonic() + START_TIME
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(f"the broker did not start; the end of {self.log}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)  # between two looks

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
        self.make()
        self.start()
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL)


# --- for people ------------------------------------------------------------------

def up(version=NEWEST):
    pid_file = HERE / "pid"
    if pid_file.exists():
        raise Failed(f"one is up already (pid {pid_file.read_text()}): make kafka-down")
    HERE.mkdir(parents=True, exist_ok=True)
    broker = Broker(HERE, version, range(FIRST_PORT, FIRST_PORT + len(LISTENERS)))
    broker.make()
    broker.start()
    pid_file.write_text(str(broker.process.pid))
    print(f"Kafka {version} is up; its log is {broker.log.relative_to(ROOT)}; topics have to be made.  It listens on")
    for name in LISTENERS[:-1]:
        print(f"  {broker.address(name)}  {name}")
    print(f"CA, client's certificate and key: {HERE.relative_to(ROOT)}/tls/{{ca.pem,client.pem,client.key}}; SASL: {USER} / {PASSWORD}")


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
        case ["fetch"]:
            for version in (NEWEST, WITH_SCRAM):
                fetch(version)
        case ["up", *version] if len(version) < 2:
            up(*version)
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
        sys.exit(f"kafka: {why}")
