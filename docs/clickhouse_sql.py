#!/usr/bin/env python3
"""Writes clickhouse.sql, from the tables that the record itself is made of (common/record.def, attribute.def).

    docs/clickhouse_sql.py >docs/clickhouse.sql        (make clickhouse-sql)
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

TYPES = {"U32": "UInt32", "U64": "UInt64", "I64": "Int64", "STRING": "LowCardinality(String)", "ADDRESS": "FixedString(16)",
         "BYTES": "String"}
ENUM = "Int32"  # by number: a name that the table does not know would stop it
# Bytes that a load needs of its attribute, where it is struct tcp_info.
WIDTHS = {"U8": 1, "U16": 2, "U32": 4, "U64": 8, "BE16": 2, "COOKIE": 8, "LOW4": 1, "HIGH4": 1, "BIT0": 1, "BITS12": 1, "TAIL": 1}
ENUMS = {"STATE": "record_states", "CONGESTION": "record_congestions", "KIND": "record_kinds", "WAY": "record_ways",
         "OUTCOME": "record_outcomes"}

HEAD = """-- tcpdiag's records in ClickHouse; docs/clickhouse.md explains it.  Made by docs/clickhouse_sql.py: do not edit.
-- Put proto/xtcp_flat_record.proto into the server's format_schema_path, and write your brokers and topics below.

CREATE DATABASE IF NOT EXISTS tcpdiag;
"""

KAFKA = """
-- What is in the topic, as it comes: {about}
CREATE TABLE tcpdiag.{name}
(
{columns}
)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka1:9092', kafka_topic_list = '{topic}', kafka_group_name = 'clickhouse',
    kafka_format = '{format}', kafka_schema = 'xtcp_flat_record.proto:XtcpFlatRecord';
"""

RECORDS = """
-- Every record once: what was delivered twice has the same key, and goes when parts are merged (or by FINAL).
CREATE TABLE tcpdiag.records
(
{columns}
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(fromUnixTimestamp64Nano(timestamp_ns))
ORDER BY (hostname, netns, collector_epoch, record_sequence);

-- Those of other programs have neither epoch nor sequence: a repeat cannot be told from a record.
CREATE TABLE tcpdiag.foreign_records
(
{columns}
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(fromUnixTimestamp64Nano(timestamp_ns))
ORDER BY (hostname, netns, timestamp_ns);

CREATE MATERIALIZED VIEW tcpdiag.topic_to_records TO tcpdiag.records AS
SELECT * FROM tcpdiag.topic;

CREATE MATERIALIZED VIEW tcpdiag.list_topic_to_records TO tcpdiag.records AS
SELECT * FROM tcpdiag.list_topic WHERE collector_epoch != 0;

CREATE MATERIALIZED VIEW tcpdiag.list_topic_to_foreign_records TO tcpdiag.foreign_records AS
SELECT * FROM tcpdiag.list_topic WHERE collector_epoch = 0;
"""

SOCKETS = """
-- Sockets for people: each once, names for numbers, readable addresses, and NULL where the kernel sent nothing.
CREATE VIEW tcpdiag.sockets AS
SELECT
    fromUnixTimestamp64Nano(r.timestamp_ns) AS time,
{columns}
FROM tcpdiag.records AS r FINAL
WHERE r.record_kind != 2;

-- The same for those of other programs.
CREATE VIEW tcpdiag.foreign_sockets AS
SELECT
    fromUnixTimestamp64Nano(r.timestamp_ns) AS time,
{foreign}
FROM tcpdiag.foreign_records AS r;
"""

SNAPSHOTS = """
-- A row a snapshot.  proved: its last attempt has come to its end, which says that it is complete, and all of its sockets are here.
CREATE VIEW tcpdiag.snapshots AS
SELECT
    fromUnixTimestamp64Nano(ended) AS time, host, namespace, epoch, snapshot, attempt, sockets, published,
    transform(outcome, {outcomes}, toString(outcome)) AS outcome_name,
    ends = 1 AND outcome = 1 AND sockets = published AS proved
FROM
(
    SELECT
        any(hostname) AS host, any(netns) AS namespace, collector_epoch AS epoch, snapshot_sequence AS snapshot,
        snapshot_attempt AS attempt, countIf(record_kind = 0) AS sockets, countIf(record_kind = 2) AS ends,
        maxIf(snapshot_published, record_kind = 2) AS published, maxIf(snapshot_outcome, record_kind = 2) AS outcome,
        max(timestamp_ns) AS ended
    FROM tcpdiag.records FINAL
    WHERE record_kind != 1
    GROUP BY epoch, snapshot, attempt
    ORDER BY attempt DESC
    LIMIT 1 BY epoch, snapshot
);

-- Records that are missing between the first and the last of a collector; none is the rule.
CREATE VIEW tcpdiag.gaps AS
SELECT
    any(hostname) AS host, any(netns) AS namespace, collector_epoch AS epoch, min(record_sequence) AS first,
    max(record_sequence) AS last, last - first + 1 - count() AS missing
FROM tcpdiag.records FINAL
GROUP BY epoch
HAVING missing > 0;
"""


def rows(name, *macros):
    """The arguments of each MACRO(…) line of a .def file."""
    pattern = rf"^(?:{'|'.join(macros)})\(([^()]*)\)"
    return [[word.strip() for word in line.split(",")] for line in re.findall(pattern, (ROOT / "common" / name).read_text(), re.MULTILINE)]


def fields():
    return [dict(zip(("number", "name", "type", "owner", "source", "load", "offset"), row)) for row in rows("record.def", "FIELD")]


def bits():
    return {row[1]: int(row[0]) for row in rows("attribute.def", "ATTRIBUTE", "NEST") if row[0].isdigit()}


def names(array):
    """Of an enum: the table in record.c that the text formats use."""
    text = (ROOT / "common" / "record.c").read_text()
    body = re.search(rf"\b{array}\[\] = \{{(.*?)\}};", text, re.DOTALL)[1]
    header = (ROOT / "common" / "record.h").read_text()
    found = {}
    for index, word in re.findall(r'\[(\w+)\] = "(\w+)"', body):
        found[int(index) if index.isdigit() else number_of(index, header)] = word
    return found


def number_of(symbol, header):
    members = re.search(rf"enum \w+ \{{([^}}]*\b{symbol}\b[^}}]*)\}}", header)[1]
    return [word.strip() for word in members.split(",")].index(symbol)


def pair(array):
    """For transform(): the numbers, and their names."""
    known = names(array)
    return f"{list(known)}, {list(known.values())}"


def column(field):
    kind = "UInt32" if field["type"] == "STATE" else TYPES.get(field["type"], ENUM)
    return f"    {field['name']} {kind}"


def readable(field):
    """A column of the view, without the condition that it is there.  An alias hides a column of its name, so each is of the table r."""
    name = f"r.{field['name']}"
    if field["type"] == "ADDRESS":
        family = "r.md5_peer_family" if name.startswith("r.md5_") else "r.inet_diag_msg_family"
        return (f"if({family} = 2, IPv4NumToString(reinterpretAsUInt32(reverse(substring({name}, 1, 4)))), "
                f"IPv6NumToString({name}))")
    if field["type"] in ENUMS:
        return f"transform({name}, {pair(ENUMS[field['type']])}, toString({name}))"
    return f"lower(hex({name}))" if field["type"] == "BYTES" else name


def presence(field, known):
    """The condition, or None where a field is always there; see record_field_present()."""
    if field["source"] not in known:
        return None
    condition = f"bitTest(r.attributes_present, {known[field['source']]})"
    if field["source"] == "INFO":
        condition += f" AND r.tcp_info_length >= {int(field['offset'], 0) + WIDTHS[field['load']]}"
    return condition


def view(field, known):
    condition, value = presence(field, known), readable(field)
    return f"    {f'if({condition}, {value}, NULL)' if condition else value} AS {field['name']}"


def main():
    wanted, known = fields(), bits()
    columns = ",\n".join(map(column, wanted))
    sockets = [field for field in wanted if field["source"] != "SNAPSHOT"]
    theirs = [field for field in sockets if int(field["number"]) < 900 or 1000 <= int(field["number"]) < 2200]
    out = [HEAD,
           KAFKA.format(name="topic", about="format = protobuf, tcpdiag's default.", topic="sockets", format="Protobuf", columns=columns),
           KAFKA.format(name="list_topic", about="format = protobufList, which is xtcp2's; ClickHouse 26.3 or later.", topic="xtcp",
                        format="ProtobufList", columns=columns),
           RECORDS.format(columns=columns),
           SOCKETS.format(columns=",\n".join(view(field, known) for field in sockets),
                          foreign=",\n".join(view(field, {}) for field in theirs)),
           SNAPSHOTS.format(outcomes=pair("record_outcomes"))]
    sys.stdout.write("".join(out))


if __name__ == "__main__":
    main()
