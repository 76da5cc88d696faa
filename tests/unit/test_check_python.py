"""What the shipper's check lets through, Python's protobuf reads, and would have written so."""
import os
import pathlib
import subprocess

from proto import xtcp_flat_record_pb2 as pb

WRITER = pathlib.Path(os.environ["TCPDIAG_BUILD"]) / "tests/unit/test_check"


def delimited(data):
    at = 0
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                break
        yield data[at:at + length]
        at += length
    assert at == len(data)


def test_survivors_are_protobuf(tmp_path):
    path = tmp_path / "survivors"
    subprocess.run([WRITER], env=dict(os.environ, CHECK_SURVIVORS=str(path)), check=True, timeout=120)
    records = list(delimited(path.read_bytes()))
    assert len(records) == 20000
    envelope = pb.Envelope()
    for number, record in enumerate(records):
        message = pb.XtcpFlatRecord.FromString(record)
        # The same bytes: no unknown field, no zero, nothing twice, no other order.
        assert message.SerializeToString(deterministic=True) == record, f"record {number}: {record.hex()}"
        envelope.row.append(message)
    # One bad string would spoil the batch for all.
    assert len(pb.Envelope.FromString(envelope.SerializeToString()).row) == len(records)
