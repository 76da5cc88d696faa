"""Parquet files, read by pyarrow, DuckDB and ClickHouse (chdb), and compared value by value with the records that went in."""
import ipaddress
import os
import pathlib
import random
import re
import subprocess

import chdb
import duckdb
import numpy
import pyarrow.parquet
import pytest
from google.protobuf.internal.encoder import _VarintBytes as varint
from proto.xtcp_flat_record_pb2 import XtcpFlatRecord

ROOT = pathlib.Path(__file__).resolve().parents[2]
TCPDIAG = pathlib.Path(os.environ.get("TCPDIAG_BIN", ROOT / "build")) / "tcpdiag"
FIELDS = re.findall(r"^FIELD\((\d+), (\w+), (\w+), (\w+), (\w+), (\w+), (\w+)\)$", (ROOT / "common/record.def").read_text(), re.MULTILINE)
KINDS = {name: kind for _, name, kind, *_ in FIELDS}
COLUMNS = [name for _, name, _, _, source, *_ in FIELDS if source != "SNAPSHOT"]
GROUP_ROWS = 122880
STATES = ["", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN",
          "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE"]
MOST = {"U32": 2**32 - 1, "U64": 2**64 - 1, "I64": 2**62}  # later is for ever, to DuckDB


def write(folder, records, name="file"):
    """A Parquet file of records."""
    source, path = folder / f"{name}.pb", folder / f"{name}.parquet"
    with open(source, "wb") as file:
        for record in records:
            data = record if isinstance(record, bytes) else record.SerializeToString()
            file.write(varint(len(data)) + data)
    with open(path, "wb") as file:
        subprocess.run([TCPDIAG, "decode", "--format", "parquet", source], stdout=file, check=True)
    return path


def text_of(family, address):
    return str(ipaddress.IPv4Address(address[:4]) if family == 2 else ipv6(address))


def ipv6(address):
    six = ipaddress.IPv6Address(address)
    return f"::ffff:{six.ipv4_mapped}" if six.ipv4_mapped else six


def value_of(record, name):
    """What a column has to say of a record; None where the record says nothing."""
    kind, value = KINDS[name], getattr(record, name)
    if not value:
        return None
    if kind == "STATE":
        return STATES[value] if value < len(STATES) else str(value)
    if kind in ("CONGESTION", "KIND"):
        enum = record.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number[value].name
        return re.sub(r"^(CONGESTION_ALGORITHM|RECORD_KIND)_", "", enum).lower()
    return value


def expected(records):
    columns = {name: [value_of(record, name) for record in records] for name in COLUMNS}
    for name in [name for name in COLUMNS if KINDS[name] == "ADDRESS"]:
        columns[f"{name}_text"] = [text_of(r.inet_diag_msg_family, getattr(r, name)) if getattr(r, name) else None for r in records]
    return columns


def random_value(dice, kind):
    if kind == "STRING":
        return "".join(dice.choice("aZ9 ,\u00e9\u4e2d\U0001f600'\"\\") for _ in range(dice.choice([0, 1, 5, 60])))
    if kind == "BYTES":
        return dice.randbytes(dice.choice([0, 1, 40]))
    if kind == "ADDRESS":
        return dice.choice([dice.randbytes(16), dice.randbytes(4) + bytes(12), bytes(10) + b"\xff\xff" + dice.randbytes(4)])
    if kind in MOST:
        return dice.choice([0, 1, 127, MOST[kind], MOST[kind] // 2 + 1, dice.randrange(MOST[kind]), dice.randrange(1000)])
    return dice.randrange({"STATE": 16, "CONGESTION": 8, "KIND": 2}[kind])


def random_record(dice):
    record = XtcpFlatRecord()
    for name in COLUMNS:
        if dice.random() < 0.6:
            setattr(record, name, random_value(dice, KINDS[name]))
    # With these two, fields that are left out as zero would be there.
    record.ClearField("attributes_present")
    record.ClearField("record_kind")
    return record


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    dice = random.Random(20261126)
    records = [random_record(dice) for _ in range(3000)]
    return records, write(tmp_path_factory.mktemp("parquet"), records)


def test_pyarrow_reads_every_value(mixed):
    records, path = mixed
    table = pyarrow.parquet.read_table(path)
    columns = expected(records)
    assert sorted(table.column_names) == sorted(columns)
    for name, values in columns.items():
        column = table.column(name)
        read = column.cast("int64").to_pylist() if name == "timestamp_ns" else column.to_pylist()
        assert read == values, name


def test_duckdb_reads_every_value(mixed):
    """Its times with a zone end at microseconds."""
    records, path = mixed
    for name, values in expected(records).items():
        column = f'"{name}"'
        if name == "timestamp_ns":
            column, values = f'epoch_us("{name}")', [None if value is None else value // 1000 for value in values]
        assert [row[0] for row in duckdb.sql(f"select {column} from '{path}'").fetchall()] == values, name


def test_clickhouse_reads_every_value(mixed):
    records, path = mixed
    for name, values in expected(records).items():
        kind = KINDS.get(name, "STRING")
        how = f"hex({name})" if kind in ("ADDRESS", "BYTES", "STRING") else \
            f"toUnixTimestamp64Nano({name})" if name == "timestamp_ns" else name
        answer = str(chdb.query(f"select {how} from file('{path}', Parquet) format TSV")).splitlines()
        said = [None if value is None else value.encode().hex().upper() if kind == "STRING" else
                value.hex().upper() if kind in ("ADDRESS", "BYTES") else str(value) for value in values]
        assert [None if text == "\\N" else text for text in answer] == said, name


# --- large files -------------------------------------------------------------------

ROWS = GROUP_ROWS + 20000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two row groups; a column for each way to write one."""
    dice = numpy.random.default_rng(7)
    columns = {
        "timestamp_ns": 10**18 + 1000 * numpy.arange(1, ROWS + 1),      # differences
        "record_sequence": numpy.arange(1, ROWS + 1),                   # differences of one
        "tcp_info_rtt": dice.integers(1, 40, ROWS),                     # a dictionary
        "mark": dice.integers(1, 2**32, ROWS),                          # as it is
        "inet_diag_msg_socket_cookie": dice.integers(1, 2**63, ROWS).astype("uint64") * 2 + 1,
        "tcp_info_bytes_acked": numpy.where(dice.random(ROWS) < 0.5, 0, 9),  # half of them are null
    }
    records = []
    for row in range(ROWS):
        record = XtcpFlatRecord(**{name: int(values[row]) for name, values in columns.items()})
        # One value for longer than a page, then more of them than a dictionary takes.
        record.label = "same" if row < 10000 else f"label-{row}"
        record.hostname = "fra3-web7"
        records.append(record)
    return columns, write(tmp_path_factory.mktemp("large"), records)


def test_large_files_hold_what_went_in(large):
    columns, path = large
    table = pyarrow.parquet.read_table(path)
    for name, values in columns.items():
        read = table.column(name)
        if name == "timestamp_ns":
            read = read.cast("int64")
        assert numpy.array_equal(read.fill_null(0).to_numpy(), values), name
    assert table.column("label").to_pylist() == ["same" if row < 10000 else f"label-{row}" for row in range(ROWS)]
    assert duckdb.sql(f"select sum(mark::hugeint), count(distinct label), count(tcp_info_bytes_acked) from '{path}'").fetchall() == [
        (int(columns["mark"].sum()), ROWS - 9999, int((columns["tcp_info_bytes_acked"] > 0).sum()))]


def test_row_groups_encodings_statistics_and_page_indexes(large):
    columns, path = large
    data = pyarrow.parquet.ParquetFile(path).metadata
    assert [data.row_group(i).num_rows for i in range(data.num_row_groups)] == [GROUP_ROWS, ROWS - GROUP_ROWS]
    ways = {"record_sequence": "DELTA_BINARY_PACKED", "tcp_info_rtt": "RLE_DICTIONARY", "mark": "PLAIN", "hostname": "RLE_DICTIONARY"}
    names = [data.schema.column(i).name for i in range(data.num_columns)]
    for group in range(data.num_row_groups):
        rows = slice(group * GROUP_ROWS, min(ROWS, (group + 1) * GROUP_ROWS))
        for name in ways:
            chunk = data.row_group(group).column(names.index(name))
            assert ways[name] in chunk.encodings and chunk.compression == "ZSTD", (name, chunk.encodings)
            assert chunk.has_offset_index and chunk.has_column_index
            if name in columns:
                assert (chunk.statistics.min, chunk.statistics.max) == (columns[name][rows].min(), columns[name][rows].max()), name
            assert chunk.statistics.null_count == 0
        nulls = data.row_group(group).column(names.index("tcp_info_bytes_acked")).statistics.null_count
        assert nulls == int((columns["tcp_info_bytes_acked"][rows] == 0).sum())


def test_duckdb_sees_the_same_metadata(large):
    columns, path = large
    said = duckdb.sql(f"""select path_in_schema, encodings, compression, stats_null_count, stats_min_value, stats_max_value, num_values
                            from parquet_metadata('{path}') where row_group_id = 0""").fetchall()
    said = {name: rest for name, *rest in said}
    assert len(said) == len(expected([]))
    encodings, compression, nulls, least, most, values = said["record_sequence"]
    assert ("DELTA_BINARY_PACKED" in encodings, compression, nulls, least, most, values) == (True, "ZSTD", 0, "1", str(GROUP_ROWS), GROUP_ROWS)
    assert "RLE_DICTIONARY" in said["hostname"][0] and said["hostname"][3:5] == ["fra3-web7", "fra3-web7"]
    assert said["tcp_info_bytes_acked"][2] == int((columns["tcp_info_bytes_acked"][:GROUP_ROWS] == 0).sum())


def test_readers_skip_by_statistics_and_still_find_everything(large):
    """Large numbers without sign are larger than small ones, in every statistic that a reader prunes by."""
    columns, path = large
    types = {field.name: field.type for field in pyarrow.parquet.read_schema(path)}
    for name, limit in (("mark", 3 * 10**9), ("inet_diag_msg_socket_cookie", 2**63 + 2**62), ("record_sequence", ROWS - 5)):
        want = int((columns[name] > limit).sum())
        assert duckdb.sql(f"select count(*) from '{path}' where {name} > {limit}").fetchall() == [(want,)], name
        table = pyarrow.parquet.read_table(path, columns=[name], filters=[(name, ">", pyarrow.scalar(limit, types[name]))])
        assert table.num_rows == want, name
        assert str(chdb.query(f"select count() from file('{path}', Parquet) where {name} > {limit}")).strip() == str(want), name


def test_unset_is_not_zero(tmp_path):
    """A field of an attribute that came is zero; one of an attribute that did not come is null."""
    record = XtcpFlatRecord(attributes_present=1 | 1 << 2, tcp_info_length=104, inet_diag_msg_family=2)
    [row] = pyarrow.parquet.read_table(write(tmp_path, [record])).to_pylist()
    assert row["tcp_info_rtt"] == 0 and row["inet_diag_msg_uid"] == 0 and row["inet_diag_msg_socket_source_text"] == "0.0.0.0"
    assert row["tcp_info_rcv_wnd"] is None and row["mark"] is None and row["congestion_algorithm_string"] is None


def test_snapshot_ends_are_not_among_the_sockets(tmp_path):
    end = XtcpFlatRecord(record_kind=2, snapshot_way=3, snapshot_outcome=1)
    table = pyarrow.parquet.read_table(write(tmp_path, [end, XtcpFlatRecord(mark=7), end]))
    assert table.column("mark").to_pylist() == [7] and "snapshot_outcome" not in table.column_names


def test_a_file_without_rows_is_one(tmp_path):
    path = write(tmp_path, [])
    assert pyarrow.parquet.read_table(path).num_rows == 0
    assert duckdb.sql(f"select count(mark) from '{path}'").fetchall() == [(0,)]
