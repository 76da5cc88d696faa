"""Records through real Kafka brokers, read back by an independent client."""
import base64
import json
import re
import signal
import time

import pytest

import harness
from harness import ends, parse_jsonl, sockets, wait_for
from topics import PASSWORD, USER, WITH_SCRAM, Broker, Topic, headers, secret


@pytest.fixture(scope="session")
def old_broker(base):
    with Broker(base / "kafka-old", WITH_SCRAM) as one:
        yield one


@pytest.fixture
def own_broker(clean, folder):
    """One that a test may kill."""
    with Broker(folder / "kafka") as one:
        yield one


def records(tcpdiag, topic):
    """Every record in a topic, in order, as tcpdiag decode reads it."""
    return parse_jsonl(tcpdiag.decode(b"".join(message.value() for message in topic.messages())).decode())


def stream(tcpdiag, topic, namespace, *words, listener="PLAINTEXT", **more):
    return tcpdiag.stream("--netns", namespace.name, "--interval", "200ms", "--batch-age", "50ms", *topic.words(listener), *words, **more)


def assert_whole(found):
    """At least once and in order: the first arrivals of each epoch are consecutive from its first record on."""
    assert found
    for epoch in {record["collector_epoch"] for record in found}:
        first = list(dict.fromkeys(record["record_sequence"] for record in found if record["collector_epoch"] == epoch))
        assert first == list(range(1, len(first) + 1))


def test_every_record_is_in_the_topic(tcpdiag, world, broker):
    namespace, topic = world.named("-l", "listen", "established:count=50"), Topic(broker)
    daemon = stream(tcpdiag, topic, namespace)
    wait_for(lambda: topic.count() >= 5, 20, "messages")
    daemon.stop()
    found = records(tcpdiag, topic)
    assert_whole(found)
    said = re.search(r"delivered (\d+) records in (\d+) batches", daemon.log())
    assert (int(said[1]), int(said[2])) == (len(found), topic.count())
    assert len(sockets(found)) == sum(int(end["snapshot_published"]) for end in ends(found)) > 100


def test_headers_tell_batches_without_decoding(tcpdiag, world, broker):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    daemon = stream(tcpdiag, topic, namespace, "--hostname", "fra3-web7")
    wait_for(lambda: topic.count() >= 4, 20, "messages")
    daemon.stop()
    messages = topic.messages()
    said = [headers(message) for message in messages]
    assert [int(one["batch_sequence"]) for one in said] == list(range(1, len(said) + 1))
    assert len({one["spool_epoch"] for one in said}) == 1 and re.fullmatch(r"[0-9a-f]{16}", said[0]["spool_epoch"])
    assert {(one["host"], one["format"]) for one in said} == {("fra3-web7", "protobuf")}
    assert {message.key() for message in messages} == {b"fra3-web7"}
    for message, one in zip(messages, said):
        assert int(one["rows"]) == len(parse_jsonl(tcpdiag.decode(message.value()).decode()))


@pytest.mark.parametrize("key, expected", [("none", None), ("netns", "name")])
def test_keys(tcpdiag, world, broker, key, expected):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    tcpdiag.once("--netns", namespace.name, "--kafka-key", key, *topic.words())
    assert {message.key() for message in topic.messages()} == {namespace.name.encode() if expected else None}


@pytest.mark.parametrize("form", ["protobufList", "jsonl", "csv", "tsv", "msgpack", "protoJson", "protoText"])
def test_a_message_stands_alone_in_every_format(tcpdiag, world, broker, form):
    """Each message is what a file with the same rows would be, its header included."""
    namespace, topic = world.named("-l", "listen", "established:count=20"), Topic(broker)
    tcpdiag.once("--netns", namespace.name, "--format", form, "--batch-rows", "10", *topic.words())
    messages = topic.messages()
    assert len(messages) > 3
    if form in ("csv", "tsv"):
        assert len({message.value().split(b"\n")[0] for message in messages}) == 1
    if form == "protobufList":
        assert all(parse_jsonl(tcpdiag.decode(message.value()).decode()) for message in messages)
    assert sum(int(headers(message)["rows"]) for message in messages) >= 41


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compressions(tcpdiag, world, broker, compression):
    namespace, topic = world.named("-l", "established:count=100"), Topic(broker)
    tcpdiag.once("--netns", namespace.name, "--kafka-compression", compression, *topic.words())
    assert len(sockets(records(tcpdiag, topic))) == 201


# --- listeners ----------------------------------------------------------------

def tls(broker, ca="ca.pem"):
    return ["--kafka-tls", "yes", "--kafka-tls-ca", broker.tls(ca)]


def sasl(mechanism, password):
    return ["--kafka-sasl", mechanism, "--kafka-sasl-user", USER, "--kafka-sasl-password-file", password]


def client(broker, name):
    return ["--kafka-tls-certificate", broker.tls(f"{name}.pem"), "--kafka-tls-key", broker.tls(f"{name}.key")]


def test_tls(tcpdiag, world, broker):
    namespace, topic = world.named("-l", "established:count=5"), Topic(broker)
    tcpdiag.once("--netns", namespace.name, *topic.words("SSL"), *tls(broker))
    assert len(sockets(records(tcpdiag, topic))) == 11


def test_mutual_tls_with_a_key_that_only_root_reads(tcpdiag, world, broker):
    namespace, topic = world.named("-l", "established:count=5"), Topic(broker)
    broker.tls("client.key").chmod(0o600)
    tcpdiag.once("--netns", namespace.name, *topic.words("MUTUAL"), *tls(broker), *client(broker, "client"))
    assert len(sockets(records(tcpdiag, topic))) == 11


def test_sasl_plain(tcpdiag, world, folder, broker):
    namespace, topic = world.named("-l", "established:count=5"), Topic(broker)
    tcpdiag.once("--netns", namespace.name, *topic.words("SASL_SSL"), *tls(broker), *sasl("PLAIN", secret(folder, PASSWORD)))
    assert len(sockets(records(tcpdiag, topic))) == 11


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_sasl_scram(tcpdiag, world, folder, old_broker, mechanism):
    namespace, topic = world.named("-l", "established:count=5"), Topic(old_broker)
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name, *topic.words("SASL_SSL"),
                       *tls(old_broker), *sasl(mechanism, secret(folder, PASSWORD)))
    assert done.returncode == 0 and "SCRAM is refused by Kafka 4" in done.stderr, done.stderr
    assert len(sockets(records(tcpdiag, topic))) == 11


def token(subject, seconds):
    """A JWT without a signature: the broker looks at its times, and that it has a subject."""
    def part(words):
        return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': int(time.time()) - 60, 'exp': int(time.time()) + seconds})}."


def oauth(folder, text):
    """The token is read again each minute, with the shipper's rights."""
    path = secret(folder, text, "token")
    path.chmod(0o644)
    return ["--kafka-sasl", "OAUTHBEARER", "--kafka-sasl-password-file", path]


def test_oauthbearer_with_a_token_from_a_file(tcpdiag, world, folder, broker):
    """Both the sink and tcpdiag consume."""
    namespace, topic = world.named("-l", "established:count=5"), Topic(broker)
    words = *tls(broker), *oauth(folder, token(USER, 600))
    tcpdiag.once("--netns", namespace.name, *topic.words("OAUTH"), *words)
    assert len(sockets(records(tcpdiag, topic))) == 11
    done = tcpdiag.run("consume", "--brokers", broker.address("OAUTH"), "--topic", topic.name, "--format", "jsonl", *words)
    assert done.returncode == 0 and len(sockets(parse_jsonl(done.stdout.decode()))) == 11, done.stderr


def test_a_token_that_cannot_be_read_is_one_error(tcpdiag, world, folder, broker):
    """Once, it does not wait for better days."""
    namespace, topic, token_file = world.named("-l", "listen"), Topic(broker), folder / "none"
    started = time.monotonic()
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name, *topic.words("OAUTH"), *tls(broker),
                       "--kafka-sasl", "OAUTHBEARER", "--kafka-sasl-password-file", token_file)
    assert done.returncode == 74 and time.monotonic() - started < 20 * harness.PATIENCE
    assert done.stderr.count(f"kafka-sasl-password-file: {token_file}: No such file or directory") == 1, done.stderr


def test_wrong_credentials_end_it_once(tcpdiag, world, folder, broker):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name, *topic.words("SASL_SSL"), *tls(broker),
                       *sasl("PLAIN", secret(folder, "wrong")))
    assert done.returncode == 74 and "SASL authentication error: Authentication failed" in done.stderr, done.stderr


# --- what goes wrong ------------------------------------------------------------

def complains(tcpdiag, namespace, sentence, *words):
    """The sentence comes within seconds, once and not again and again; SIGTERM still ends it."""
    daemon = tcpdiag.stream("--netns", namespace.name, "--interval", "200ms", *words)
    wait_for(lambda: re.search(sentence, daemon.log()), 20, f"{sentence} in the log")
    harness.wait_until_it_woke(daemon.find("shipper")[0], 10)
    assert len(re.findall(sentence, daemon.log())) <= 3, daemon.log()
    daemon.send(signal.SIGTERM)
    daemon.wait(30)
    assert "delivered 0 records" in daemon.log()
    daemon.gone()


def test_nobody_listens(tcpdiag, world, broker):
    namespace = world.named("-l", "listen")
    complains(tcpdiag, namespace, r"kafka: 127\.0\.0\.1:1/bootstrap: Connect to .* failed: Connection refused",
              "--sink", "kafka", "--kafka-brokers", "127.0.0.1:1", "--kafka-topic", "t")


def test_a_name_that_does_not_exist(tcpdiag, world):
    namespace = world.named("-l", "listen")
    complains(tcpdiag, namespace, r"kafka: .*Failed to resolve 'nosuch\.invalid:9092'",
              "--sink", "kafka", "--kafka-brokers", "nosuch.invalid:9092", "--kafka-topic", "t")


def test_wrong_password(tcpdiag, world, folder, broker):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    complains(tcpdiag, namespace, r"kafka: .*SASL authentication error: Authentication failed",
              *topic.words("SASL_SSL"), *tls(broker), *sasl("PLAIN", secret(folder, "wrong")))


def test_an_expired_token(tcpdiag, world, folder, broker):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    complains(tcpdiag, namespace, r"kafka: .*(invalid_token|SASL authentication error)", *topic.words("OAUTH"), *tls(broker),
              *oauth(folder, token(USER, -30)))


def test_a_broker_of_another_authority(tcpdiag, world, broker):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    complains(tcpdiag, namespace, r"kafka: .*certificate verify failed", *topic.words("SSL"), *tls(broker, "other.pem"))


def test_no_certificate_of_ours(tcpdiag, world, broker):
    namespace, topic = world.named("-l", "listen"), Topic(broker)
    complains(tcpdiag, namespace, r"kafka: .*alert (bad certificate|certificate required)", *topic.words("MUTUAL"), *tls(broker))


def test_unknown_topic_comes_to_be(tcpdiag, world, broker):
    """It is tried again, and goes on when the topic is made."""
    namespace, topic = world.named("-l", "listen"), Topic(broker, make=False)
    daemon = stream(tcpdiag, topic, namespace)
    wait_for(lambda: f"kafka: topic {topic.name}: " in daemon.log() and "Unknown topic" in daemon.log(), 20, "a complaint")
    topic.make()
    wait_for(lambda: topic.count() > 0, 60, "messages in the new topic")
    daemon.stop()
    assert_whole(records(tcpdiag, topic))


@pytest.mark.parametrize("words, key, sentence", [
    (["--kafka-brokers", "h:1"], "kafka-topic", "needs kafka-topic"),
    (["--kafka-topic", "t"], "kafka-brokers", "needs kafka-brokers"),
    (["--kafka-brokers", "h:1", "--kafka-topic", "t", "--kafka-key", "port"], "kafka-key", "'port' is none of host, netns, none"),
    (["--kafka-brokers", "h:1", "--kafka-topic", "t", "--kafka-sasl", "PLAIN"], "kafka-sasl", "needs kafka-sasl-user"),
    (["--kafka-brokers", "h:1", "--kafka-topic", "t", "--kafka-tls-ca", "/x"], "kafka-tls-ca", "needs kafka-tls = yes"),
    (["--kafka-brokers", "h:1", "--kafka-topic", "t", "--format", "table"], "format", "cannot be cut into messages"),
    (["--kafka-brokers", "h:1", "--kafka-topic", "t", "--kafka.rdkafka.plugin.library.paths=x"], "kafka.rdkafka.", "refused: it loads code"),
    (["--kafka-brokers", "h:1", "--kafka-topic", "t", "--kafka.rdkafka.sasl.password=x"], "kafka.rdkafka.", "refused: secrets come from files"),
    (["--kafka-brokers", "h:1", "--kafka-topic", "t", "--kafka.rdkafka.nosuch=x"], "kafka.rdkafka.", "No such configuration property"),
])
def test_what_cannot_be_is_said_at_the_start(tcpdiag, words, key, sentence):
    done = tcpdiag.run("run", "--once", "--sink", "kafka", *words)
    assert done.returncode == 64 and f"--{key}: " in done.stderr and sentence in done.stderr, done.stderr


def test_a_missing_secret_is_named(tcpdiag, world, folder):
    done = tcpdiag.run("run", "--once", "--socket", tcpdiag.socket, "--sink", "kafka", "--kafka-brokers", "h:1", "--kafka-topic", "t",
                       *sasl("PLAIN", folder / "nosuch"))
    assert done.returncode != 0 and f"kafka-sasl-password-file: {folder}/nosuch: No such file" in done.stderr


# --- brokers that go and come back ------------------------------------------------

@pytest.mark.timeout(240)
def test_a_broker_that_is_killed_and_comes_back(tcpdiag, world, own_broker):
    """Nothing is lost over kill -9 of the broker, and the order stays."""
    namespace, topic = world.named("-l", "listen", "established:count=50"), Topic(own_broker)
    daemon = stream(tcpdiag, topic, namespace)
    wait_for(lambda: topic.count() >= 5, 20, "messages")
    own_broker.end(signal.SIGKILL)
    wait_for(lambda: "kafka: " in daemon.log(), 30, "a complaint")
    own_broker.start()
    before = topic.count()
    wait_for(lambda: topic.count() >= before + 5, 60, "messages after it")
    daemon.stop()
    assert_whole(records(tcpdiag, topic))
