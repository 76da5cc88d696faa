"""Messages that name their schema: a real registry, and Confluent's own decoder of what came to the topic."""
import json
import re
import struct
import sys
import time

import pytest
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

import harness
from harness import ROOT, parse_jsonl, sockets, wait_for
from proto import xtcp_flat_record_pb2 as pb
from test_metrics import Listener
from topics import Topic, headers, secret

sys.path.append(str(ROOT / "tests" / "servers"))
import schema_registry  # noqa: E402

LIST = "--format", "protobufList"


@pytest.fixture(scope="module")
def registry(base):
    with schema_registry.Registry(base / harness.unique("registry")) as one:
        yield one


@pytest.fixture
def later(folder):
    """One that a test starts itself."""
    one = schema_registry.Registry(folder / "registry")
    yield one
    one.end()


def schema(tcpdiag, registry, topic, verb, code=0):
    done = tcpdiag.run("schema", "--schema-registry", registry.url, "--kafka-topic", topic.name, verb)
    assert done.returncode == code, done.stderr
    return done


def register(tcpdiag, registry, topic):
    said = schema(tcpdiag, registry, topic, "register").stdout.decode()
    number, subject = said.split()
    assert subject == f"{topic.name}-value"
    return int(number)


def rows(message):
    """As Confluent's deserializer reads them."""
    decode = ProtobufDeserializer(pb.Envelope, {"use.deprecated.format": False})
    return decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE)).row


def test_what_is_registered_is_the_schema(tcpdiag, broker, registry):
    """Once and again it has the same id, by which anybody finds the schema's text."""
    topic = Topic(broker, make=False)
    done = schema(tcpdiag, registry, topic, "find", 65)
    sentence = f"{registry.url}: subject {topic.name}-value: the schema of this version is not registered: tcpdiag schema register"
    assert sentence in done.stderr
    number = register(tcpdiag, registry, topic)
    assert register(tcpdiag, registry, topic) == number
    assert schema(tcpdiag, registry, topic, "find").stdout.decode().split() == [str(number), f"{topic.name}-value"]
    text = (ROOT / "proto" / "xtcp_flat_record.proto").read_text()
    assert json.loads(registry.get(f"/schemas/ids/{number}"))["schema"] == text == tcpdiag.run("schema", "print").stdout.decode()


def test_messages_name_their_schema(tcpdiag, world, broker, registry):
    """Confluent's decoder, and tcpdiag consume: each socket once."""
    namespace, topic = world.named("-l", "listen", "established:count=20"), Topic(broker)
    number = register(tcpdiag, registry, topic)
    tcpdiag.once("--netns", namespace.name, "--batch-rows", "10", *LIST, "--schema-registry", registry.url, *topic.words())
    messages = topic.messages()
    assert len(messages) >= 4
    for message in messages:
        assert message.value()[:6] == struct.pack(">bIb", 0, number, 0)
        assert headers(message)["format"] == "envelope"
        assert len(rows(message)) == int(headers(message)["rows"])
    found = [row.record_sequence for message in messages for row in rows(message)]
    assert found == list(range(1, 43))
    done = tcpdiag.run("consume", "--brokers", broker.address(), "--topic", topic.name, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert [int(record["record_sequence"]) for record in sockets(parse_jsonl(done.stdout.decode()))] == found
    single = tcpdiag.run("decode", "--input", "envelope", "--format", "jsonl", "-", input=messages[0].value())
    assert len(parse_jsonl(single.stdout.decode())) == len(rows(messages[0])), single.stderr


def test_records_wait_for_the_registry(tcpdiag, world, folder, broker, later):
    """It is away, then does not know the schema: ready is not claimed, nothing stops, nothing is lost."""
    namespace, topic, metrics = world.named("-l", "established:count=20"), Topic(broker), Listener(folder / "metrics.sock")
    shipper = tcpdiag.shipper("--spool", folder / "spool", "--spool-fsync", "no", "--metrics", f"unix:{metrics.where}", "--batch-age", "50ms", *LIST,
                              "--schema-registry", later.url, *topic.words())
    wait_for(lambda: "listening on" in shipper.log(), 10, "the shipper")
    namespacer = tcpdiag.namespacer("--netns", namespace.name, "--interval", "200ms", "--deadline", "10s")
    failures = lambda m, name: m.sum("sink_failures_total", **{"class": name})
    away = metrics.wait_for(lambda m: m.get("records_spooled") > 400 and failures(m, "unreachable") > 0)
    assert away.get("ready") == 0 and away.get("records_delivered_total") == 0 and away.sum("collector_sockets_dropped_total") == 0
    later.start()
    metrics.wait_for(lambda m: failures(m, "unknown-target") > 0, 60)
    number = register(tcpdiag, later, topic)
    metrics.wait_for(lambda m: m.get("records_delivered_total") > 400 and m.get("spool_batches") == 0 and m.get("ready") == 1, 90)
    namespacer.stop()
    rest = metrics.wait_for(lambda m: m.get("rings") == 0 and m.get("records_spooled") == m.get("records_held") == 0)
    rest.assert_balanced()
    shipper.stop()
    found = [row.record_sequence for message in topic.messages() for row in rows(message)]
    # The numbers between are the ends of snapshots, which an Envelope does not have.
    assert found == sorted(set(found)) and len(found) == rest.get("records_delivered_total")
    assert rest.sum("records_dropped_total") == 0 and rest.sum("collector_sockets_dropped_total") == 0
    assert len(found) == rest.get("collector_sockets_encoded_total") == 41 * rest.sum("snapshots_total")
    assert struct.unpack(">I", topic.messages()[0].value()[1:5]) == (number,)
    said = re.findall(r"schema registry http://\S+: subject \S+: .*(?:refused|connect|not registered)", shipper.log())
    assert 2 <= len(said) <= 4, shipper.log()
    assert f"{topic.name}-value has the id {number}" in shipper.log()


def test_once_without_a_registry_is_one_error(tcpdiag, world, broker):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    started = time.monotonic()
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name, *LIST, "--schema-registry",
                       "http://127.0.0.1:1", *topic.words())
    assert done.returncode == 74 and time.monotonic() - started < 20 * harness.PATIENCE
    assert "schema registry http://127.0.0.1:1: subject " in done.stderr and done.stderr.count("127.0.0.1:1") == 1, done.stderr


@pytest.mark.parametrize("words, key, sentence", [
    ([], "format", "protobuf has none: it needs format = protobufList"),
    (["--format", "jsonl"], "format", "with schema-registry each message is an Envelope"),
    ([*LIST, "--schema-registry", "ftp://x"], "schema-registry", "'ftp://x' is not http://HOST"),
    ([*LIST, "--schema-registry", "http://a:b@x"], "schema-registry", "without a user in it"),
    ([*LIST, "--schema-registry-ca", "/x"], "schema-registry-ca", "schema-registry is not https"),
    ([*LIST, "--schema-registry-user", "u"], "schema-registry-user", "go together"),
])
def test_what_cannot_be_is_said_at_the_start(tcpdiag, words, key, sentence):
    done = tcpdiag.run("run", "--once", "--sink", "kafka", "--kafka-brokers", "h:1", "--kafka-topic", "t", "--schema-registry", "http://x",
                       *words)
    assert done.returncode == 64 and f"--{key}: " in done.stderr and sentence in done.stderr, done.stderr


def test_a_password_that_is_not_there_is_named(tcpdiag, folder):
    done = tcpdiag.run("schema", "--schema-registry", "http://127.0.0.1:1", "--kafka-topic", "t", "--schema-registry-user", "u",
                       "--schema-registry-password-file", folder / "none", "find")
    assert done.returncode == 78 and f"schema-registry-password-file: {folder}/none: No such file" in done.stderr, done.stderr


def test_credentials_are_sent(tcpdiag, folder):
    """Basic, in a header; and what the registry says of them is told."""
    import http.server
    import threading
    seen = []

    class Picky(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, self.headers["Authorization"], json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b'{"error_code":40101,"message":"who?"}')

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Picky) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        done = tcpdiag.run("schema", "--schema-registry", f"http://127.0.0.1:{server.server_port}/sub/", "--kafka-topic", "t",
                           "--schema-registry-user", "agent", "--schema-registry-password-file", secret(folder, "p:w"), "find")
    assert done.returncode == 65 and "it wants other credentials" in done.stderr and "(HTTP 401: who?)" in done.stderr, done.stderr
    (path, authorization, body), = seen
    assert path == "/sub/subjects/t-value" and authorization == "Basic YWdlbnQ6cDp3" and body["schemaType"] == "PROTOBUF"
