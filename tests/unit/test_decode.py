"""tcpdiag decode against Python's own protobuf, json, csv, msgpack and ipaddress."""
import csv
import fcntl
import io
import ipaddress
import json
import os
import pathlib
import pty
import random
import select
import struct
import subprocess
import termios
import threading

import msgpack
import pytest
from google.protobuf import json_format, text_format
from proto import xtcp_flat_record_pb2 as pb

# The folder with tcpdiag: as the makefile says, or by hand.
TCPDIAG = pathlib.Path(os.environ.get("TCPDIAG_BIN") or os.environ["BUILD"]) / "tcpdiag"
USAGE, DATA, SINK = 64, 65, 74
FIELDS = list(pb.XtcpFlatRecord.DESCRIPTOR.fields)
STATES = dict(enumerate(("ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN "
                         "CLOSING NEW_SYN_RECV BOUND_INACTIVE").split(), 1))
PREFIXES = {"congestion_algorithm_enum": "CONGESTION_ALGORITHM_", "record_kind": "RECORD_KIND_",
            "snapshot_way": "SNAPSHOT_WAY_", "snapshot_outcome": "SNAPSHOT_OUTCOME_"}
ADDRESSES = {"inet_diag_msg_socket_source": "inet_diag_msg_family", "inet_diag_msg_socket_destination": "inet_diag_msg_family",
             "md5_peer_address": "md5_peer_family"}


def run(*words, data=b"", code=0, **more):
    done = subprocess.run([TCPDIAG, "decode", *words], input=data, capture_output=True, check=False, timeout=120, **more)
    assert done.returncode == code, done.stderr.decode()
    if code == 0:
        assert done.stderr == b""
    return done


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def framed(message):
    packed = message.SerializeToString(deterministic=True)
    return varint(len(packed)) + packed


def delimited(records):
    return b"".join(map(framed, records))


def text_lines(done):
    # Not splitlines(), to which more than a newline ends a line.
    *found, last = done.stdout.decode().split("\n")
    assert last == "", "the last line is whole"
    return found


def lines(done):
    return list(map(json.loads, text_lines(done)))


# --- random records, and what they have to become ---------------------------

def some_text(chance):
    alphabet = 'abc "\\\t\n\r,;/\x01\x1f\x7fäß€漢😀\u2028\ufeff'
    return "".join(chance.choice(alphabet) for _ in range(chance.randrange(12)))


def some_address(chance):
    special = [bytes(16), bytes(15) + b"\1", bytes(10) + b"\xff\xff" + chance.randbytes(4), bytes(12) + chance.randbytes(4),
               b"\xff" * 16, b"\xfe\x80" + bytes(6) + chance.randbytes(8)]
    # Groups that are often zero, so that runs of every place and length come.
    groups = b"".join(chance.choice((b"\0\0", b"\0\0", b"\0" + chance.randbytes(1), chance.randbytes(2))) for _ in range(8))
    return chance.choice([*special, groups, groups, chance.randbytes(16)])


def some_value(chance, field):
    if field.name in ADDRESSES:
        return some_address(chance)
    if field.type == field.TYPE_BYTES:
        return chance.randbytes(1 + chance.randrange(chance.choice((3, 40, 1024))))
    if field.type == field.TYPE_STRING:
        return some_text(chance)
    if field.type == field.TYPE_ENUM:
        return chance.choice([v.number for v in field.enum_type.values] + [77])
    bits = {field.TYPE_UINT32: 32, field.TYPE_UINT64: 64, field.TYPE_INT64: 63}[field.type]
    return chance.getrandbits(bits) >> chance.randrange(bits)


def some_record(chance):
    """A record as another program could write it: only what is written is there."""
    record = pb.XtcpFlatRecord()
    for field in chance.sample(FIELDS, chance.randrange(1, len(FIELDS) + 1)):
        if field.name not in ("attributes_present", "record_kind"):
            setattr(record, field.name, some_value(chance, field))
    record.timestamp_ns = 1 + chance.getrandbits(60)
    record.inet_diag_msg_family = chance.choice([2, 10])
    record.md5_peer_family = chance.choice([2, 10])
    record.inet_diag_msg_state = chance.randrange(1, 16)
    return record


def address_text(family, address):
    if family == 2:
        return str(ipaddress.IPv4Address(address[:4]))
    value = ipaddress.IPv6Address(address)
    return f"::ffff:{value.ipv4_mapped}" if value.ipv4_mapped else str(value)


def shown(record, field):
    value = getattr(record, field.name)
    if field.name in ADDRESSES:
        return address_text(getattr(record, ADDRESSES[field.name]), value)
    if field.type == field.TYPE_BYTES:
        return value.hex()
    if field.name.endswith("_state") and field.name in ("inet_diag_msg_state", "tcp_info_state"):
        return STATES.get(value, value)
    if field.name in PREFIXES:
        known = field.enum_type.values_by_number.get(value)
        name = known.name.removeprefix(PREFIXES[field.name]).lower() if known else value
        return 0 if name == "unspecified" else name
    return value


def expected(record):
    return {field.name: shown(record, field) for field, _ in record.ListFields()}


@pytest.fixture(scope="module")
def records():
    chance = random.Random(20)
    return [some_record(chance) for _ in range(2500)]


def test_jsonl_is_what_python_reads(records):
    """Every field of every record, by its name, in order, as the right type."""
    done = run("--format", "jsonl", "-", data=delimited(records))
    found = lines(done)
    assert len(found) == len(records)
    for ours, record in zip(found, records):
        theirs = expected(record)
        assert ours == theirs
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            assert type(ours[name]) is type(value), name


def test_addresses_as_rfc_5952():
    """Tens of thousands of addresses, as Python's ipaddress writes them."""
    chance = random.Random(21)
    many = [pb.XtcpFlatRecord(timestamp_ns=1, inet_diag_msg_family=10, inet_diag_msg_socket_source=some_address(chance),
                              inet_diag_msg_socket_destination=some_address(chance)) for _ in range(15000)]
    for ours, record in zip(lines(run("--format", "jsonl", "-", data=delimited(many))), many, strict=True):
        for name in list(ADDRESSES)[:2]:
            assert ours[name] == address_text(10, getattr(record, name))


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_separated_is_what_python_reads(records, form):
    """The same values as jsonl's, in a row under their names."""
    names = [field.name for field in FIELDS]
    done = run("--format", form, "--columns", ",".join(names), "-", data=delimited(records))
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(done.stdout.decode(), newline="")))
    else:
        escapes = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}

        def unescaped(cell):
            parts = iter(cell)
            return "".join(escapes[next(parts)] if c == "\\" else c for c in parts)

        first, *rest = (line.split("\t") for line in done.stdout.decode().removesuffix("\n").split("\n"))
        rows = [dict(zip(first, map(unescaped, cells), strict=True)) for cells in rest]
    assert len(rows) == len(records)
    for row, record in zip(rows, records):
        assert {name: cell for name, cell in row.items() if cell} == \
            {name: str(value) for name, value in expected(record).items()}


def ours(**more):
    """A socket's record as tcpdiag writes it: zeros left out, attributes said."""
    return pb.XtcpFlatRecord(timestamp_ns=1, netns="web", attributes_present=1 << 0 | 1 << 15, inet_diag_msg_family=2,
                             inet_diag_msg_state=1, **more)


def test_a_zero_that_came_is_printed_and_what_did_not_come_is_absent():
    """Unset is not zero."""
    found, = lines(run("--format", "jsonl", "-", data=framed(ours())))
    assert found["mark"] == 0 and found["inet_diag_msg_uid"] == 0 and found["record_kind"] == "socket"
    assert found["inet_diag_msg_socket_source"] == "0.0.0.0"
    assert "traffic_class" not in found and "tcp_info_rtt" not in found and "hostname" not in found
    text = run("--format", "csv", "--columns", "mark,traffic_class", "-", data=framed(ours())).stdout
    assert text == b"mark,traffic_class\n0,\n"


def test_bytes_and_the_peer_of_a_key():
    """Bytes are hexadecimal for people; the peer's address is of its own family, not of the socket's."""
    record = ours(tcp_info_length=284, tcp_info_tail=b"\x00\xff\x10\x0a", md5_key_count=2, md5_peer_family=10, md5_peer_prefix_length=64,
                  md5_peer_address=ipaddress.ip_address("2001:db8::").packed)
    record.attributes_present |= 1 << 2 | 1 << 18
    names = ["inet_diag_msg_socket_source", "tcp_info_tail", "md5_key_count", "md5_peer_address"]
    values = ["0.0.0.0", "00ff100a", "2", "2001:db8::"]
    object_, = lines(run("--format", "jsonl", "-", data=framed(record)))
    assert [str(object_[name]) for name in names] == values
    for form, separator in (("csv", ","), ("tsv", "\t"), ("table", None)):
        text = run("--format", form, "--columns", ",".join(names), "-", data=framed(record)).stdout.decode()
        assert [line.split(separator) for line in text.splitlines()] == [names, values], form
    # A kernel that has no more than is known has no tail, which is not an empty one.
    record.ClearField("tcp_info_tail")
    record.tcp_info_length = 280
    assert "tcp_info_tail" not in lines(run("--format", "jsonl", "-", data=framed(record)))[0]


def test_strings_that_are_not_utf8_are_replaced():
    """No input makes JSON that is none; what was wrong is seen."""
    bad = b"\xf0\x01" + b"a\xffb\xc3"  # label is field 50: tag 0x192
    packed = b"\x92\x03" + varint(len(bad)) + bad
    done = run("--format", "jsonl", "-", data=varint(len(packed)) + packed)
    assert lines(done) == [{"label": "\ufffd\x01a\ufffdb\ufffd"}]


# --- protoJson, protoText, msgpack ---------------------------------------------

def some_of_ours(chance):
    """A record as tcpdiag could write it, of any kind but snapshot_end, with any attributes."""
    record = some_record(chance)
    record.record_kind = chance.choice([0, 1])
    record.attributes_present = chance.getrandbits(52)
    return record


@pytest.fixture(scope="module")
def mixed(records):
    """Other programs' records and ours, in no order; among them one with nothing but a time."""
    chance = random.Random(23)
    some = records[:1500] + [some_of_ours(chance) for _ in range(1500)] + [pb.XtcpFlatRecord(timestamp_ns=-1)]
    chance.shuffle(some)
    return some


def test_proto_json_is_what_python_reads_and_writes(mixed):
    """Each line is an Envelope, by Python's parser, and has what Python's printer would say."""
    found = text_lines(run("--format", "protoJson", "-", data=delimited(mixed)))
    assert len(found) > 1, "several batches, a line each"
    rows = []
    for line in found:
        envelope = json_format.Parse(line, pb.Envelope())
        assert json.loads(line) == json.loads(json_format.MessageToJson(envelope))
        rows += envelope.row
    assert rows == mixed


def test_proto_text_is_what_python_reads_and_writes(mixed):
    """A file of batches is one Envelope, in the very words of Python's printer."""
    text = run("--format", "protoText", "-", data=delimited(mixed)).stdout.decode("ascii")
    whole = pb.Envelope(row=mixed)
    assert text_format.Parse(text, pb.Envelope()) == whole
    assert text == text_format.MessageToString(whole)


def test_msgpack_is_jsonl(mixed):
    """The same objects as jsonl's: fields, their order, values and their types, ends of snapshots too."""
    data = delimited([*mixed, ours(), ends(3)])
    theirs = lines(run("--format", "jsonl", "-", data=data))
    found = list(msgpack.Unpacker(io.BytesIO(run("--format", "msgpack", "-", data=data).stdout)))
    assert len(found) == len(mixed) + 2
    assert found == theirs
    for mine, line in zip(found, theirs):
        assert list(mine) == list(line)
        assert list(map(type, mine.values())) == list(map(type, line.values()))


def test_zeros_in_the_others():
    """The two formats of protobuf leave a zero out, as it does; msgpack has those that came."""
    data = framed(ours())
    envelope = json.loads(run("--format", "protoJson", "-", data=data).stdout)
    assert envelope == {"row": [{"timestampNs": "1", "netns": "web", "attributesPresent": "32769",
                                 "inetDiagMsgFamily": 2, "inetDiagMsgState": 1}]}
    assert b"mark" not in run("--format", "protoText", "-", data=data).stdout
    record = msgpack.unpackb(run("--format", "msgpack", "-", data=data).stdout)
    assert record["mark"] == 0 and record["inet_diag_msg_socket_source"] == "0.0.0.0" and "traffic_class" not in record


def test_strings_that_are_not_utf8_in_the_others():
    """A parser that insists on UTF-8 reads what is left of a bad string, and all the rest."""
    bad = b"\xf0\x01" + b"a\xffb\xc3"
    packed = b"\x92\x03" + varint(len(bad)) + bad
    data = varint(len(packed)) + packed + framed(ours())
    mended = pb.Envelope(row=[pb.XtcpFlatRecord(label="\ufffd\x01a\ufffdb\ufffd"), ours()])
    assert json_format.Parse(run("--format", "protoJson", "-", data=data).stdout, pb.Envelope()) == mended
    assert text_format.Parse(run("--format", "protoText", "-", data=data).stdout, pb.Envelope()) == mended
    first, _ = msgpack.Unpacker(io.BytesIO(run("--format", "msgpack", "-", data=data).stdout))
    assert first == {"label": "\ufffd\x01a\ufffdb\ufffd"}


# --- files -------------------------------------------------------------------

def ends(count):
    return pb.XtcpFlatRecord(timestamp_ns=9, record_kind="RECORD_KIND_SNAPSHOT_END", snapshot_way="SNAPSHOT_WAY_WALK",
                             snapshot_published=count)


def test_snapshot_ends_only_where_they_can_be_told_apart():
    """jsonl, protobuf and msgpack have them; table, csv, tsv and all that write Envelopes never do."""
    data = delimited([ours(mark=1), ends(1)])
    assert [r["record_kind"] for r in lines(run("--format", "jsonl", "-", data=data))] == ["socket", "snapshot_end"]
    assert run("--format", "protobuf", "-", data=data).stdout == data
    for form in ("table", "csv", "tsv"):
        assert len(run("--format", form, "-", data=data).stdout.splitlines()) == 2
    envelope = run("--format", "protobufList", "-", data=data).stdout
    assert envelope == framed(pb.Envelope(row=[ours(mark=1)]))
    for form, parse in (("protoJson", json_format.Parse), ("protoText", text_format.Parse)):
        assert parse(run("--format", form, "-", data=data).stdout, pb.Envelope()) == pb.Envelope(row=[ours(mark=1)])
        assert run("--format", form, "-", data=framed(ends(0))).stdout == b"", "an Envelope without rows is none"


def test_round_trips(records):
    """protobuf to protobuf is the same bytes; through protobufList nothing is lost."""
    data = delimited(records)
    assert run("--format", "protobuf", "-", data=data).stdout == data
    envelopes = run("--format", "protobufList", "-", data=data).stdout
    assert run("--format", "protobuf", "-", data=envelopes).stdout == data
    assert run("--format", "protobuf", "--input", "protobufList", "-", data=envelopes).stdout == data


def test_order_of_fields_becomes_canonical():
    """Identity stands first in our files; decode writes fields in ascending order."""
    record = ours(mark=3, snapshot_sequence=4)
    identity = pb.XtcpFlatRecord(netns_cookie=5, hostname="h")
    packed = identity.SerializeToString() + record.SerializeToString()
    record.MergeFrom(identity)
    assert run("--format", "protobuf", "-", data=varint(len(packed)) + packed).stdout == framed(record)


def test_many_envelopes_and_empty_ones(records):
    """A file of protobufList is one Envelope after the other."""
    data = b"".join(framed(pb.Envelope(row=records[i:i + 300])) for i in range(0, 1200, 300)) + framed(pb.Envelope())
    assert run("--format", "protobuf", "-", data=data).stdout == delimited(records[:1200])


def test_fields_of_a_newer_version_are_kept():
    """A record with fields that this version does not know is still a record."""
    packed = ours().SerializeToString() + varint(3000 << 3) + b"\x2a"
    data = varint(len(packed)) + packed
    assert run("--format", "protobuf", "-", data=data).stdout == data


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "empty").touch()
    assert run(tmp_path / "empty").stdout == b""


@pytest.mark.parametrize("form", ["protobuf", "protobufList"])
def test_cut_at_every_byte(tmp_path, form):
    """What is whole is printed; then one line names the file and the place."""
    whole = [ours(mark=i, hostname="h" * 120) for i in range(4)]
    frames = [framed(r) for r in whole] if form == "protobuf" else [framed(pb.Envelope(row=whole[i:i + 2])) for i in (0, 2)]
    data = b"".join(frames)
    good = {len(b"".join(frames[:i])) for i in range(len(frames) + 1)}
    file = tmp_path / "cut"
    for cut in range(len(data) + 1):
        file.write_bytes(data[:cut])
        done = run("--format", "jsonl", file, code=0 if cut in good else DATA)
        found = lines(done)
        assert [r["mark"] for r in found] == list(range(len(found)))
        if cut in good:
            continue
        said, = done.stderr.decode().splitlines()
        assert str(file) in said and "offset " in said and "cut short" in said
        # The next record was not whole.
        assert len(delimited(whole[:len(found)])) <= cut < len(delimited(whole[:len(found) + 1])) + 8


FOREIGN = {
    "text": b"This is a text of some length, and no file of records.\n" * 100,
    "pcap": bytes.fromhex("d4c3b2a1020004000000000000000000ffff000071000000") + bytes(200),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "random": random.Random(1).randbytes(5000),
    "gzip": b"\x1f\x8b\x08\x00" + random.Random(2).randbytes(500),
    "json": b'["netns", "default"]\n' * 50,
    "unknown fields only": b"\x04\x98\xf4\x01\x05",
    "huge length": varint(2 ** 40) + b"\x08\x01",
    "a string with a NUL": b"\x06\x92\x03\x03a\0b",
    "address of 4 bytes": b"\x07\xfa\x3e\x04abcd",
    "row beyond its Envelope": b"\x04\x52\x08" + b"\x08\x01" * 4,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file(tmp_path, name):
    """One line with the file and the offset, and nothing that looks like a record."""
    file = tmp_path / "foreign"
    file.write_bytes(FOREIGN[name])
    done = run("--format", "jsonl", file, code=DATA)
    said, = done.stderr.decode().splitlines()
    assert f"{file}: offset 0: not a" in said or f"{file}: offset 1: not a" in said or "offset 3: not a" in said
    assert done.stdout == b""


def test_garbage_behind_good_records(tmp_path):
    """The offset is that of the first thing that is no record."""
    good = delimited([ours(mark=1), ours(mark=2)])
    (tmp_path / "mixed").write_bytes(good + b"garbage, clearly" * 10)
    done = subprocess.run([TCPDIAG, "decode", "--format", "jsonl", tmp_path / "mixed"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=60)
    assert done.returncode == DATA
    *found, said = done.stdout.decode().splitlines()
    assert [json.loads(line)["mark"] for line in found] == [1, 2], "before it is said what is wrong"
    assert f"offset {len(good)}: not a" in said


def test_an_envelope_with_something_else():
    """What is not a row is not passed over in silence."""
    row = framed(ours(mark=1))
    envelope = b"\x52" + row + b"\x58\x01"
    done = run("--format", "jsonl", "-", data=varint(len(envelope)) + envelope, code=DATA)
    assert [r["mark"] for r in lines(done)] == [1]
    assert f"offset {len(row) + 2}: not an Envelope: it has another field" in done.stderr.decode()


def test_the_wrong_input_is_said(tmp_path):
    """A file of one form read as the other is refused, not misread."""
    run("--input", "protobufList", "-", data=delimited([ours()]), code=DATA)
    run("--input", "protobuf", "-", data=framed(pb.Envelope(row=[ours()])), code=DATA)


PARSERS = {
    "jsonl": lines,
    "protoJson": lambda done: [json_format.Parse(line, pb.Envelope()) for line in text_lines(done)],
    "protoText": lambda done: text_format.Parse(done.stdout.decode(), pb.Envelope()),
    "msgpack": lambda done: list(msgpack.Unpacker(io.BytesIO(done.stdout))),
}


@pytest.mark.parametrize("form", PARSERS)
def test_mutated_files_never_break_the_output(records, form):
    """Whatever is in a file: the output is good JSON, text or msgpack, and the end is one of two."""
    chance = random.Random(22)
    good = delimited(records[:6])
    for _ in range(150):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        done = subprocess.run([TCPDIAG, "decode", "--format", form, "-"], input=bytes(data), capture_output=True,
                              check=False, timeout=60)
        assert done.returncode in (0, DATA), done.stderr.decode()
        assert len(done.stderr.splitlines()) == (done.returncode == DATA)
        PARSERS[form](done)


# --- how it is called --------------------------------------------------------

@pytest.mark.parametrize("words, named", [
    (["--format", "yaml", "-"], ["yaml", "jsonl", "protobufList", "protoJson", "protoText", "msgpack"]),
    (["--input", "xml", "-"], ["xml"]),
    (["--format", "csv", "--columns", "netns,colour", "-"], ["colour", "tcpdiag-record(7)"]),
    (["--format", "table", "--columns", "colour", "-"], ["colour", "local, peer"]),
    (["--format", "csv", "--columns", "netns,,mark", "-"], ["empty"]),
    (["--format", "jsonl", "--columns", "netns", "-"], ["jsonl", "--columns"]),
    ([], ["FILE"]),
    (["a", "b"], ["FILE"]),
    (["--colour", "-"], ["colour"]),
])
def test_usage(words, named):
    done = run(*words, code=USAGE)
    assert done.stdout == b""
    assert all(word in done.stderr.decode() for word in named), done.stderr.decode()


def test_help():
    text = run("--help").stdout.decode()
    assert all(word in text for word in ("usage: tcpdiag decode", "jsonl", "protobufList", "--columns", "--input"))
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        done = run(path, code=DATA)
        said, = done.stderr.decode().splitlines()
        assert str(path) in said


@pytest.mark.parametrize("form", ["jsonl", "protobuf", "table", "csv"])
def test_a_full_disk(records, form):
    """One line, and the exit code that says it was the output."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([TCPDIAG, "decode", "--format", form, "-"], input=delimited(records), stdout=full,
                              stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == SINK
    assert len(done.stderr.splitlines()) == 1 and b"No space left" in done.stderr


def test_a_closed_pipe(tmp_path, records):
    """A reader that goes away ends it, with one line."""
    (tmp_path / "file").write_bytes(delimited(records) * 5)
    reading, writing = os.pipe()
    with subprocess.Popen([TCPDIAG, "decode", "--format", "jsonl", tmp_path / "file"], stdout=writing,
                          stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert os.read(reading, 1) == b"{"
        os.close(reading)
        said = process.stderr.read().splitlines()
        assert process.wait(60) == SINK
    assert len(said) == 1 and b"pipe" in said[0].lower()


def test_a_live_pipe_is_not_held_back():
    """What has come is printed while more is waited for."""
    with subprocess.Popen([TCPDIAG, "decode", "--format", "jsonl", "-"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        for mark in range(3):
            process.stdin.write(framed(ours(mark=mark)))
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 60)[0], "held back"
            assert json.loads(process.stdout.readline())["mark"] == mark
        process.stdin.close()
        assert process.wait(60) == 0


def test_memory_is_bounded():
    """A stream of any length goes through a few megabytes."""
    chunk = delimited([ours(mark=i, hostname="h" * 200) for i in range(5000)])
    with subprocess.Popen([TCPDIAG, "decode", "--format", "protobuf", "-"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        def feed():
            for _ in range(60):
                process.stdin.write(chunk)
            process.stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        seen, peak = 0, 0
        while data := process.stdout.read(1 << 20):
            seen += len(data)
            if status := [line for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
                          if line.startswith("VmData")]:
                peak = max(peak, int(status[0].split()[1]))
        feeder.join()
        assert process.wait(60) == 0
    assert seen == 60 * len(chunk)
    if os.environ.get("TCPDIAG_MODE") != "asan":  # which keeps what is freed
        assert peak < 16 * 1024


def test_table_on_a_terminal_is_the_default():
    """In front of a person it is a table as wide as the screen."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 60, 0, 0))
    data = delimited([ours(inet_diag_msg_socket_source_port=22)])
    done = subprocess.run([TCPDIAG, "decode", "-"], input=data, stdout=slave, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(slave)
    text = os.read(master, 65536).decode().replace("\r\n", "\n")
    os.close(master)
    assert done.returncode == 0
    header, row = text.splitlines()
    assert header.split()[:4] == ["NETNS", "STATE", "LOCAL", "PEER"]
    assert row.split() == ["web", "ESTABLISHED", "0.0.0.0:22", "0.0.0.0:*", "-", "-"]
    assert max(map(len, (header, row))) <= 60
    assert lines(run("-", data=data))[0]["netns"] == "web", "and jsonl where nobody looks"
