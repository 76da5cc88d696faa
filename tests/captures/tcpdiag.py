"""tcpdiag replay, and its records by Python's own protobuf."""
import functools
import json
import os
import pathlib
import subprocess

from proto import xtcp_flat_record_pb2 as pb

BIN = pathlib.Path(os.environ["TCPDIAG_BIN"])
FIELDS = {field.name: field for field in pb.XtcpFlatRecord.DESCRIPTOR.fields}
TIMEOUT = 120
KEPT = 2  # captures that stay decoded


# Fields of the record that no message of the kernel's holds.
IDENTITY = "who and where: written by the shipper, tested with it"
BOOKS = "the record's own books: tested where it is written"
NOT_OURS = "of the peer's schema, filled by nobody"
END = "of a snapshot_end, which no socket's record has"
OTHERS = {
    **dict.fromkeys("""schema_version daemon_version hostname location netns netns_inode container_id container_runtime label tag
        netns_cookie collector_epoch""".split(), IDENTITY),
    **dict.fromkeys("""timestamp_ns record_counter record_kind snapshot_sequence record_sequence snapshot_attempt""".split(), BOOKS),
    **dict.fromkeys("""nsid container_name container_image socket_fd netlinker_id inet_diag_msg_socket_dest_asn
        inet_diag_msg_socket_next_hop_asn""".split(), NOT_OURS),
}
PREFIXES = {"uplink1_": NOT_OURS, "uplink2_": NOT_OURS, "snapshot_": END}


def is_from_kernel(name):
    return name not in OTHERS and not name.startswith(tuple(PREFIXES))


def from_kernel(message):
    """{field: value} of a record's fields that are of the kernel's and not 0."""
    return {field.name: value for field, value in message.ListFields() if is_from_kernel(field.name)}


def delimited(data):
    """Each record of a stream, without its length."""
    at, found = 0, []
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                break
        assert at + length <= len(data), "the stream ends within a record"
        found.append(data[at:at + length])
        at += length
    return found


def run(*words):
    return subprocess.run([BIN / "tcpdiag", "replay", "--decoders", "all", *map(str, words)], capture_output=True, check=False, timeout=TIMEOUT)


def replay(path, *words):
    done = run(*words, path)
    assert done.returncode == 0, f"replay {path}: {done.returncode}: {done.stderr.decode()[-1000:]}"
    return done


@functools.lru_cache(KEPT)
def encoded(path):
    """The bytes of each record, as the collector wrote it and the shipper passed it on."""
    return delimited(replay(path, "--format", "protobuf").stdout)


@functools.lru_cache(KEPT)
def messages(path):
    return [pb.XtcpFlatRecord.FromString(record) for record in encoded(path)]


@functools.lru_cache(KEPT)
def jsonl(path):
    return [json.loads(line) for line in replay(path, "--format", "jsonl").stdout.split(b"\n") if line]


@functools.lru_cache(KEPT)
def records(path):
    """{field: value} of each record: what jsonl says is present, with protobuf's values."""
    return [{name: getattr(message, name) for name in shown if name in FIELDS} for message, shown in
            zip(messages(path), jsonl(path), strict=True)]
