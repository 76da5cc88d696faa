"""docs/clickhouse.sql: ClickHouse's own engine reads our topics, and tells what is whole."""
import re
import subprocess
import sys
import unittest.mock

import pytest

from clickhouse import ClickHouse
from harness import ROOT, ends, parse_jsonl, sockets, wait_for
from topics import Topic, headers, produce

sys.path.append(str(ROOT / "docs"))
import clickhouse_sql  # noqa: E402

SQL = ROOT / "docs" / "clickhouse.sql"
QUESTIONS = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "clickhouse.md").read_text(), re.DOTALL)


@pytest.fixture
def server(clean, folder):
    with ClickHouse(folder / "clickhouse") as one:
        yield one


def create(server, broker, topic, list_topic):
    """The document's statements, with this place's names in them."""
    script = SQL.read_text()
    for theirs, ours in [("kafka1:9092", broker.address()), ("'sockets'", f"'{topic.name}'"), ("'xtcp'", f"'{list_topic.name}'"),
                         ("'clickhouse'", f"'{topic.name}'"), ("'xtcp_flat_record.proto:", f"'{ROOT}/proto/xtcp_flat_record.proto:")]:
        assert theirs in script
        script = script.replace(theirs, ours)
    server.run(script)


def snapshot(tcpdiag, namespace, broker, *words):
    topic = Topic(broker)
    tcpdiag.once("--netns", namespace.name, "--batch-rows", "10", *topic.words(), *words)
    return topic


def assert_same(row, record):
    """What ClickHouse shows of a socket is what jsonl says; what is absent there is NULL here, or an identity that is empty."""
    for field in clickhouse_sql.fields():
        name = field["name"]
        if name in record:
            assert row[name] == record[name], name
        elif field["source"] != "SNAPSHOT":
            always = field["source"] in ("STAMP", "UNFILLED", "ALWAYS", "MSG")
            assert (row[name] in ("", 0)) if always else row[name] is None, name


@pytest.mark.timeout(240)
def test_sockets_are_readable_each_once_and_snapshots_are_proved(tcpdiag, world, broker, server):
    namespace = world.named("-l", "listen", "established:count=10,cc=cubic", "listen:family=6", "established:count=3,family=mapped")
    whole, damaged = snapshot(tcpdiag, namespace, broker), snapshot(tcpdiag, namespace, broker)
    listed = snapshot(tcpdiag, namespace, broker, "--format", "protobufList")
    topic, list_topic = Topic(broker), Topic(broker)
    lost = damaged.messages()[1]
    # The whole one comes twice, as after a crash; of the other one a message is missing.
    produce(topic, whole.messages() + whole.messages() + [m for m in damaged.messages() if m.offset() != lost.offset()])
    produce(list_topic, [*listed.messages(), foreign()])
    create(server, broker, topic, list_topic)

    def count(table):
        return int(server.query(f"SELECT count() AS n FROM tcpdiag.{table}")[0]["n"])

    records = parse_jsonl(tcpdiag.decode(b"".join(message.value() for message in whole.messages())).decode())
    parts = parse_jsonl(tcpdiag.decode(b"".join(message.value() for message in damaged.messages())).decode())
    rows = sum(int(headers(message)["rows"]) for message in listed.messages())
    expected = len(records) + len(parts) - int(headers(lost)["rows"]) + rows
    wait_for(lambda: count("records FINAL") == expected and count("foreign_records") == 1, 60, "the records in their tables")

    epoch = records[0]["collector_epoch"]
    shown = server.query(f"SELECT * FROM tcpdiag.sockets WHERE collector_epoch = {epoch} ORDER BY record_sequence")
    assert len(shown) == len(sockets(records)) >= 30
    for row, record in zip(shown, sockets(records)):
        assert_same(row, record)
    assert {row["inet_diag_msg_socket_source"] for row in shown} >= {"127.0.0.1"}

    proved = {int(row["epoch"]): row for row in server.query("SELECT * FROM tcpdiag.snapshots")}
    assert (proved[epoch]["proved"], int(proved[epoch]["sockets"])) == (1, ends(records)[0]["snapshot_published"])
    other = parts[0]["collector_epoch"]
    assert proved[other]["proved"] == 0 and proved[other]["outcome_name"] == "complete"
    gaps = server.query("SELECT * FROM tcpdiag.gaps")
    assert [(int(gap["epoch"]), int(gap["missing"])) for gap in gaps] == [(other, int(headers(lost)["rows"]))]

    for questions in QUESTIONS:
        server.run(questions)
    states = server.query(QUESTIONS[-1].split(";\n")[-2].replace("count()", "count() AS n"))
    assert sum(int(row["n"]) for row in states) == len(shown)

    strangers = server.query("SELECT * FROM tcpdiag.foreign_sockets")
    assert [(row["hostname"], row["inet_diag_msg_socket_source"], row["tcp_info_rtt"]) for row in strangers] == [("theirs", "10.1.2.3", 7)]


def foreign():
    """A message of a program that knows the same schema, but none of our own fields."""
    from proto import xtcp_flat_record_pb2 as pb
    envelope = pb.Envelope(row=[pb.XtcpFlatRecord(hostname="theirs", timestamp_ns=1700000000 * 10**9, inet_diag_msg_family=2, tcp_info_rtt=7,
                                                  inet_diag_msg_socket_source=bytes([10, 1, 2, 3]) + bytes(12))])
    value = envelope.SerializeToString()
    assert len(value) < 128
    message = unittest.mock.Mock()
    message.value.return_value, message.key.return_value, message.headers.return_value = bytes([len(value)]) + value, None, []
    return message


def test_the_script_is_what_the_tables_say():
    made = subprocess.run([sys.executable, ROOT / "docs" / "clickhouse_sql.py"], capture_output=True, text=True, check=True)
    assert made.stdout == SQL.read_text(), "make clickhouse-sql writes it anew"
