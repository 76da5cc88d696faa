"""The encoder's proof: our bytes are those of two other implementations of protobuf, once the stamp's fields are in their places."""
import os
import pathlib
import struct
import subprocess

import pytest
from google.protobuf.descriptor import FieldDescriptor
from proto import xtcp_flat_record_pb2 as pb

import folders
import tcpdiag

REENCODE = pathlib.Path(os.environ["TCPDIAG_BIN"]) / "tests" / "reencode"


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(record):
    """[(number, the field's bytes)], taken apart by hand."""
    found, at = [], 0
    while at < len(record):
        start = at
        tag, at = varint(record, at)
        assert tag & 7 in (0, 2), f"a wire type that no field has: {tag & 7}"
        value, at = varint(record, at)
        at += value if tag & 7 == 2 else 0
        assert at <= len(record)
        found.append((tag >> 3, record[start:at]))
    return found


def in_order(record):
    """The bytes with the fields ascending, and that they were: a stamp, and behind it the collector's own."""
    parts = fields(record)
    numbers = [number for number, _ in parts]
    assert len(set(numbers)) == len(numbers), "a field comes twice"
    assert sum(later < earlier for earlier, later in zip(numbers, numbers[1:])) <= 1, f"more than a stamp before a record: {numbers}"
    return b"".join(data for _, data in sorted(parts))


def python_values(message):
    """As reencode.c prints them."""
    out = []
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            value = value.encode().hex()
        elif field.type == FieldDescriptor.TYPE_BYTES:
            value = value.hex()
        out.append(f"{field.number}={value}\n")
    return "".join(out)


def by_protobuf_c(records):
    """[(bytes, values)] as protobuf-c decodes and encodes again."""
    sent = b"".join(struct.pack("=I", len(record)) + record for record in records)
    done = subprocess.run([REENCODE], input=sent, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    frames, at = [], 0
    while at < len(done.stdout):
        length, = struct.unpack_from("=I", done.stdout, at)
        frames.append(done.stdout[at + 4:at + 4 + length])
        at += 4 + length
    return list(zip(frames[::2], frames[1::2], strict=True))


@pytest.mark.parametrize("capture", folders.of_kind("capture"), ids=lambda file: file.name)
def test_bytes_are_protobuf(capture):
    records = tcpdiag.encoded(capture.path)
    answers = by_protobuf_c(records)
    assert len(answers) == len(records)
    for number, (record, (packed, values)) in enumerate(zip(records, answers)):
        ordered = in_order(record)
        message = pb.XtcpFlatRecord.FromString(record)
        assert message.SerializeToString(deterministic=True) == ordered, f"record {number}: Python encodes it otherwise: {record.hex()}"
        assert packed == ordered, f"record {number}: protobuf-c encodes it otherwise: {record.hex()}"
        assert values.decode() == python_values(message), f"record {number}: protobuf-c and Python read other values"
