"""fake_shipper SOCKET UID ATTACK: a shipper that was taken over.

It listens as the shipper's user, takes the rings of a real namespacer's
collectors as a shipper would, and does what ATTACK says.  The ring of a
namespace whose name begins with "honest" it only reads, and says "honest" on
stdout each time that it has read something; "attacked" when it has begun.  It
goes on till it is killed.
"""
import array
import ctypes
import fcntl
import itertools
import mmap
import os
import random
import select
import socket
import struct
import sys

HEADER = struct.Struct("=II")
HELLO, RING, ENDED, FINISH, COUNTS, DRAINED, HOSTILE = range(1, 8)
GREETING = struct.Struct("=8sII")
IDENTITY = struct.Struct("=QQQQII256s128s32s")
PAGE = mmap.PAGESIZE
# Words of the pages: see common/ring.h.
POSITION, FLAG = 0, 64


class Ring:
    def __init__(self, payload, fds):
        self.epoch, _, _, self.size, _, _, name, _, _ = IDENTITY.unpack(payload)
        self.name = name.split(b"\0")[0].decode()
        self.data = mmap.mmap(fds[0], PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
        self.control = mmap.mmap(fds[1], PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.read = 0
        self.fds, self.bell = fds, socket.socket(fileno=fds[2])
        self.bell.setblocking(False)

    def published(self):
        return struct.unpack_from("=Q", self.data, POSITION)[0]

    def set(self, position):
        struct.pack_into("=Q", self.control, POSITION, position % 2**64)

    def drain(self):
        """What an honest one does, without looking at what it reads.  True if there was something."""
        published = self.published()
        news, self.read = published != self.read, published
        self.set(published)
        self.ring()
        return news

    def ring(self, data=b"x"):
        try:
            self.bell.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass


class Shipper:
    def __init__(self, link):
        self.link, self.rings = link, {}

    def send(self, kind, payload=b"", fds=(), length=None):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        head = HEADER.pack(kind, len(payload) if length is None else length)
        try:
            self.link.sendmsg([head + payload], control, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            pass

    def receive(self, timeout):
        """One message, if one comes; rings are kept.  False when the link is over."""
        if not select.select([self.link], [], [], timeout)[0]:
            return True
        try:
            data, control, _, _ = self.link.recvmsg(4096, socket.CMSG_SPACE(64))
        except ConnectionError:
            return False
        if not data:
            return False
        if HEADER.unpack_from(data)[0] == RING:
            fds = array.array("i")
            fds.frombytes(control[0][2])
            ring = Ring(data[HEADER.size:], fds)
            self.rings[ring.name] = ring
        return True

    def honest(self):
        """Says when its collector has published something."""
        for ring in self.rings.values():
            if ring.name.startswith("honest") and ring.drain():
                print("honest", flush=True)

    def victims(self):
        return [ring for ring in self.rings.values() if not ring.name.startswith("honest")]


# --- attacks: generators, a step each time -----------------------------------

def each_ring(step):
    """Does something to every ring but the honest ones, again and again."""
    def attack(shipper):
        for i in itertools.count():
            for ring in shipper.victims():
                step(ring, i)
            yield
    return attack


def jump(ring, i):
    ring.set(ring.published() + ring.size + 1 + i)
    ring.ring()


def back(ring, i):
    ring.set(ring.published() if i < 200 else 0)
    ring.ring()


def scribble(ring, _):
    ring.control[:] = random.randbytes(PAGE)
    ring.ring(random.randbytes(random.randrange(1, 100)))


def sleeper(ring, i):
    """Says that it sleeps and never does; rings without end."""
    struct.pack_into("=I", ring.control, FLAG, i % 2)
    ring.drain()
    ring.ring(bytes(4096))


def hang_up(ring, _):
    try:
        ring.bell.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    ring.drain()


def pass_descriptors(ring, _):
    ring.drain()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2] * 20))]
    try:
        ring.bell.sendmsg([b"x"], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        pass


def take_away(ring, _):
    """What the seals are for."""
    ring.drain()
    for fd in ring.fds[:2]:
        for what in (lambda fd: os.ftruncate(fd, 0), lambda fd: os.pwrite(fd, b"x", 0) if fd == ring.fds[0] else os.ftruncate(fd, 2 * PAGE)):
            try:
                what(fd)
            except OSError:
                continue
            print("broke out", flush=True)


LIBC = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE, MADV_REMOVE = 3, 9


def hole(fd, size):
    if LIBC.fallocate(fd, PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(size)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def open_anew(ring, _):
    """The data was given to read: it cannot be opened otherwise, and if it could there would be the seals."""
    ring.drain()
    try:
        fd = os.open(f"/proc/self/fd/{ring.fds[0]}", os.O_RDWR)
        print("broke out", flush=True)
    except PermissionError:
        fd = os.dup(ring.fds[0])
    for what in (lambda: os.pwrite(fd, b"x", 0), lambda: mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
                 lambda: hole(fd, PAGE), lambda: os.ftruncate(fd, 0), lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)):
        try:
            what()
        except OSError:
            continue
        print("broke out", flush=True)
    os.close(fd)


def punch(ring, _):
    """Its own page, which it may write, is taken out of the memory, and the data's as far as it goes."""
    ring.drain()
    hole(ring.fds[1], PAGE)
    try:
        ring.data.madvise(MADV_REMOVE)
        print("broke out", flush=True)
    except OSError:
        pass


def deaf(shipper):
    """Takes the rings and reads nothing after them."""
    while True:
        yield False


def says(*messages):
    """Messages on the link, after the rings have come."""
    def attack(shipper):
        while True:
            for kind, payload, more in messages:
                epochs = [ring.epoch for ring in shipper.victims()] if payload is None else [0]
                for epoch in epochs:
                    shipper.send(kind, struct.pack("=Q", epoch) if payload is None else payload, **more)
            yield
    return attack


def random_messages(shipper):
    while True:
        for _ in range(20):
            shipper.send(random.choice([*range(50), random.getrandbits(32)]), random.randbytes(random.randrange(600)),
                         length=random.choice([None, 8, 16, random.getrandbits(32)]))
        yield


def leave(shipper):
    """Goes as soon as it has what it wants."""
    yield
    shipper.link.close()
    yield


ATTACKS = {
    "jump": each_ring(jump),
    "back": each_ring(back),
    "scribble": each_ring(scribble),
    "sleeper": each_ring(sleeper),
    "hang-up": each_ring(hang_up),
    "descriptors": each_ring(pass_descriptors),
    "take-away": each_ring(take_away),
    "open-anew": each_ring(open_anew),
    "punch": each_ring(punch),
    "deaf": deaf,
    "leave": leave,
    "garbage": random_messages,
    "greet-again": says((HELLO, GREETING.pack(b"tcpdiag", 2, 0), {})),
    "unknown": says((99, b"", {})),
    "long": says((DRAINED, bytes(60000), {})),
    "lies-of-length": says((DRAINED, bytes(8), {"length": 2**32 - 1})),
    "drained": says((DRAINED, None, {})),
    "hostile": says((HOSTILE, None, {})),
    "hostile-nobody": says(*[(HOSTILE, struct.pack("=Q", n), {}) for n in range(64)]),
    "rights": says((DRAINED, None, {"fds": [0, 1, 2] * 20})),
}


def serve(listener, attack):
    """One connection, till the namespacer ends it."""
    link, _ = listener.accept()
    shipper = Shipper(link)
    shipper.send(HELLO, GREETING.pack(b"tcpdiag", 2, 0))
    # The rings of one honest and one other namespace, and it begins.
    while not (shipper.victims() and len(shipper.victims()) < len(shipper.rings)):
        if not shipper.receive(None):
            return link.close()
        shipper.honest()
    print("attacked", flush=True)
    for reads in ATTACKS[attack](shipper):
        shipper.honest()
        if link.fileno() == -1 or (reads is not False and not shipper.receive(0.005)):
            break
        if reads is False:
            select.select([], [], [], 0.05)
    link.close()


def main():
    path, uid, attack = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.listen(8)
        while True:
            try:
                serve(listener, attack)
            except (ConnectionError, BrokenPipeError):
                continue


if __name__ == "__main__":
    main()
