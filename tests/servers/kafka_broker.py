#!/usr/bin/env python3
"""A real Apache Kafka broker (KRaft, one node), for the tests and for people.

    kafka_broker.py fetch              get the brokers' programs (Maven Central, through mvn)
    kafka_broker.py up [VERSION]       start one in the background and say how to reach it (make kafka-up)
    kafka_broker.py down               end it, and remove its data (make kafka-down)

Listeners: plain; TLS; TLS that wants a client's certificate; SASL over TLS (PLAIN, SCRAM-SHA-256 and -512); OAUTHBEARER over TLS, for
tokens without a signature.
"""
import subprocess
import sys

import certificates
import fetching
from fetching import CACHE, ROOT, Failed
from server_process import ServerProcess, accepts, down, free_ports, program, up

HERE = ROOT / "build" / "kafka"  # of `up`

# librdkafka before 2.6.1 cannot do SCRAM with Kafka 4; with 3.9 it can.
NEWEST, WITH_SCRAM = "4.4.0", "3.9.2"
SCALA, SLF4J = "2.13", "1.7.36"
USER, PASSWORD = "agent", "agent-secret"
LISTENERS = ("PLAINTEXT", "SSL", "MUTUAL", "SASL_SSL", "OAUTH", "CONTROLLER")
FIRST_PORT = 19092  # of `up`

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


# --- the programs --------------------------------------------------------------

def jars(version):
    return CACHE / f"kafka-{version}"


def fetch(version):
    def get(folder):
        fetching.maven(folder, POM.format(scala=SCALA, kafka=version, slf4j=SLF4J), "copy-dependencies", "-DincludeScope=runtime")
        if not any(folder.glob("kafka_*.jar")):
            raise fetching.Again("there is no kafka_*.jar in what came")
        return folder
    return fetching.into_cache(jars(version), "Maven Central", get)


def java(version, *words):
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", f"{jars(version)}/*", *map(str, words)]


# --- a broker ------------------------------------------------------------------

class Broker(ServerProcess):
    """One broker."""

    TITLE = "the broker"

    def __init__(self, folder, version=NEWEST, ports=None):
        super().__init__(folder)
        self.version = version
        self.ports = dict(zip(LISTENERS, ports or free_ports(len(LISTENERS))))

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
        if not (self.folder / "data").exists():
            self.make()
        self.launch(java(self.version, f"-Djava.io.tmpdir={self.folder}", "kafka.Kafka", self.folder / "server.properties"))

    def ask(self):
        """The listeners open when the broker is ready."""
        accepts(self.ports["SASL_SSL"])


# --- for people ------------------------------------------------------------------

def show(version=NEWEST):
    broker = Broker(HERE, version, range(FIRST_PORT, FIRST_PORT + len(LISTENERS)))
    up(broker, "kafka-down")
    print(f"Kafka {version} is up; its log is {broker.log.relative_to(ROOT)}; topics have to be made.  It listens on")
    for name in LISTENERS[:-1]:
        print(f"  {broker.address(name)}  {name}")
    print(f"CA, client's certificate and key: {HERE.relative_to(ROOT)}/tls/{{ca.pem,client.pem,client.key}}; SASL: {USER} / {PASSWORD}")


def main(words):
    match words:
        case ["fetch"]:
            for version in (NEWEST, WITH_SCRAM):
                fetch(version)
        case ["up", *version] if len(version) < 2:
            show(*version)
        case ["down"]:
            down(HERE)
        case _:
            print(__doc__.strip(), file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    program("kafka", main)
