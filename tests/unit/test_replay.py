"""tcpdiag replay on captures that are made here, byte by byte, as others would write them."""
import io
import ipaddress
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import time

import msgpack
import pytest

TCPDIAG = pathlib.Path(os.environ.get("TCPDIAG_BIN") or os.environ["BUILD"]) / "tcpdiag"
ASAN = os.environ.get("TCPDIAG_MODE") == "asan"
USAGE, DATA, SINK = 64, 65, 74
NOOP, ERROR, DONE, GETSOCK, BY_FAMILY = 1, 2, 3, 18, 20
REQUEST, MULTI, DUMP = 1, 2, 0x300
MEMINFO, INFO, CONG, PROTOCOL, MARK, MD5SIG, CGROUP = 1, 2, 4, 10, 15, 18, 21
NETLINK, ETHERNET = 253, 1
ROUTE, SOCK_DIAG = 0, 4
TCP, UDP = 6, 17
TEXT = ("jsonl", "csv", "tsv", "protoJson", "protoText", "msgpack")
KEY = b"Geheimnis-7f3a9c"
NOW = 1_700_000_000_123_456_000
# What a record says of its place in the file, not of its socket.
PLACE = {"record_counter", "snapshot_sequence", "record_sequence"}


# --- netlink -------------------------------------------------------------------------

def message(kind, payload, flags=MULTI, sequence=123456, pid=4711):
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, pid) + payload + bytes(-len(payload) % 4)


def attribute(kind, payload):
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def diag(source="192.0.2.1", destination="198.51.100.7", ports=(40000, 443), state=1, cookie=77, family=None):
    addresses = [ipaddress.ip_address(address) for address in (source, destination)]
    family = family if family is not None else 2 if addresses[0].version == 4 else 10
    packed = b"".join(address.packed.ljust(16, b"\0") for address in addresses)
    return (struct.pack("=BBBB", family, state, 0, 0) + struct.pack(">HH", *ports) + packed +
            struct.pack("=IQ", 3, cookie) + struct.pack("=IIIII", 0, 0, 0, 1000, 4242))


def info(rtt=1234, length=232):
    return (bytes(68) + struct.pack("=II", rtt, 7)).ljust(length, b"\0")


def socket(*attributes, kind=BY_FAMILY, flags=MULTI, sequence=123456, pid=4711, **more):
    return message(kind, diag(**more) + b"".join(attributes), flags, sequence, pid)


def established(number, **more):
    return socket(attribute(INFO, info(rtt=number)), attribute(CONG, b"cubic\0"), ports=(number, 443), cookie=number, **more)


def request(protocol=TCP, sequence=123456):
    return message(BY_FAMILY, struct.pack("=BBBBI", 2, protocol, 0x7f, 0, 0x3fff) + bytes(48), REQUEST | DUMP, sequence, 0)


def done(error=0, **more):
    return message(DONE, struct.pack("=i", -error), **more)


def cooked(*messages, family=SOCK_DIAG):
    return bytes.fromhex("000403380000c3a5f00d0000dead") + struct.pack(">H", family) + b"".join(messages)


# --- captures -------------------------------------------------------------------------

def pcap(*packets, order="<", nano=False, link=NETLINK, snaplen=262144, step=1000):
    """Classic: each packet a microsecond after the one before."""
    out = struct.pack(f"{order}IHHIIII", 0xa1b23c4d if nano else 0xa1b2c3d4, 2, 4, 0, 0, snaplen, link)
    for number, packet in enumerate(packets):
        when = NOW + number * step
        kept = packet[:snaplen]
        out += struct.pack(f"{order}IIII", when // 10**9, when % 10**9 // (1 if nano else 1000), len(kept), len(packet)) + kept
    return out


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, len(body) + 12) + body + struct.pack(f"{order}I", len(body) + 12)


def option(order, kind, value):
    return struct.pack(f"{order}HH", kind, len(value)) + value + bytes(-len(value) % 4)


def section(order="<"):
    return block(order, 0x0a0d0d0a, struct.pack(f"{order}IHHq", 0x1a2b3c4d, 1, 0, -1) + option(order, 4, b"nobody's"))


def interface(order="<", link=NETLINK, resolution=None, seconds=None, snaplen=0):
    options = option(order, 2, b"nlmon0")
    if resolution is not None:
        options += option(order, 9, bytes([resolution]))
    if seconds is not None:
        options += option(order, 14, struct.pack(f"{order}q", seconds))
    return block(order, 1, struct.pack(f"{order}HHI", link, 0, snaplen) + options + option(order, 0, b""))


def enhanced(packet, order="<", number=0, units=NOW // 1000):
    head = struct.pack(f"{order}IIIII", number, units >> 32, units & 0xffffffff, len(packet), len(packet))
    return block(order, 6, head + packet + bytes(-len(packet) % 4) + option(order, 1, b"a comment"))


# --- running it -------------------------------------------------------------------------

def run(data, *words, code=0):
    finished = subprocess.run([TCPDIAG, "replay", *words, "-"], input=data, capture_output=True, check=False, timeout=120)
    finished.stderr = finished.stderr.decode()
    assert finished.returncode == code, (finished.returncode, finished.stderr)
    return finished


def records(data, **more):
    return [json.loads(line) for line in run(data, "--format", "jsonl", **more).stdout.splitlines()]


def told(finished):
    """{what: how many} of the lines at the end."""
    return {name.removeprefix("tcpdiag: standard input: ").split(": ")[-1].strip(): int(number)
            for line in stderr_of(finished).splitlines() if " offset " not in line
            for name, number in re.findall(r"([^,]+?): (\d+)(?=,|$)", line)}


def stderr_of(finished):
    return finished.stderr if isinstance(finished.stderr, str) else finished.stderr.decode()


def without(record, *names):
    return {name: value for name, value in record.items() if name not in (*PLACE, *names)}


# --- what is decoded -------------------------------------------------------------------

@pytest.mark.parametrize("kind", [GETSOCK, BY_FAMILY])
def test_a_socket(kind):
    """Both kinds of answers give what stands in them, at the time of their packet."""
    data = pcap(cooked(socket(attribute(INFO, info()), attribute(MARK, struct.pack("=I", 9)), attribute(CGROUP, struct.pack("=Q", 5)),
                              source="2001:db8::1", destination="2001:db8::2", kind=kind)))
    (record,) = records(data)
    wanted = {"inet_diag_msg_family": 10, "inet_diag_msg_state": "ESTABLISHED", "inet_diag_msg_socket_source": "2001:db8::1",
              "inet_diag_msg_socket_destination": "2001:db8::2", "inet_diag_msg_socket_source_port": 40000,
              "inet_diag_msg_socket_destination_port": 443, "inet_diag_msg_socket_cookie": 77, "inet_diag_msg_uid": 1000,
              "inet_diag_msg_inode": 4242, "tcp_info_rtt": 1234, "tcp_info_rtt_var": 7, "tcp_info_length": 232, "mark": 9,
              "c_group": 5, "timestamp_ns": NOW, "record_kind": "socket", "schema_version": 1}
    assert {name: record[name] for name in wanted} == wanted
    assert "netns" not in record and "hostname" not in record and "tcp_info_rcv_wnd" not in record


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [False, True])
def test_either_byte_order_and_resolution(order, nano):
    data = pcap(*(cooked(established(number)) for number in (1, 2, 3)), order=order, nano=nano, step=1_001_001)
    found = records(data)
    assert [record["tcp_info_rtt"] for record in found] == [1, 2, 3]
    times = [NOW + number * 1_001_001 for number in range(3)]
    assert [record["timestamp_ns"] for record in found] == (times if nano else [when // 1000 * 1000 for when in times])


@pytest.mark.parametrize("order", "<>")
def test_pcapng(order):
    """Interfaces of any resolution, sections of their own byte order, blocks of every kind: each packet has its time."""
    def packets(number):
        return cooked(established(number))

    data = section(order) + interface(order) + interface(order, ETHERNET) + interface(order, resolution=9, seconds=-7)
    data += block(order, 5, bytes(8)) + enhanced(packets(1), order) + enhanced(packets(2), order, 1)
    data += enhanced(packets(3), order, 2, NOW + 7 * 10**9)
    other = "<" if order == ">" else ">"
    data += section(other) + interface(other, resolution=0x80 | 20, snaplen=10000)
    data += enhanced(packets(4), other, 0, (NOW << 20) // 10**9 + 1) + block(other, 3, struct.pack(f"{other}I", len(packets(5))) + packets(5))
    data += block(other, 2, struct.pack(f"{other}HHIIII", 0, 0, 0, 0, len(packets(6)), len(packets(6))) + packets(6))
    finished = run(data, "--format", "jsonl")
    found = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [record["tcp_info_rtt"] for record in found] == [1, 3, 4, 5, 6]
    assert [record.get("timestamp_ns", 0) // 1000 for record in found] == [NOW // 1000] * 3 + [0] * 2
    assert told(finished)["packets of other links"] == 1
    # The same reader and number in another place of the file is somebody else.
    assert [record["snapshot_sequence"] for record in found] == [1, 2, 3, 3, 3]


def test_any_order_of_datagrams():
    """What a socket's record says does not depend on where in the file its datagram stands."""
    packets = [cooked(*(established(number + part, pid=pid) for part in range(4))) for pid in (7, 8) for number in (10, 20, 30)]
    packets += [cooked(request()), cooked(done(pid=7)), cooked(done(pid=8)), cooked(message(16, bytes(20)), family=16)]
    straight = {record["inet_diag_msg_socket_cookie"] + 1000 * record["snapshot_sequence"]: without(record, "timestamp_ns")
                for record in records(pcap(*packets))}
    assert len(straight) == 24
    for seed in range(5):
        random.Random(seed).shuffle(packets)
        found = records(pcap(*packets))
        order = {}
        for record in found:
            order.setdefault(record["snapshot_sequence"], []).append(record["record_counter"])
        assert order == {1: list(range(1, 13)), 2: list(range(1, 13))}
        assert [record["record_sequence"] for record in found] == list(range(1, 25))
        shuffled = sorted(map(str, (without(record, "timestamp_ns") for record in found)))
        assert shuffled == sorted(map(str, straight.values()))


def test_every_format():
    """What each format says of a capture is what it says of the same records out of a file."""
    data = pcap(*(cooked(established(number), socket(source="::", destination="::", state=10)) for number in range(1, 50)))
    binary = run(data, "--format", "protobuf").stdout
    for form in (*TEXT, "table"):
        decoded = subprocess.run([TCPDIAG, "decode", "--format", form, "-"], input=binary, capture_output=True, check=True)
        assert run(data, "--format", form).stdout == decoded.stdout, form
    listed = run(data, "--format", "protobufList").stdout
    decoded = subprocess.run([TCPDIAG, "decode", "--format", "jsonl", "-"], input=listed, capture_output=True, check=True)
    assert decoded.stdout == run(data, "--format", "jsonl").stdout
    assert len(list(msgpack.Unpacker(io.BytesIO(run(data, "--format", "msgpack").stdout)))) == 98
    columns = run(data, "--format", "csv", "--columns", "tcp_info_rtt,inet_diag_msg_state").stdout.split()
    assert columns[:3] == [b"tcp_info_rtt,inet_diag_msg_state", b"1,ESTABLISHED", b",LISTEN"]


def test_many_records_are_batches():
    data = pcap(*(cooked(*(established(number) for number in range(1, 60))) for _ in range(60)))
    assert len(records(data)) == 60 * 59
    listed = run(data, "--format", "protobufList").stdout
    assert len(re.findall(rb"cubic", listed)) == 60 * 59


def test_decoders_are_chosen_as_for_a_collector():
    data = pcap(cooked(socket(attribute(INFO, info()), attribute(CONG, b"cubic\0"), attribute(MEMINFO, bytes(16)))))

    def fields(*words):
        (record,) = [json.loads(line) for line in run(data, "--format", "jsonl", *words).stdout.splitlines()]
        return record.keys() & {"tcp_info_rtt", "congestion_algorithm_string", "mem_info_rmem"}

    assert fields() == {"tcp_info_rtt", "congestion_algorithm_string"}
    assert fields("--decoders", "all") == {"tcp_info_rtt", "congestion_algorithm_string", "mem_info_rmem"}
    assert fields("--decoders", "cong,meminfo") == {"congestion_algorithm_string", "mem_info_rmem"}
    assert fields("--decoders", "none") == set()


def test_addresses_can_be_hidden(tmp_path):
    """In the same way as in a capture; whatever is malformed is still counted."""
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    data = pcap(cooked(socket(), socket(source="::ffff:192.0.2.1", destination="::1", state=10), message(BY_FAMILY, b"\2" + bytes(8))))
    plain = [json.loads(line) for line in run(data, "--format", "jsonl", code=DATA).stdout.splitlines()]
    hidden, again, other = ([json.loads(line) for line in run(data, "--format", "jsonl", *words, code=DATA).stdout.splitlines()]
                            for words in (("--anonymize-key", key), ("--anonymize-key", key), ("--anonymize",)))
    assert hidden == again != other and len(hidden) == 2
    assert hidden[1]["inet_diag_msg_socket_source"] == "::ffff:" + hidden[0]["inet_diag_msg_socket_source"]
    assert hidden[1]["inet_diag_msg_socket_destination"] == "::1"
    for record, shown in zip(hidden, plain):
        differ = {name for name in shown if shown[name] != record[name]}
        assert "inet_diag_msg_socket_source" in differ
        assert differ <= {"inet_diag_msg_socket_source", "inet_diag_msg_socket_destination"}


NAMESPACE = b"network namespace: inode 4026531840 cookie 17"


@pytest.mark.parametrize("name, description, said", [
    (b"blue", NAMESPACE, {"netns": "blue", "netns_inode": 4026531840, "netns_cookie": 17}),
    (b"web", NAMESPACE + b" container 0123abcd runtime cri-o",
     {"netns": "web", "netns_inode": 4026531840, "netns_cookie": 17, "container_id": "0123abcd", "container_runtime": "cri-o"}),
    # What is not by tcpdiag, or could not be, says nothing.
    (b"nlmon0", b"network namespace", {}), (b"nlmon0", None, {}), (b"blue", NAMESPACE + b" or so", {}), (b"blue", NAMESPACE + b" container XY", {}),
    (b"a\nb", NAMESPACE, {}), (b"\xff", NAMESPACE, {}), (b"x" * 300, NAMESPACE, {}), (b"blue", NAMESPACE + b"\0", {}),
    (b"blue", b"network namespace: inode -", {}),
])
def test_the_namespaces_of_a_pcapng(name, description, said):
    options = option("<", 2, name) + (option("<", 3, description) if description is not None else b"")
    data = section() + block("<", 1, struct.pack("<HHI", NETLINK, 0, 0) + options) + enhanced(cooked(established(1)))
    (record,) = records(data)
    found = {field: record[field] for field in ("netns", "netns_inode", "netns_cookie", "container_id", "container_runtime") if field in record}
    assert {field: value for field, value in found.items() if value not in ("", 0)} == said


def test_each_packet_is_of_its_namespace():
    """Also where they are mixed, as in a merged capture."""
    def named(name):
        return block("<", 1, struct.pack("<HHI", NETLINK, 0, 0) + option("<", 2, name) + option("<", 3, NAMESPACE))

    data = section() + named(b"red") + interface() + named(b"blue")
    data += b"".join(enhanced(cooked(established(number)), number=which) for number, which in ((1, 0), (2, 2), (3, 1), (4, 0), (5, 2)))
    assert [record.get("netns") for record in records(data)] == ["red", "blue", None, "red", "blue"]


# --- what gives no record ----------------------------------------------------------------

def test_everything_that_gives_no_record_is_counted():
    packets = [
        cooked(request(), message(99, bytes(4), REQUEST)),
        cooked(message(16, bytes(40)), family=ROUTE), cooked(b"anything at all", family=15), cooked(family=12),
        cooked(message(NOOP, b""), established(1)),
        cooked(socket(family=1), socket(attribute(PROTOCOL, bytes([UDP]))), socket(attribute(PROTOCOL, bytes([TCP])), cookie=2)),
        cooked(message(19, diag()), message(21, diag())),
        cooked(done(), done(error=2), message(ERROR, struct.pack("=i", -22) + bytes(16))),
        # What follows another request of the same reader answers that one.
        cooked(request(UDP, sequence=9)), cooked(socket(sequence=9)), cooked(request(sequence=9)), cooked(socket(sequence=9, cookie=3)),
    ]
    finished = run(pcap(*packets), "--format", "jsonl")
    assert [json.loads(line)["inet_diag_msg_socket_cookie"] for line in finished.stdout.splitlines()] == [1, 2, 3]
    assert told(finished) == {"records": 3, "dumps with sockets": 2, "requests": 4, "ends of dumps": 1, "errors of the kernel": 2,
                              "messages that say nothing": 1, "sockets that are not TCP": 3, "messages of other kinds": 2,
                              "packets of other netlink families": 3}
    assert "the kernel answered: No such file or directory" in finished.stderr


@pytest.mark.parametrize("bad, left", [
    (message(BY_FAMILY, b"\x02" + bytes(70)), 0),
    (message(BY_FAMILY, b""), 0),
    (message(GETSOCK, diag() + b"\1"), 0),
    (message(BY_FAMILY, diag() + struct.pack("=HH", 100, INFO) + bytes(40)), 0),
    (message(BY_FAMILY, diag() + struct.pack("=HH", 3, INFO)), 0),
    (message(DONE, b"\0"), 0),
    (struct.pack("=IHHII", 15, BY_FAMILY, 0, 0, 0), 1),
    (struct.pack("=IHHII", 4000, BY_FAMILY, 0, 0, 0), 1),
    (struct.pack("=IHHII", 0x80000010, BY_FAMILY, 0, 0, 0), 1),
    (bytes(9), 1),
])
def test_what_is_malformed_is_counted_and_named(bad, left):
    """The sockets around it are given; where nothing says how long it is, only those before it."""
    data = pcap(cooked(established(1)), cooked(established(2), bad, established(3)), cooked(established(4)))
    finished = run(data, "--format", "jsonl", code=DATA)
    found = [json.loads(line)["tcp_info_rtt"] for line in finished.stdout.splitlines()]
    assert found == ([1, 2, 4] if left else [1, 2, 3, 4])
    assert told(finished)["malformed"] == 1
    offset = data.index(bad, 24 + 2 * 16 + 16 + len(cooked(established(1))) + len(established(2)))
    assert f"standard input: offset {offset}: malformed" in finished.stderr


def test_attributes_that_are_not_decoded_are_told():
    data = pcap(cooked(socket(attribute(20, b"x"), attribute(26, b""), attribute(26, b"more"), attribute(300, b"x"), attribute(CGROUP, b"abc"))))
    finished = run(data, "--format", "jsonl")
    assert len(finished.stdout.splitlines()) == 1
    assert "attributes of unknown kinds: 20: 1, 26: 2, 31+: 1\n" in finished.stderr
    assert "attributes too short to be decoded: 1\n" in finished.stderr


def test_a_machine_of_the_other_byte_order():
    """Its messages are not made into wrong numbers; the file's own byte order is something else."""
    foreign = struct.pack(">IHHII" if struct.pack("=H", 1) == b"\1\0" else "<IHHII", 88, BY_FAMILY, 2, 1, 1) + bytes(72)
    finished = run(pcap(cooked(foreign), cooked(established(1)), order=">"), "--format", "jsonl", code=DATA)
    assert len(finished.stdout.splitlines()) == 1
    assert told(finished)["of a machine of the other byte order"] == 1


def test_a_packet_that_the_snaplen_cut():
    """Whole sockets in it are given; how much is missing is told."""
    packet = cooked(*(established(number) for number in (1, 2, 3)))
    whole = 16 + 2 * len(established(1))
    # A block that says no length of its own: the interface's.
    simple = section() + interface(snaplen=whole) + block("<", 3, struct.pack("<I", len(packet)) + packet[:whole])
    assert told(run(simple, "--format", "jsonl", code=DATA))["records"] == 2
    for snaplen, found, cut in ((whole + 100, 2, 1), (whole + 10, 2, 1), (whole, 2, 1), (16, 0, 1), (9, 0, 1), (len(packet), 3, 0)):
        finished = run(pcap(packet, cooked(established(4)), snaplen=snaplen) if cut == 0 else
                       pcap(packet, snaplen=snaplen) + pcap(cooked(established(4)))[24:], "--format", "jsonl", code=DATA if cut else 0)
        assert len(finished.stdout.splitlines()) == found + 1, snaplen
        assert told(finished).get("cut short", 0) == cut
        assert not cut or f"the capture has {snaplen} of {len(packet)} bytes of this packet" in finished.stderr


def test_an_md5_key_in_somebody_elses_capture():
    """nlmon keeps keys in clear: none comes out, whatever surrounds it."""
    key = struct.pack("=BBH4s", 2, 32, len(KEY), bytes(4)) + bytes(12) + KEY.ljust(80, b"\0")
    data = pcap(cooked(socket(attribute(MD5SIG, key * 2)), socket(attribute(MD5SIG, key), struct.pack("=HH", 200, 1) + KEY)))
    assert KEY in data
    for form in (*TEXT, "table", "protobuf", "protobufList"):
        finished = run(data, "--format", form, code=DATA)
        assert finished.stdout and KEY not in finished.stdout and KEY.decode() not in finished.stderr
    assert told(finished)["TCP-MD5 keys left out"] == 3


# --- copies ------------------------------------------------------------------------------

def copy(data, *words, code=0):
    finished = subprocess.run([TCPDIAG, "capture", "--from", "-", *words, "-"], input=data, capture_output=True, check=False, timeout=120)
    finished.stderr = finished.stderr.decode()
    assert finished.returncode == code, (finished.returncode, finished.stderr)
    return finished


def test_a_copy_of_somebody_elses_capture():
    """What is of TCP sockets stays byte for byte; a key stays nowhere; other families are left out, and it is said."""
    key = attribute(MD5SIG, struct.pack("=BBH4s", 2, 32, len(KEY), bytes([192, 0, 2, 9])) + bytes(12) + KEY.ljust(80, b"\0"))
    good = [cooked(request()), cooked(established(1), established(2)), cooked(done()), cooked(message(NOOP, b""), message(ERROR, bytes(20)))]
    bad = [cooked(socket(key)), cooked(message(BY_FAMILY, b"\1" + KEY)), cooked(message(77, KEY)), cooked(message(5, KEY)),
           cooked(socket(struct.pack("=HH", 200, 1) + KEY)), cooked(established(3), KEY), cooked(message(16, KEY), family=16)]
    for make, words in ((lambda packets: pcap(*packets), ()), (lambda packets: pcap(*packets, order=">", nano=True), ()),
                        (lambda packets: section(">") + interface(">") + b"".join(enhanced(packet, ">") for packet in packets), ("--pcapng",))):
        finished = copy(make(good + bad), *words)
        assert KEY not in finished.stdout and KEY.decode() not in finished.stderr
        for packet in good:
            assert packet[16:] in finished.stdout
        # Nor the unused bytes of a header, which nlmon leaves as they were in the kernel's memory.
        assert b"\xc3\xa5\xf0\x0d" not in finished.stdout and bytes([192, 0, 2, 9]) in finished.stdout
        assert "packets left out, since they are not of sock_diag: 1\n" in finished.stderr
        assert "sockets: 5, datagrams: 10\n" in finished.stderr and "TCP-MD5 keys overwritten: 1\n" in finished.stderr
        assert "overwritten with zeros: 5\n" in finished.stderr
        found = run(finished.stdout, "--format", "jsonl", code=DATA).stdout.splitlines()
        assert [json.loads(line).get("tcp_info_rtt") for line in found] == [1, 2, None, 3]
    assert copy(pcap(*good)).stdout == pcap(*(cooked(*(packet[16:],)) for packet in good)).replace(b"\xc3\xa5\xf0\x0d\0\0\xde\xad", bytes(8))


def test_a_copy_of_what_is_cut():
    """The lengths that were before stay, so that replay of the copy tells the same."""
    packet = cooked(*(established(number) for number in (1, 2, 3)))
    for words in ((), ("--pcapng",)):
        finished = copy(pcap(packet, snaplen=900), *words)
        assert f"the capture has 900 of {len(packet)} bytes" in run(finished.stdout, "--format", "jsonl", code=DATA).stderr
    data = pcap(packet, cooked(established(4)))
    finished = copy(data[:-5], code=DATA)
    assert len(run(finished.stdout, "--format", "jsonl", code=DATA).stdout.splitlines()) == 3
    assert re.search(r"standard input: offset \d+: the file is cut short: 5 bytes", finished.stderr)
    assert "begins as neither" in copy(b"nonsense" * 9, code=DATA).stderr


def test_a_copy_of_namespaces():
    """Each keeps its name; hidden ones are numbered, and what they are called is not in the file."""
    def named(name, container=b""):
        return block("<", 1, struct.pack("<HHI", NETLINK, 0, 0) + option("<", 2, name) + option("<", 3, NAMESPACE + container))

    data = section() + named(b"default") + interface(link=ETHERNET) + named(b"secret-blue", b" container 0123abcd runtime docker")
    data += b"".join(enhanced(cooked(established(number)), number=which) for number, which in ((1, 0), (2, 2), (3, 1), (4, 0)))
    data += section() + interface() + enhanced(cooked(established(5)))
    assert [record.get("netns") for record in records(copy(data, "--pcapng").stdout)] == ["default", "secret-blue", "default", None]
    hidden = copy(data, "--pcapng", "--anonymize").stdout
    assert [record.get("netns") for record in records(hidden)] == ["default", "ns1", "default", None]
    assert b"secret" not in hidden and b"0123abcd" not in hidden
    assert [record.get("netns") for record in records(copy(data).stdout)] == [None] * 4
    shown = subprocess.run([TCPDIAG, "replay", "--anonymize", "--format", "jsonl", "-"], input=data, capture_output=True, check=True).stdout
    assert b"secret" not in shown and b"0123abcd" not in shown and b'"ns2"' in shown


# --- files that are none, and pieces of files ---------------------------------------------

@pytest.mark.parametrize("data, offset, said", [
    (b"", 0, "not a capture: it is empty"),
    (b"\xd4\xc3\xb2", 0, "not a capture: it has 3 bytes"),
    (b"\0" * 40, 0, "not a capture: it begins as neither pcap nor pcapng does"),
    (pcap(link=ETHERNET), 20, "not a capture of netlink: its link type is 1, not 253"),
    (pcap()[:23], 0, "the file is cut short: it ends within its header"),
    (pcap() + struct.pack("<IIII", 0, 0, 0x7fffffff, 0x7fffffff), 24, "not a packet: it would have 2147483647 bytes"),
    (section()[:11], 0, "the file is cut short: it ends within the header of a section"),
    (b"\x0a\x0d\x0d\x0a" + bytes(30), 8, "not a section of a pcapng: it has no byte order"),
    (section() + interface()[:20], len(section()), "the file is cut short: it ends within an interface"),
    (section() + enhanced(cooked()), len(section()), "not a packet: there is no interface 0"),
    (section() + interface() + struct.pack("<II", 6, 13) + bytes(40), len(section() + interface()), "not a block of a pcapng"),
    (section() + interface() + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 500, 500)), len(section() + interface()),
     "not a packet: it would have 500 bytes in a block of 32"),
    (section() + block("<", 1, b"\xfd\0\0\0"), len(section()), "not an interface"),
])
def test_what_is_no_capture_is_named(data, offset, said):
    finished = run(data, "--format", "jsonl", code=DATA)
    assert finished.stdout == b"" and f"standard input: offset {offset}: {said}" in finished.stderr


@pytest.mark.parametrize("words, said", [
    (("--format", "xml", "-"), 'unknown format "xml"'), (("--columns", "", "-"), "empty name"), ((), "which FILE?"),
    (("a", "b"), "only one FILE"), (("--format", "jsonl", "--columns", "mark", "-"), "has no --columns"), (("--nonsense", "-"), "nonsense"),
])
def test_the_command_line(words, said):
    finished = subprocess.run([TCPDIAG, "replay", *words], input=b"", capture_output=True, check=False, timeout=60)
    assert finished.returncode == USAGE and finished.stdout == b"" and said in finished.stderr.decode()


def test_a_file_that_is_not_there(tmp_path):
    finished = subprocess.run([TCPDIAG, "replay", tmp_path / "none"], capture_output=True, check=False, timeout=60)
    assert finished.returncode == DATA and f"{tmp_path}/none: No such file or directory" in finished.stderr.decode()
    finished = subprocess.run([TCPDIAG, "replay", tmp_path], capture_output=True, check=False, timeout=60)
    assert finished.returncode == DATA and f"{tmp_path}: Is a directory" in finished.stderr.decode()


def test_nobody_takes_the_output():
    with open("/dev/full", "wb") as full:
        finished = subprocess.run([TCPDIAG, "replay", "--format", "jsonl", "-"], input=pcap(*[cooked(established(1))] * 9), stdout=full,
                                  stderr=subprocess.PIPE, check=False, timeout=60)
    assert finished.returncode == SINK and b"standard output: No space left" in finished.stderr


def test_a_pipe_that_lives():
    """What has come is shown before more comes."""
    with subprocess.Popen([TCPDIAG, "replay", "--format", "jsonl", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        for number in (1, 2):
            process.stdin.write(pcap(cooked(established(number)))[0 if number == 1 else 24:])
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["tcp_info_rtt"] == number
        process.stdin.close()
        assert process.stdout.read() == b"" and b"records: 2" in process.stderr.read()
    assert process.returncode == 0


SMALL = pcap(cooked(request()), cooked(established(1), established(2)), cooked(message(16, bytes(8)), family=ROUTE),
             cooked(socket(attribute(MD5SIG, bytes(100)), source="::1", destination="::1")), cooked(done()))
SMALL_NG = section() + interface() + enhanced(cooked(established(1), established(2))) + interface() + enhanced(cooked(established(3)), number=1)


@pytest.mark.parametrize("data", [SMALL, SMALL_NG], ids=["pcap", "pcapng"])
def test_every_place_where_a_file_can_be_cut(data):
    """What is whole before the cut is given, and the cut is told with its offset; a file may end behind any packet."""
    whole, ends = records(data), packet_ends(data)
    for length in range(0, len(data), 11 if ASAN else 1):
        finished = run(data[:length], "--format", "jsonl", code=0 if length in ends else DATA)
        found = [json.loads(line) for line in finished.stdout.splitlines()]
        assert found == whole[:len(found)]
        assert length in ends or re.search(r"standard input: offset \d+: (the file is cut short|not a capture)", finished.stderr)
        assert told(finished)["records"] == len(found)


def packet_ends(data):
    ends, position = set(), 24
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        position = 0
        while position < len(data):
            position += struct.unpack_from("<I", data, position + 4)[0]
            ends.add(position)
        return ends
    ends.add(position)
    while position < len(data):
        position += 16 + struct.unpack_from("<I", data, position + 8)[0]
        ends.add(position)
    return ends


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_are_changed(seed):
    """A record or a counted error, and never another end than these."""
    dice = random.Random(seed)
    start = time.monotonic()
    for _ in range(40 if ASAN else 250):
        data = bytearray(SMALL if seed % 2 else SMALL_NG)
        for _ in range(dice.choice((1, 1, 2, 8))):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7f, 0x80, 0xff, dice.randrange(256)))
        finished = subprocess.run([TCPDIAG, "replay", "--format", "jsonl", "-"], input=data, capture_output=True, check=False, timeout=60)
        text = finished.stderr.decode()
        assert finished.returncode in (0, DATA), (data.hex(), text)
        assert finished.returncode == 0 or " offset " in text
        found = [json.loads(line) for line in finished.stdout.splitlines()]
        assert told(finished)["records"] == len(found)
    assert time.monotonic() - start < 120
