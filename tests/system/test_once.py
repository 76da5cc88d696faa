"""One snapshot of every namespace is what ss says, socket by socket."""
import os
import subprocess
import time

import pytest

import harness
import witness
from harness import ends, sockets, wait_for

# A socket of every family in every state that can be held still.
ZOO = [
    "established:count=3,bytes=300",
    "established:count=3,family=6,bytes=5000,tclass=8",
    "established:count=3,family=mapped,cc=cubic,mark=7,tos=16",
    "established:count=2,cc=reno,uid=1234",
    "established:count=2,cc=bbr,mark=0xdeadbeef,bytes=100000",
    "listen:count=2", "listen:family=6", "listen:family=mapped",
    "close-wait:count=2", "close-wait:family=6",
    "time-wait:count=3", "time-wait:count=2,family=6",
    "syn-sent:count=2", "bound",
]
STATES = {"ESTABLISHED", "LISTEN", "CLOSE_WAIT", "FIN_WAIT2", "TIME_WAIT", "SYN_SENT"}


def of(records, namespace):
    return [record for record in sockets(records) if record["netns_inode"] == namespace.inode]


def check(records, namespace, before):
    """All records of a namespace say what ss says, and who they are from."""
    mine = of(records, namespace)
    witness.compare(mine, before, witness.read(namespace.file))
    assert {record["netns"] for record in mine} <= {namespace.name}
    return mine


def test_zoo_field_by_field(tcpdiag, world):
    """A person who compares with ss finds every socket and no wrong number."""
    namespace = world.named("-l", *ZOO)
    before = witness.settled(namespace.file)
    assert {socket["endpoint"][1] for socket in before.values()} == STATES
    records = tcpdiag.records("--netns", namespace.name)
    mine = check(records, namespace, before)
    assert len(mine) == len(sockets(records))
    assert sorted(map(witness.record_endpoint, mine)) == witness.listed(namespace.file)
    assert {record["record_kind"] for record in records} == {"socket"}


@pytest.mark.parametrize("held", ["named", "folder", "bind-mount-only", "anonymous", "thread"])
def test_however_it_is_held(tcpdiag, world, folder, held):
    """A namespace is found by whatever holds it, and named by how a person knows it."""
    words = []
    if held == "named":
        namespace = world.named("-l", *ZOO)
    elif held == "folder":
        words = ["--netns-folder", folder / "netns"]
        (folder / "netns").mkdir()
        namespace = world.named("-l", *ZOO, folder=folder / "netns")
    elif held == "bind-mount-only":
        namespace = world.named("-b", "-l", *ZOO)
        assert not any(os.stat(f"/proc/{pid}/ns/net").st_ino == namespace.inode
                       for pid in harness.of_session(namespace.holders[0].pid))
    else:
        namespace = getattr(world, held)(*ZOO)
    before = witness.settled(namespace.file)
    records = tcpdiag.records("--netns", namespace.name, *words) if "[" not in namespace.name else \
        tcpdiag.records("--netns", f"netns:?{namespace.inode}?", *words)
    assert len(check(records, namespace, before)) == len(before)


def test_every_namespace_of_the_host(tcpdiag, world):
    """Without a pattern every namespace is read, the host's own too, and nothing is invented."""
    ours = [world.named("-l", "established:count=2"), world.anonymous("established:family=6"),
            world.thread("listen:count=3"), world.named("-b", "-l", "close-wait")]
    for namespace in ours:
        witness.settled(namespace.file)
    before = witness.read_all()
    records = sockets(tcpdiag.records())
    after = witness.read_all()
    assert {namespace.inode for namespace in ours} <= before.keys() & after.keys()
    for namespace in ours:
        check(records, namespace, before[namespace.inode])
    for inode in before.keys() & after.keys():
        cookies = {record["inet_diag_msg_socket_cookie"] for record in records if record["netns_inode"] == inode}
        assert before[inode].keys() & after[inode].keys() <= cookies, f"sockets of netns:[{inode}] are missing"
    assert {record["netns_inode"] for record in records} <= before.keys() | witness.namespaces().keys()
    assert len({record["netns"] for record in records}) == len({record["netns_inode"] for record in records})


def test_the_hosts_own_is_default(tcpdiag, world):
    """The host's namespace is called default, and its own listener is in it."""
    here = world.keep(harness.Namespace("/proc/self/ns/net", "default"))
    here.hold("established:count=2", "listen:family=6")
    before = witness.read(here.file)
    records = tcpdiag.records("--netns", "default")
    mine = {record["inet_diag_msg_socket_cookie"] for record in of(records, here)}
    assert {record["netns"] for record in records} == {"default"}
    assert before.keys() & witness.read(here.file).keys() <= mine


def test_unset_is_not_zero(tcpdiag, world):
    """A zero that the kernel sent is printed; what it did not send is left out."""
    namespace = world.named("-l", "established", "time-wait", "listen:family=6")
    witness.settled(namespace.file)
    by_state = {}
    for record in tcpdiag.records("--netns", namespace.name):
        if record["inet_diag_msg_state"] != "LISTEN" or record["inet_diag_msg_family"] == 10:
            by_state[record["inet_diag_msg_state"]] = record
    assert by_state["ESTABLISHED"]["tcp_info_retransmits"] == 0
    assert by_state["ESTABLISHED"]["tcp_info_bytes_sent"] == 0
    assert by_state["ESTABLISHED"]["mark"] == 0
    assert "traffic_class" not in by_state["ESTABLISHED"]
    assert by_state["LISTEN"]["traffic_class"] == 0
    assert by_state["LISTEN"]["ipv6_only"] == 1
    assert not [name for name in by_state["TIME_WAIT"] if name.startswith(("tcp_info_s", "sk_mem_info"))]
    assert not [name for name in by_state["ESTABLISHED"] if name.startswith(("vegas_", "dctcp_", "uplink"))]


def test_identity_of_a_record(tcpdiag, world):
    """Each record says whose it is: host, namespace, collector, and its place among the others."""
    namespace = world.named("-l", "established:count=5")
    witness.settled(namespace.file)
    start = time.time_ns()
    records = tcpdiag.records("--netns", namespace.name, "--snapshot-ends", "yes", "--hostname", "a.host",
                              "--location", "here", "--label", "l", "--tag", "t")
    end = time.time_ns()
    for record in records:
        assert record["hostname"] == "a.host" and record["location"] == "here"
        assert record["label"] == "l" and record["tag"] == "t"
        assert record["netns"] == namespace.name and record["netns_inode"] == namespace.inode
        assert start <= record["timestamp_ns"] <= end
        assert record["schema_version"] == 1
    cookie = namespace.run("python3", "-c", "import socket as s; print(int.from_bytes(s.socket().getsockopt(1, 71, 8), 'little'))")
    assert {record["netns_cookie"] for record in records} == {int(cookie)}
    assert len({record["collector_epoch"] for record in records}) == 1
    sequence = [record["record_sequence"] for record in records]
    assert sequence == list(range(sequence[0], sequence[0] + len(records)))


def test_snapshot_end_counts_its_records(tcpdiag, world):
    """An empty namespace is not a dead collector, and a lost tail would be seen."""
    full, empty = world.named("-l", "established:count=50", "time-wait:count=4"), world.named()
    witness.settled(full.file)
    records = tcpdiag.records("--netns", full.name, "--netns", empty.name, "--snapshot-ends", "yes")
    by_name = {record["netns"]: record for record in ends(records)}
    assert by_name.keys() == {full.name, empty.name} and len(ends(records)) == 2
    assert [record["netns"] for record in records if record["netns"] == full.name][-1:] == [full.name]
    assert [r for r in records if r["netns"] == full.name][-1]["record_kind"] == "snapshot_end"
    for namespace, count, waiting in ((full, 105, 4), (empty, 0, 0)):
        end = by_name[namespace.name]
        assert end["snapshot_outcome"] == "complete"
        assert end["snapshot_published"] == len(of(records, namespace)) == count
        assert end["snapshot_dropped"] == 0
        assert end["snapshot_inuse_before"] == end["snapshot_inuse_after"] == count - waiting
        assert end["snapshot_tw_before"] == end["snapshot_tw_after"] == waiting


def test_protobuf_decodes_to_the_same(tcpdiag, world):
    """What the binary formats carry is what jsonl prints, for our reader and for others'."""
    namespace = world.named("-l", *ZOO)
    witness.settled(namespace.file)
    before = witness.settled(namespace.file)
    for form in ("protobuf", "protobufList"):
        data = tcpdiag.once("--format", form, "--netns", namespace.name, "--snapshot-ends", "no")
        mine = sockets(harness.parse_jsonl(tcpdiag.decode(data).decode()))
        check(mine, namespace, before)
        assert len(mine) == len(before)
        rows = read_protobuf(data, form)
        assert len(rows) == len(mine)
        for record, row in zip(mine, rows):
            same_as_protobuf(record, row)


def read_protobuf(data, form):
    """By Google's implementation, which shares nothing with ours."""
    from proto import xtcp_flat_record_pb2 as schema
    rows, position = [], 0
    while position < len(data):
        length, shift = 0, 0
        while True:
            byte = data[position]
            position, length, shift = position + 1, length | (byte & 0x7f) << shift, shift + 7
            if byte < 0x80:
                break
        piece, position = data[position:position + length], position + length
        assert len(piece) == length
        if form == "protobufList":
            rows.extend(schema.Envelope.FromString(piece).row)
        else:
            rows.append(schema.XtcpFlatRecord.FromString(piece))
    return rows


def same_as_protobuf(record, row):
    for field, value in row.ListFields():
        shown = record[field.name]
        if field.type == field.TYPE_ENUM or field.name in ("inet_diag_msg_state", "tcp_info_state"):
            assert isinstance(shown, (str, int))
        elif field.type == field.TYPE_BYTES:
            assert len(value) == 16 or field.name == "tcp_info_tail"
        else:
            assert shown == value, field.name
    present = {field.name for field, _ in row.ListFields()}
    assert all(not record[name] or name in present for name in record if not isinstance(record[name], str))


def test_md5_keys_are_in_no_output(tcpdiag, world, folder):
    """With NET_ADMIN the kernel tells TCP-MD5 keys; nobody downstream may learn them."""
    key = "Geheimnis-7f3a9c"
    namespace = world.named("-l", f"listen:count=3,md5={key}", "established")
    seen = subprocess.run(["nsenter", f"--net={namespace.file}", "ss", "-tinaO"], capture_output=True).stdout
    assert key.encode() in seen, "the kernel does not tell the key here: this test would prove nothing"
    for form in ("jsonl", "csv", "tsv", "table", "protobuf", "protobufList", "protoJson", "protoText", "msgpack"):
        output = tcpdiag.once("--format", form, "--netns", namespace.name)
        assert output and key.encode() not in output, form
    daemon = tcpdiag.stream("--netns", namespace.name, "--interval", "100ms", "--format", "protobuf",
                            "--sink", f"file:{folder}/out")
    file = folder / "out"
    wait_for(lambda: file.exists() and file.stat().st_size > 20000, 15, "some snapshots")
    for role in ("collector", "shipper"):
        for pid in daemon.find(role):
            # Its ring is among what is searched.
            assert harness.memory_files(pid) > 0
            held = any(key.encode() in mapping for mapping in memory(pid))
            assert not held, f"the {role} still has the key in its memory"
    daemon.stop()
    assert key.encode() not in file.read_bytes()
    assert key not in daemon.log()


def memory(pid):
    """All that a process has in memory of its own, mapping by mapping; a sanitizer's shadow, terabytes of it, is none of that."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in open(f"/proc/{pid}/maps"):
            words = line.split()
            start, end = (int(word, 16) for word in words[0].split("-"))
            if words[1].startswith("r") and not words[-1].startswith(("[v", "/usr", "/lib")) and end - start < 2**30:
                mem.seek(start)
                yield mem.read(end - start)
