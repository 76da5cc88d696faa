"""How a snapshot is taken, skip, targeted or walk: whatever the way, it is what ss says, and it says which way it was."""
import contextlib
import ctypes
import os
import signal
import socket
import struct
import threading
import time

import pytest

import witness
from harness import RecordFile, sockets, wait_for

CLONE_NEWNET = 0x40000000
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() leaves no TIME_WAIT


def inside(namespace, function):
    """What the function returns, called by a thread in that namespace: sockets stay where they were made."""
    done = []

    def run():
        libc = ctypes.CDLL(None, use_errno=True)
        file = os.open(namespace.file, os.O_RDONLY)
        try:
            assert libc.setns(file, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            done.append(function())
        finally:
            os.close(file)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return done[0]


class Server:
    """A listener on loopback and its connections."""

    def __init__(self, namespace, family=socket.AF_INET, listeners=1):
        self.namespace, self.family, self.pairs = namespace, family, []
        self.place = ("127.0.0.1" if family == socket.AF_INET else "::1", 0)
        self.listeners = []
        for _ in range(listeners):
            self.listeners.append(inside(namespace, self.listener))
            self.place = self.listeners[0].getsockname()[:2]

    def listener(self):
        made = socket.socket(self.family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(self.place)
        made.listen(64)
        made.setblocking(False)
        return made

    def accept(self):
        def any_of_them():
            for listener in self.listeners:
                with contextlib.suppress(BlockingIOError):
                    return listener.accept()[0]
            return None
        return wait_for(any_of_them)

    def client(self, port=0):
        made = socket.socket(self.family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((self.place[0], port))
        made.connect(self.place)
        return made

    def connect(self, port=0):
        client = inside(self.namespace, lambda: self.client(port))
        self.pairs.append((client, self.accept()))
        return self.pairs[-1]

    def reset(self):
        """Ends a connection at once, on both sides; its client's port."""
        client, server = self.pairs.pop(0)
        port = client.getsockname()[1]
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        server.close()
        return port

    def shut(self):
        """Ends a connection in order: the client is in TIME_WAIT."""
        client, server = self.pairs.pop(0)
        client.close()
        server.close()

    def end(self):
        for made in [*self.listeners, *sum(self.pairs, ())]:
            made.close()


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:
        def make(*arguments, **more):
            server = Server(*arguments, **more)
            stack.callback(server.end)
            return server
        yield make


class Watch:
    """tcpdiag on one namespace, and what becomes of the next snapshot after a change."""

    def __init__(self, tcpdiag, folder, namespace, *words, interval="400ms"):
        self.namespace, self.file = namespace, RecordFile(folder / f"{namespace.name}.jsonl")
        self.daemon = tcpdiag.stream("--netns", namespace.name, "--interval", interval, "--batch-age", "10ms",
                                     "--format", "jsonl", "--sink", f"file:{self.file.path}", *words)

    def next(self, since=0):
        """The end of the first whole snapshot that was begun then or later, and its last attempt's sockets."""
        def found():
            return next((end for end in self.file.ends_of(self.namespace.name) if end["timestamp_ns"] >= since), None)
        end = wait_for(found, 15, f"a snapshot of {self.namespace.name}")
        return end, self.attempt(end, end["snapshot_attempt"])

    def attempt(self, end, number):
        return [r for r in sockets(self.file.records()) if r["snapshot_attempt"] == number
                and all(r[key] == end[key] for key in ("netns", "collector_epoch", "snapshot_sequence"))]

    def after(self, change):
        """The same for what the change made: no snapshot is begun while it is under way."""
        self.file.wait_for_snapshots(self.namespace.name)
        collector = wait_for(lambda: self.daemon.collector(self.namespace.name))
        os.kill(collector, signal.SIGSTOP)
        try:
            change()
            settled = time.time_ns()
        finally:
            os.kill(collector, signal.SIGCONT)
        end, found = self.next(settled)
        assert end["snapshot_outcome"] == "complete"
        assert end["snapshot_published"] == len(found)
        truth = witness.read(self.namespace.file)
        assert set(witness.by_cookie(found)) == set(truth)
        return end, found

    def settle(self, way):
        """Until it goes one way."""
        def latest():
            found = self.file.ends_of(self.namespace.name)
            return found and found[-1]["snapshot_way"] == way
        wait_for(latest, 15, f"a snapshot of {self.namespace.name} by {way}")


def way(end):
    return end["snapshot_way"], end["snapshot_attempt"]


ALL_KINDS = ["established:count=5,bytes=4096,tos=8", "established:count=3,family=6,tclass=4", "established:count=3,family=mapped",
             "close-wait:count=2", "listen:count=3", "listen:count=2,family=6", "syn-sent:count=2", "time-wait:count=3",
             "time-wait:count=2,family=6", "established:count=60,family=6"]


@pytest.mark.parametrize("forced", ["walk", "targeted"])
def test_either_way_tells_what_ss_tells(tcpdiag, world, folder, forced):
    """Every field of every socket: all states, both families, TIME_WAIT too."""
    namespace = world.named("-l", *ALL_KINDS)
    before = witness.settled(namespace.file)
    watch = Watch(tcpdiag, folder, namespace, "--snapshot-way", forced)
    watch.settle(forced)
    end, found = watch.next(time.time_ns())
    after = witness.read(namespace.file)
    assert way(end) == (forced, 1) and end["snapshot_outcome"] == "complete"
    assert end["snapshot_published"] == len(found) == len(before)
    witness.compare(found, before, after)


def listening(family, address, only=False, device=None):
    made = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    if device:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    made.bind((address, 0))
    made.listen(3)
    return made


def test_each_kind_of_listener_is_found_by_its_id(tcpdiag, world, folder):
    """None shares its port, so that no dump of listeners is needed.  One that did not answer would be found by a second walk, and be dumped from then on."""
    namespace = world.named("-l", "established:count=3")
    kinds = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::1"),
             (socket.AF_INET6, "::", True), (socket.AF_INET6, "::ffff:127.0.0.1"), (socket.AF_INET6, "::ffff:0.0.0.0"),
             (socket.AF_INET, "0.0.0.0", False, b"lo"), (socket.AF_INET6, "::", False, b"lo")]
    listeners = inside(namespace, lambda: [listening(*kind) for kind in kinds])
    try:
        watch = Watch(tcpdiag, folder, namespace, "--snapshot-way", "targeted")
        ends = watch.file.wait_for_snapshots(namespace.name, 4)
        assert [way(end) for end in ends[:4]] == [("walk", 1)] + 3 * [("targeted", 1)]
        before = witness.settled(namespace.file)
        end, found = watch.next(time.time_ns())
        assert way(end) == ("targeted", 1) and len(found) == len(before)
        witness.compare(found, before, witness.read(namespace.file))
    finally:
        for made in listeners:
            made.close()


def test_the_cheapest_way_is_found(tcpdiag, world, folder):
    """The first snapshot has to walk; then a few sockets are read without it, and nothing at all where there is none.

    (One walk in 64 is taken to know its cost, by a phase that is the namespace's own.)
    """
    few, empty = world.named("-l", "established:count=5"), world.named()
    watch = Watch(tcpdiag, folder, few)
    ways = [way(end) for end in watch.file.wait_for_snapshots(few.name, 5)]
    assert ways[0] == ("walk", 1) and ways[1:5].count(("targeted", 1)) >= 3
    watch.daemon.stop()
    watch = Watch(tcpdiag, folder, empty)
    assert {way(end) for end in watch.file.wait_for_snapshots(empty.name, 2)} == {("skip", 1)}
    watch.daemon.stop()
    watch.file.path.unlink()
    watch = Watch(tcpdiag, folder, empty, "--snapshot-way", "walk")
    assert {way(end) for end in watch.file.wait_for_snapshots(empty.name, 2)} == {("walk", 1)}


def test_states_that_leave_some_out_are_walked(tcpdiag, world, folder):
    """Then what answers can be no proof that nothing else is there."""
    namespace = world.named("-l", "established:count=3")
    watch = Watch(tcpdiag, folder, namespace, "--state", "established", "--snapshot-way", "targeted")
    ends = watch.file.wait_for_snapshots(namespace.name, 3)
    assert {way(end) for end in ends} == {("walk", 1)}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["4", "6"])
def test_what_comes_and_goes_between_two_snapshots(tcpdiag, world, folder, serve, family):
    """The dead are left out, the new are found, and one of each, which no count tells from none, is found too."""
    namespace = world.named()
    server = serve(namespace, family)
    for _ in range(6):
        server.connect()
    watch = Watch(tcpdiag, folder, namespace, "--snapshot-way", "targeted")
    watch.settle("targeted")

    end, found = watch.after(server.reset)
    assert way(end) == ("targeted", 1) and len(found) == 1 + 2 * 5

    end, found = watch.after(server.shut)
    assert way(end) == ("targeted", 1)
    assert [r["inet_diag_msg_state"] for r in found].count("TIME_WAIT") == 1

    end, found = watch.after(server.connect)
    assert way(end) == ("walk", 1) and len(found) == 1 + 2 * 5 + 1
    watch.settle("targeted")

    def one_for_one():
        server.reset()
        server.connect()
    end, found = watch.after(one_for_one)
    # What the failed attempt had written was never seen.
    assert way(end) == ("walk", 2) and watch.attempt(end, 1) == []
    watch.settle("targeted")

    before = {witness.record_endpoint(r): r["inet_diag_msg_socket_cookie"] for r in found}

    def the_same_again():
        server.connect(server.reset())
    end, found = watch.after(the_same_again)
    assert way(end) == ("walk", 2)
    after = {witness.record_endpoint(r): r["inet_diag_msg_socket_cookie"] for r in found}
    assert after.keys() == before.keys() and sum(after[e] != before[e] for e in after) == 2
    watch.settle("targeted")

    # And the listener, replaced by another one.
    def another_listener():
        server.listeners.pop().close()
        server.listeners.append(inside(namespace, server.listener))
    end, found = watch.after(another_listener)
    assert way(end) == ("walk", 2)
    watch.settle("targeted")


def test_a_web_server(tcpdiag, world, folder, serve):
    """Several listeners on one port, TIME_WAITs, connections that come and go all the time: no snapshot is ever wrong."""
    namespace = world.named()
    server = serve(namespace, listeners=5)
    for _ in range(20):
        server.connect()
    for _ in range(8):
        server.connect()
        server.shut()
    watch = Watch(tcpdiag, folder, namespace, "--snapshot-way", "targeted", interval="300ms")
    watch.settle("targeted")
    ways = []
    for step in range(6):
        def change():
            for _ in range(step % 3):
                server.connect()
            for _ in range((step + 1) % 3):
                server.shut()
        end, found = watch.after(change)
        states = [r["inet_diag_msg_state"] for r in found]
        assert states.count("LISTEN") == 5 and states.count("TIME_WAIT") > 8
        ways.append(end["snapshot_way"])
    # When none is new: of six steps two close connections only.
    assert ways.count("targeted") == 2, ways


def test_an_attempt_that_was_larger_than_the_ring(tcpdiag, world, folder, serve):
    """What is shown of it is followed by the attempt that counts."""
    namespace = world.named("-l", "established:count=500")
    server = serve(namespace)
    for _ in range(2):
        server.connect()
    watch = Watch(tcpdiag, folder, namespace, "--snapshot-way", "targeted", "--ring-size", "64KiB", "--ring-limit", "64KiB")
    watch.settle("targeted")

    def one_for_one():
        server.reset()
        server.connect()
    end, found = watch.after(one_for_one)
    assert way(end) == ("walk", 2) and len(found) == end["snapshot_published"]
    whole = [r["record_sequence"] for r in watch.file.records() if r["netns"] == namespace.name]
    assert whole == list(range(1, len(whole) + 1))


def half_open(outside, device, inside_mac, port):
    """A SYN from an address that nobody has: whoever answers waits for ever."""
    def checksum(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        total = (total & 0xffff) + (total >> 16)
        return ~(total + (total >> 16)) & 0xffff

    source, destination = socket.inet_aton("10.77.0.99"), socket.inet_aton("10.77.0.1")
    tcp = struct.pack("!HHIIBBHHH", 4321, port, 1, 0, 5 << 4, 2, 8192, 0, 0)
    tcp_sum = checksum(source + destination + struct.pack("!HH", 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", tcp_sum) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, source, destination)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    frame = bytes.fromhex(inside_mac.replace(":", "")) + b"\x02\0\0\0\0\x63" + b"\x08\0" + ip + tcp

    def send():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((device, 0))
            raw.send(frame)
    inside(outside, send)


def test_half_open_connections_are_walked_for(tcpdiag, world, folder, serve):
    """SYN_RECV is in no count: while there is one, nothing proves that there is not another."""
    namespace, outside = world.named(), world.named()
    device = world.veth(namespace, outside)
    namespace.run("ip", "address", "add", "10.77.0.1/24", "dev", "in0")
    namespace.run("ip", "link", "set", "in0", "up")
    outside.run("ip", "link", "set", device, "up")
    server = serve(namespace)
    server.connect()
    target = inside(namespace, lambda: socket.create_server(("10.77.0.1", 0)))
    mac = namespace.run("ip", "-br", "link", "show", "in0").split()[2]
    half_open(outside, device, mac, target.getsockname()[1])
    wait_for(lambda: b"SYN-RECV" in namespace.run("ss", "-tanH").encode(), 10, "a half-open connection")
    watch = Watch(tcpdiag, folder, namespace, "--snapshot-way", "targeted")
    ends = watch.file.wait_for_snapshots(namespace.name, 3)
    assert {way(end) for end in ends} == {("walk", 1)}
    _, found = watch.next()
    assert [r["inet_diag_msg_state"] for r in found].count("SYN_RECV") == 1
    # It ends with its listener.
    target.close()
    watch.settle("targeted")
    end, found = watch.after(lambda: None)
    assert way(end) == ("targeted", 1) and len(found) == 3
