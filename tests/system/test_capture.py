"""tcpdiag capture: what the kernel said, as Wireshark reads it, and nothing that it should not tell."""
import ipaddress
import os
import pty
import re
import subprocess
import time

import pytest

import captures
import harness
import witness

from harness import BIN

ZOO = ["established:count=3,bytes=300", "established:family=6", "established:family=mapped,mark=7", "listen:count=2",
       "listen:family=6", "close-wait", "time-wait:count=2", "syn-sent"]
FORMATS = ("jsonl", "csv", "tsv", "table", "protobuf", "protobufList", "protoJson", "protoText", "msgpack")
NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups", BIN / "tcpdiag", "capture")


def capture(tcpdiag, *words, code=0, **more):
    """The file that goes to standard output."""
    done = tcpdiag.run("capture", *words, "-", **more)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_it_holds_one_dump_as_ss_sees_it(tcpdiag, world):
    """A request, an answer for every socket of both families, and the dump's end; when it was, and by one reader."""
    namespace = world.named("-l", *ZOO)
    before = witness.settled(namespace.file)
    start = time.time_ns()
    data = capture(tcpdiag, "--netns", namespace.name)
    end = time.time_ns()
    request, *found = captures.read(data)
    assert (request.kind, request.flags & captures.REQUEST) == (captures.GETSOCK, captures.REQUEST)
    assert found[-1].kind == captures.DONE and found[-1].payload[:4] == bytes(4)
    assert {message.cookie for message in found[:-1]} == before.keys() and len(found) == len(before) + 1
    assert all(message.kind == captures.GETSOCK and message.flags == captures.MULTI for message in found[:-1])
    assert {message.sequence for message in [request, *found]} == {request.sequence}
    assert len({message.pid for message in found}) == 1 and found[0].pid != 0
    times = [when for when, _ in captures.packets(data)]
    assert times == sorted(times) and start - 1000 <= times[0] and times[-1] <= end


def test_tshark_reads_it(tcpdiag, world, folder):
    """Every message has the name that it should have, and nothing is called malformed."""
    namespace = world.named("-l", *ZOO, "established:count=150")
    witness.settled(namespace.file)
    done = tcpdiag.run("capture", "--netns", namespace.name, folder / "pcap")
    assert done.returncode == 0 and "sockets: " in done.stderr
    listed = captures.tshark(folder / "pcap")
    names = [re.search(r"(Netlink(?: sock diag)?) \d+ *$", line) for line in listed.splitlines()]
    assert all(names), listed
    *dump, end = [name[1] for name in names]
    assert set(dump) == {"Netlink sock diag"} and len(dump) > 3 and end == "Netlink"
    wanted = [word for name in ("netlink.family", "netlink-sock_diag.nltype", "netlink.hdr_type") for word in ("-e", name)]
    fields = captures.tshark(folder / "pcap", "-T", "fields", *wanted).splitlines()
    kinds = [tuple(",".join(set(field.split(","))) for field in line.split("\t")) for line in fields]
    assert kinds == [("0x0004", "18", "")] * (len(kinds) - 1) + [("0x0004", "", "0x0003")]
    verbose = captures.tshark(folder / "pcap", "-V")
    assert verbose.count("Message type: TCPDIAG_GETSOCK (18)") == len(captures.read((folder / "pcap").read_bytes())) - 1
    assert "alformed" not in verbose and "Exception" not in verbose


def test_every_namespace_is_in_it(tcpdiag, world):
    """Without a pattern all are read, one after the other; their conversations can be told apart."""
    ours = [world.named("-l", "established:count=2"), world.anonymous("listen:count=3"), world.named()]
    cookies = [witness.settled(namespace.file).keys() for namespace in ours[:2]]
    conversations = {}
    for message in captures.read(capture(tcpdiag)):
        if not message.flags & captures.REQUEST:
            conversations.setdefault((message.pid, message.sequence), []).append(message)
    assert all(conversation[-1].kind == captures.DONE for conversation in conversations.values())
    held = [{message.cookie for message in captures.answers(conversation)} for conversation in conversations.values()]
    assert all(wanted in held for wanted in cookies)
    assert len(held) >= 3


@pytest.mark.parametrize("how", ["file", "pattern", "proc"])
def test_namespaces_can_be_chosen(tcpdiag, world, how):
    namespace, other = world.named("-l", "listen:count=3"), world.named("-l", "listen:count=5")
    holder = namespace.holders[0]
    chosen = {"file": namespace.file, "pattern": f"?{namespace.name[1:]}", "proc": f"/proc/{holder.pid}/task/{holder.tid}/ns/net"}
    found = captures.read(capture(tcpdiag, "--netns", chosen[how]))
    assert {message.cookie for message in captures.answers(found)} == witness.read(namespace.file).keys()
    both = captures.read(capture(tcpdiag, "--netns", chosen[how], "--netns", other.name))
    assert len(captures.answers(both)) == 8


def test_states_can_be_chosen(tcpdiag, world):
    namespace = world.named("-l", *ZOO)
    before = witness.settled(namespace.file)
    found = captures.answers(captures.read(capture(tcpdiag, "--netns", namespace.name, "--state", "listening")))
    listening = {cookie for cookie, socket in before.items() if socket["endpoint"][1] == "LISTEN"}
    assert {message.cookie for message in found} == listening and 0 < len(found) < len(before)


def test_this_namespace_needs_no_right(tcpdiag, world, folder):
    """Somebody without any right captures what he may see: that is what the kernel tells everybody."""
    namespace = world.named("-l", *ZOO)
    before = witness.settled(namespace.file)
    done = tcpdiag.run(f"--net={namespace.file}", "setpriv", *NOBODY, "--this-netns", folder / "pcap", program="/usr/bin/nsenter", cwd="/")
    assert done.returncode == 0, done.stderr
    found = captures.answers(captures.read((folder / "pcap").read_bytes()))
    assert {message.cookie for message in found} == before.keys()


# What two looks at the same idle socket may differ in, and why.
CLOCKS = {
    "timestamp_ns": "when it was read",
    "inet_diag_msg_expires": "what is left of a timer",
    "tcp_info_last_data_sent": "ms since then", "tcp_info_last_ack_sent": "ms since then",
    "tcp_info_last_data_recv": "ms since then", "tcp_info_last_ack_recv": "ms since then",
}
# What a capture does not say.
IDENTITY = {"hostname": "it can be from any host", "collector_epoch": "no collector lived"}
# What a pcap has no place for, and a pcapng has.
NAMESPACE = {"netns", "netns_inode", "netns_cookie"}


def replayed(tcpdiag, file, *words):
    done = tcpdiag.run("replay", "--format", "jsonl", *words, file)
    assert done.returncode == 0, done.stderr
    return harness.parse_jsonl(done.stdout.decode())


def stripped(record):
    return {name: value for name, value in record.items() if name not in CLOCKS and name not in IDENTITY and name not in NAMESPACE}


@pytest.mark.parametrize("words, unsaid", [((), NAMESPACE), (("--pcapng",), set())], ids=["pcap", "pcapng"])
def test_replay_is_what_was_live(tcpdiag, world, folder, words, unsaid):
    """Every field of every socket, in the same order: what is decoded of a capture is what is delivered."""
    namespace = world.named("-l", *ZOO, "established:count=200,cc=reno", "established:cc=bbr,tos=16,mark=9")
    witness.settled(namespace.file)
    done = tcpdiag.run("capture", "--with-mark", "--netns", namespace.name, *words, folder / "pcap")
    assert done.returncode == 0, done.stderr
    live = tcpdiag.records("--netns", namespace.name)
    again = replayed(tcpdiag, folder / "pcap")
    assert len(live) > 400 and len(again) == len(live)
    for record, other in zip(live, again):
        assert stripped(other) == stripped(record)
        assert record.keys() - other.keys() == IDENTITY.keys() | unsaid and other.keys() <= record.keys()
        assert all(other[name] == record[name] for name in NAMESPACE - unsaid)
    assert {record["mark"] for record in again if "mark" in record} == {0, 7, 9}


@pytest.mark.parametrize("decoders, asked", [("none", set()), ("tos,cong", {4, 5}), ("info", {2}), ("bbr", {16}), ("all", {1, 2, 4, 5, 7, 16, 17}),
                                             ("default", {2, 4, 5, 7, 16, 17})])
def test_only_what_decoders_choose_is_asked_for(tcpdiag, world, decoders, asked):
    """The kernel's own answers show what it was asked: beside that they have only what it sends unasked."""
    namespace = world.named("-l", "established:count=2,cc=bbr")
    witness.settled(namespace.file)
    found = captures.answers(captures.read(capture(tcpdiag, "--netns", namespace.name, "--decoders", decoders)))
    assert len(found) > 4
    unasked = {8, 21, 22}
    assert {kind for message in found for kind, _ in message.attributes} - unasked == asked


def test_a_mark_is_told_on_demand_only(tcpdiag, world):
    namespace = world.named("-l", "established:count=2,mark=7")
    witness.settled(namespace.file)
    for words, marks in (((), set()), (("--with-mark",), {7})):
        found = captures.answers(captures.read(capture(tcpdiag, "--netns", namespace.name, *words)))
        told = [int.from_bytes(payload, "little") for message in found for kind, payload in message.attributes
                if kind == captures.MARK]
        assert {mark for mark in told if mark} == marks and (len(told) > 0) == (len(words) > 0)


def test_md5_keys_are_in_no_capture(tcpdiag, world):
    """With the capability the kernel tells keys; they never leave the process that reads."""
    key = "Geheimnis-7f3a9c"
    namespace = world.named("-l", f"listen:count=3,md5={key}", "established")
    seen = subprocess.run(["nsenter", f"--net={namespace.file}", "ss", "-tinaO"], capture_output=True, check=True).stdout
    assert key.encode() in seen, "the kernel does not tell the key here: this test would prove nothing"
    for words, presence in (((), 0), (("--with-mark",), 3), (("--with-mark", "--anonymize"), 3)):
        data = capture(tcpdiag, "--netns", namespace.name, *words)
        assert key.encode() not in data
        told = [payload for message in captures.answers(captures.read(data)) for kind, payload in message.attributes
                if kind == captures.MD5SIG]
        assert len(told) == presence
        # Whose key it is stays, 192.0.2.1's, or its stand-in's.
        assert all((bytes([192, 0, 2, 1]) in payload) == ("--anonymize" not in words) and any(payload[4:8]) for payload in told)
        for form in FORMATS:
            done = tcpdiag.run("replay", "--format", form, "-", input=data)
            assert done.returncode == 0 and done.stdout and key.encode() not in done.stdout and key not in done.stderr
    assert key.encode() not in capture(tcpdiag, "--netns", namespace.name, "--with-mark", "--pcapng")


def test_a_pcapng_knows_the_namespaces(tcpdiag, world, folder):
    """Wireshark shows them as interfaces, replay says them in every record; the kernel is named."""
    ours = [world.named("-l", "listen:count=2"), world.named("-l", "established"), world.named()]
    for namespace in ours[:2]:
        witness.settled(namespace.file)
    words = [word for namespace in ours for word in ("--netns", namespace.name)]
    done = tcpdiag.run("capture", "--pcapng", *words, folder / "pcapng")
    assert done.returncode == 0, done.stderr
    shown = captures.tshark(folder / "pcapng", "-T", "fields", "-e", "frame.interface_name", "-e", "netlink-sock_diag.nltype")
    names = [line.split("\t")[0] for line in shown.splitlines()]
    assert set(names) == {namespace.name for namespace in ours} and len(names) == 3 + 3 + 2
    inodes = {namespace.name: namespace.inode for namespace in ours}
    found = replayed(tcpdiag, folder / "pcapng")
    assert {record["netns"] for record in found} == {namespace.name for namespace in ours[:2]}
    assert all(record["netns_inode"] == inodes[record["netns"]] for record in found)
    information = subprocess.run(["capinfos", folder / "pcapng"], capture_output=True, text=True, check=True).stdout
    assert f"Linux {os.uname().release}" in information


# Sockets between addresses of every kind that a host has; their ends are told as they are made.
PAIRS = [("203.0.113.77", "198.51.100.9"), ("10.20.30.40", "10.20.30.41"), ("2001:db8:77::1", "2001:db8:77::2"),
         ("fd00:1234::1", "fd00:1234::2"), ("::ffff:203.0.113.77", "::ffff:198.51.100.9"), ("127.0.0.1", "127.0.0.1")]
PROGRAM = """
import socket, sys
kept = []
for pair in sys.argv[1:]:
    here, there = pair.split(",")
    family = socket.AF_INET6 if ":" in here else socket.AF_INET
    kept.append(socket.socket(family))
    if family == socket.AF_INET6:
        kept[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    kept[-1].bind((there, 0))
    kept[-1].listen()
    kept.append(socket.socket(family))
    kept[-1].bind((here, 0))
    kept[-1].connect(kept[-2].getsockname())
    kept.append(kept[-2].accept()[0])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def addressed(world):
    """A namespace with such sockets."""
    namespace = world.named()
    for address in sorted({address for pair in PAIRS for address in pair if not address.startswith(("127", "::ffff"))}):
        namespace.run("ip", "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    holder = subprocess.Popen(["nsenter", f"--net={namespace.file}", "python3", "-c", PROGRAM, *map(",".join, PAIRS)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert holder.stdout.readline() == b"ready\n"
    yield namespace
    holder.stdin.close()
    holder.stdout.close()
    assert holder.wait(30) == 0


def ends(records):
    return {record["inet_diag_msg_socket_cookie"]: (ipaddress.ip_address(record["inet_diag_msg_socket_source"]),
                                                    ipaddress.ip_address(record["inet_diag_msg_socket_destination"])) for record in records}


def test_addresses_have_stand_ins(tcpdiag, addressed, folder):
    """None of them is anywhere in the file; all else is as it was, and who talks to whom can still be seen."""
    key = folder / "key"
    key.write_bytes(b"0123456789abcdef")
    files = {}
    for name, words in (("plain", ()), ("once", ("--anonymize-key", key)), ("again", ("--anonymize-key", key, "--pcapng")),
                        ("other", ("--anonymize",))):
        files[name] = folder / name
        assert tcpdiag.run("capture", "--netns", addressed.file, *words, files[name]).returncode == 0
    records = {name: replayed(tcpdiag, file) for name, file in files.items()}
    plain = ends(records["plain"])
    secret = {address for pair in plain.values() for address in pair if not (address.is_loopback or address.is_unspecified)}
    assert len(secret) == 10
    for name in ("once", "again", "other"):
        data, stand_ins = files[name].read_bytes(), ends(records[name])
        known = {}
        for cookie, pair in plain.items():
            for address, stand_in in zip(pair, stand_ins[cookie]):
                assert known.setdefault(address, stand_in) == stand_in
                assert (stand_in == address) == (address not in secret)
                assert (stand_in.version, stand_in.is_loopback) == (address.version, address.is_loopback)
                assert stand_in.is_private == address.is_private or address in map(ipaddress.ip_address, ("203.0.113.77", "198.51.100.9")) \
                    or address.version == 6
        for address in secret:
            packed = getattr(address, "ipv4_mapped", None) or address
            assert packed.packed not in data and str(address).encode() not in data
        assert len(set(known.values())) == len(known)
        for address, stand_in in known.items():
            if getattr(address, "ipv4_mapped", None):
                assert stand_in.ipv4_mapped == known[address.ipv4_mapped]
        for record, hidden in zip(records["plain"], records[name]):
            differ = {field for field in record if record[field] != hidden.get(field)} - CLOCKS.keys()
            assert differ <= {"inet_diag_msg_socket_source", "inet_diag_msg_socket_destination"}
    assert ends(records["once"]) == ends(records["again"]) != ends(records["other"])
    assert {record["netns"] for record in records["again"]} == {"ns0"} and addressed.name.encode() not in files["again"].read_bytes()
    done = tcpdiag.run("replay", "--format", "jsonl", "--anonymize-key", key, files["plain"])
    assert ends(harness.parse_jsonl(done.stdout.decode())) == ends(records["once"])


def test_a_capture_can_be_copied(tcpdiag, addressed, folder):
    """What somebody else has captured is anonymized as a new one is, and its times stay."""
    key = folder / "key"
    key.write_bytes(os.urandom(32))
    for words in ((), ("--pcapng",)):
        assert tcpdiag.run("capture", "--netns", addressed.file, *words, folder / "plain").returncode == 0
        assert tcpdiag.run("capture", "--from", folder / "plain", *words, folder / "same").returncode == 0
        assert (folder / "same").read_bytes() == (folder / "plain").read_bytes()
        done = tcpdiag.run("capture", "--from", folder / "plain", "--anonymize-key", key, folder / "copy")
        assert done.returncode == 0 and "sockets: 18" in done.stderr
        plain, copy = replayed(tcpdiag, folder / "plain"), replayed(tcpdiag, folder / "copy")
        assert [record["timestamp_ns"] // 1000 for record in copy] == [record["timestamp_ns"] // 1000 for record in plain]
        again = tcpdiag.run("replay", "--format", "jsonl", "--anonymize-key", key, folder / "plain")
        assert ends(copy) == ends(harness.parse_jsonl(again.stdout.decode())) != ends(plain)
    before = (folder / "plain").read_bytes()
    done = tcpdiag.run("capture", "--from", folder / "plain", folder / "plain")
    assert done.returncode == 74 and "being read" in done.stderr and (folder / "plain").read_bytes() == before


@pytest.mark.parametrize("words, code, said", [
    ((), 64, "which FILE?"),
    (("a", "b"), 64, "only one FILE"),
    (("--netns", "/dev/null", "-"), 64, "/dev/null is no network namespace"),
    (("--netns", "/run/netns/none", "-"), 64, "/run/netns/none is no network namespace"),
    (("--netns", "nobody-has-this-name", "-"), 64, "no network namespace has such a name"),
    (("--this-netns", "--from", "x", "-"), 64, "--from reads a capture, not a namespace"),
    (("--from", "/nowhere/pcap", "-"), 65, "/nowhere/pcap: No such file"),
    (("--this-netns", "--anonymize-key", "/nowhere/key", "-"), 64, "--anonymize-key: /nowhere/key: No such file"),
    (("--this-netns", "--anonymize-key", "/dev/null", "-"), 64, "/dev/null has 0 bytes; a key has 16 at least"),
    (("--decoders", "ring", "-"), 64, "there is no decoder 'ring'"),
    (("--state", "asleep", "-"), 64, "'asleep' is no TCP state"),
    (("--this-netns", "/nowhere/pcap"), 74, "/nowhere/pcap cannot be opened for writing: No such file"),
    (("--this-netns", "/dev/full"), 74, "/dev/full: No space left"),
])
def test_what_is_wrong_is_named(tcpdiag, words, code, said):
    done = tcpdiag.run("capture", *words)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_without_rights_it_says_which(tcpdiag):
    for words, said in ((("-",), "CAP_SYS_ADMIN is missing"), (("--this-netns", "--with-mark", "-"), "cannot keep CAP_NET_ADMIN")):
        done = tcpdiag.run(*NOBODY, *words, program="/usr/bin/setpriv", cwd="/")
        assert done.returncode == 77 and said in done.stderr
        assert not captures.answers(captures.read(done.stdout) if done.stdout else [])


def test_a_terminal_is_spared(tcpdiag):
    outside, inside = pty.openpty()
    done = tcpdiag.run("capture", "--this-netns", "-", stdout=inside)
    os.close(inside)
    os.close(outside)
    assert done.returncode == 64 and "not for a terminal" in done.stderr
