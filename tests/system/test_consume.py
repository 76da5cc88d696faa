"""tcpdiag consume: what is in a topic, and what is missing in it."""
import json
import re
import signal
import time

import pytest

from harness import Tcpdiag, World, parse_jsonl, sockets, wait_for
from topics import PASSWORD, USER, Topic, headers, produce, secret

SOCKETS = 42
READ = ("protobuf", "protobufList", "jsonl", "protoJson", "protoText", "csv", "tsv", "msgpack")
WITHOUT_ENDS = ("protobufList", "protoJson", "protoText", "csv", "tsv")


def record(tcpdiag, world, topic, *words):
    """A snapshot in several messages."""
    namespace = world.named("-l", "listen", "established:count=20")
    tcpdiag.once("--netns", namespace.name, "--batch-rows", "10", *topic.words(), *words)
    return namespace


@pytest.fixture(scope="module")
def snapshot(base, broker):
    """A topic with a snapshot of one namespace: made once, since every test only reads it."""
    world, topic = World(), Topic(broker)
    try:
        topic.namespace = record(Tcpdiag(base), world, topic, "--hostname", "fra3-web7")
    finally:
        world.end()
    return topic


@pytest.fixture
def recorded(snapshot):
    """The same in a topic of a test's own."""
    topic = copied(snapshot, snapshot.messages())
    topic.namespace = snapshot.namespace
    return topic


def consume(tcpdiag, topic, *words, code=0, listener="PLAINTEXT"):
    done = tcpdiag.run("consume", "--brokers", topic.broker.address(listener), "--topic", topic.name, *words)
    assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stderr}"
    return done


def rows(message):
    return int(headers(message)["rows"])


class Changed:
    """A message with another header."""

    def __init__(self, message, **changes):
        self.value, self.key = message.value, message.key
        self.headers = lambda: list({**headers(message), **changes}.items())


def copied(topic, messages):
    """Another topic with these messages."""
    other = Topic(topic.broker)
    produce(other, messages)
    return other


def test_every_record_is_printed(tcpdiag, recorded):
    done = consume(tcpdiag, recorded, "--format", "jsonl")
    messages = recorded.messages()
    assert len(messages) >= 4
    assert done.stdout == tcpdiag.decode(b"".join(message.value() for message in messages))
    found = parse_jsonl(done.stdout.decode())
    assert len(sockets(found)) == SOCKETS
    assert f"batches: {len(messages)}, 0 missing, 0 repeated, 0 late\n" in done.stderr
    assert f"records: {len(found)}, 0 missing in 0 gaps, 0 repeated, 0 late\n" in done.stderr
    assert "snapshots: 1 complete, 0 incomplete, 0 cut" in done.stderr


@pytest.mark.parametrize("form", READ)
def test_formats_are_read(tcpdiag, world, broker, form):
    """What was read and written again in the same format is what was in the topic."""
    topic = Topic(broker)
    record(tcpdiag, world, topic, "--format", form)
    values = [message.value() for message in topic.messages()]
    done = consume(tcpdiag, topic, "--format", form)
    if form == "protobufList":
        assert tcpdiag.decode(done.stdout) == tcpdiag.decode(b"".join(values))
    elif form == "protoJson":
        rows_of = lambda lines: [row for line in lines for row in json.loads(line)["row"]]
        assert rows_of(done.stdout.splitlines()) == rows_of(line for value in values for line in value.splitlines())
    elif form in ("csv", "tsv"):
        header, = {value.split(b"\n", 1)[0] for value in values}
        assert done.stdout == header + b"\n" + b"".join(value.split(b"\n", 1)[1] for value in values)
    else:
        assert done.stdout == b"".join(values)
    if form in WITHOUT_ENDS:
        assert f", {SOCKETS} in a format that does not tell gaps" in done.stderr
    else:
        assert "snapshots: 1 complete" in done.stderr


def test_a_format_that_is_not_read_is_told(tcpdiag, recorded):
    """Of a version to come, say; its batches are verified by their headers."""
    other = Topic(recorded.broker)
    produce(other, [Changed(message, format="yaml") for message in recorded.messages()])
    done = consume(tcpdiag, other, code=65)
    count = other.count()
    assert f"topic {other.name}, partition 0, offset 0: format yaml is not read by this command" in done.stderr
    assert f"batches: {count}, 0 missing" in done.stderr and f"unreadable: {count} messages" in done.stderr


def test_a_missing_message_is_a_gap(tcpdiag, recorded):
    """The headers tell the batch, the records their numbers, the snapshot that it is not whole."""
    messages = recorded.messages()
    other = copied(recorded, messages[:1] + messages[2:])
    done = consume(tcpdiag, other, "--format", "jsonl", code=75)
    before, lost = rows(messages[0]), rows(messages[1])
    assert "missing: batches 2 to 2 of fra3-web7, epoch " in done.stderr
    assert f"missing: records {before + 1} to {before + lost} of fra3-web7, {recorded.namespace.name}, epoch " in done.stderr
    assert f", {lost} missing in 1 gaps" in done.stderr
    assert "snapshots: 0 complete, 1 incomplete, 0 cut" in done.stderr
    assert len(parse_jsonl(done.stdout.decode())) == sum(map(rows, messages)) - lost


def test_a_missing_first_message_is_a_gap_where_the_topic_is_whole(tcpdiag, recorded):
    messages = recorded.messages()
    other = copied(recorded, messages[1:])
    assert "missing: batches 1 to 1 of fra3-web7" in consume(tcpdiag, other, "--quiet", code=75).stderr
    later = consume(tcpdiag, recorded, "--quiet", "--offset", "1")
    assert "missing:" not in later.stderr and "snapshots: 0 complete, 0 incomplete, 1 cut" in later.stderr


def test_the_last_message_is_missed_by_its_snapshot(tcpdiag, recorded):
    done = consume(tcpdiag, copied(recorded, recorded.messages()[:-1]), "--quiet")
    assert done.stdout == b"" and "snapshots: 0 complete, 0 incomplete, 1 cut" in done.stderr


def test_repeats_and_late_ones_are_no_gaps(tcpdiag, recorded):
    first, second, *rest = recorded.messages()
    done = consume(tcpdiag, copied(recorded, [second, first, second, *rest]), "--quiet")
    assert ", 0 missing, 1 repeated, 1 late\n" in done.stderr
    assert f", 0 missing in 0 gaps, {rows(second)} repeated, {rows(first)} late\n" in done.stderr
    assert "snapshots: 1 complete" in done.stderr


def test_two_partitions_are_one_stream(tcpdiag, world, broker):
    topic = Topic(broker, partitions=3)
    record(tcpdiag, world, topic, "--kafka-key", "none")
    assert "snapshots: 1 complete, 0 incomplete, 0 cut" in consume(tcpdiag, topic, "--quiet").stderr


def test_a_group_goes_on_where_it_was(tcpdiag, recorded):
    first = consume(tcpdiag, recorded, "--group", recorded.name, "--format", "protobuf")
    assert first.stdout == b"".join(message.value() for message in recorded.messages())
    assert consume(tcpdiag, recorded, "--group", recorded.name, "--format", "protobuf").stdout == b""
    produce(recorded, recorded.messages()[-1:])
    assert consume(tcpdiag, recorded, "--group", recorded.name, "--format", "protobuf").stdout == recorded.messages()[-1].value()


def test_offsets(tcpdiag, recorded):
    values = [message.value() for message in recorded.messages()]
    last = recorded.messages()[-1].timestamp()[1] // 1000
    for offset, expected in [("end", []), ("2", values[2:]), ("beginning", values), (f"@{last - 100}", values), (f"@{last + 100}", [])]:
        assert consume(tcpdiag, recorded, "--offset", offset, "--format", "protobuf").stdout == b"".join(expected), offset


def test_follow_prints_what_comes_later(tcpdiag, recorded):
    daemon = tcpdiag.start("consume", "--brokers", recorded.broker.address(), "--topic", recorded.name, "--follow", "--format", "jsonl")
    count = sum(map(rows, recorded.messages()))
    wait_for(lambda: daemon.out.read_bytes().count(b"\n") == count, 20, "what is there")
    produce(recorded, recorded.messages()[-1:])
    wait_for(lambda: daemon.out.read_bytes().count(b"\n") > count, 20, "what came later")
    daemon.stop(signal.SIGINT)
    assert f"batches: {recorded.count()}, 0 missing, 1 repeated" in daemon.log()


def test_over_tls_with_a_password(tcpdiag, recorded, folder):
    broker = recorded.broker
    done = consume(tcpdiag, recorded, "--quiet", "--kafka-tls", "yes", "--kafka-tls-ca", broker.tls("ca.pem"), "--kafka-sasl", "PLAIN",
                   "--kafka-sasl-user", USER, "--kafka-sasl-password-file", secret(folder, PASSWORD), listener="SASL_SSL")
    assert "snapshots: 1 complete" in done.stderr


def test_the_shippers_configuration_serves(tcpdiag, recorded, folder):
    conf = folder / "tcpdiag.conf"
    conf.write_text(f"sink = kafka\nkafka-brokers = {recorded.broker.address()}\nkafka-topic = {recorded.name}\n")
    done = tcpdiag.run("consume", "--config", conf, "--quiet")
    assert done.returncode == 0 and "snapshots: 1 complete" in done.stderr, done.stderr


def test_a_foreign_message_is_told_and_passed_over(tcpdiag, recorded):
    class Foreign:
        def __init__(self, value, form):
            self.value, self.key = lambda: value, lambda: None
            self.headers = lambda: [("format", form)] if form else []

    produce(recorded, [Foreign(b"\xff\xffno", "protobuf"), Foreign(b'{"tcp_info_rtt":"x"}\n', "jsonl"), Foreign(b"[1]\n", "jsonl"),
                       Foreign(b"?", None)])
    done = consume(tcpdiag, recorded, "--format", "jsonl", code=65)
    assert re.search(r"offset \d+: byte 0: not a record behind its length", done.stderr)
    assert re.search(r"offset \d+: line 1: tcp_info_rtt: 'x' is no value of it", done.stderr)
    assert re.search(r"offset \d+: line 1: not a JSON object", done.stderr)
    assert re.search(r"offset \d+: no header says its format", done.stderr)
    assert "unreadable: 4 messages" in done.stderr and len(sockets(parse_jsonl(done.stdout.decode()))) == SOCKETS


@pytest.mark.parametrize("words, sentence, code", [
    ([], "which --brokers", 64),
    (["--brokers", "h:1"], "which --topic", 64),
    (["--brokers", "h:1", "--topic", "t", "--offset", "soon"], "it can be beginning, end, a number or @SECONDS", 64),
    (["--brokers", "h:1", "--topic", "t", "--group", "g", "--offset", "1"], "with --group, --offset can be beginning or end", 64),
    (["--brokers", "h:1", "--topic", "t", "--kafka-sasl", "PLAIN"], "--kafka-sasl: it needs kafka-sasl-user", 64),
    (["--brokers", "h:1", "--topic", "t", "--rdkafka", "plugin.library.paths=x"], "refused: it loads code", 64),
    (["--brokers", "h:1", "--topic", "t", "--input", "xml"], 'unknown input "xml": there are protobuf', 64),
    (["--brokers", "127.0.0.1:1", "--topic", "t"], "Connection refused", 65),
])
def test_what_cannot_be_is_said(tcpdiag, words, sentence, code):
    started = time.monotonic()
    done = tcpdiag.run("consume", *words)
    assert done.returncode == code and sentence in done.stderr, done.stderr
    assert time.monotonic() - started < 30


def test_an_unknown_topic_is_said(tcpdiag, broker):
    done = consume(tcpdiag, Topic(broker, make=False), code=65)
    assert re.search(r"kafka: topic \S+: .*Unknown topic", done.stderr)
