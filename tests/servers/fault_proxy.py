"""A small HTTP proxy before one server, in a thread of the test, that does to a request what the test says.

Faults are a list; the first that a request fits is done, as often as it says:
    Fault("status", status=503, body="...")   the server never sees it
    Fault("reset")                            half of the body goes on to the server, then both ends are reset
    Fault("half")                             half of the body goes on to the server, and then nothing until release(); then a reset
    Fault("hold")                             the server answers, and the client does not hear of it until release()
    Fault("slow", rate=bytes)                 a body is taken by so many bytes a second
    Fault("late", seconds=s)                  all is s seconds late
    Fault("stale", seconds=s)                 the request says that it is s seconds older
"""
import contextlib
import datetime
import re
import select
import socket
import struct
import threading
import time

END = b"\r\n\r\n"


class Fault:
    def __init__(self, kind, times=1, method=None, path="", **what):
        self.kind, self.times, self.method, self.path, self.what = kind, times, method, path, what
        self.done = 0
        self.reached = threading.Event()    # a request is where it is held, or where it ended

    def fits(self, method, path):
        return self.done < self.times and self.method in (None, method) and re.search(self.path, path) is not None


class Reset(Exception):
    """The connection is to be reset at both ends."""


class Proxy:
    def __init__(self, port):
        self.to, self.port, self.listener = port, 0, None
        self.faults, self.requests = [], []
        self.lock, self.released = threading.Lock(), threading.Event()
        self.connections = set()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    # --- for tests ---

    def up(self):
        """Listens, at the port of before if there was one."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self.listener.listen(16)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()
        return self

    def down(self):
        """Nobody listens, and who is connected is reset."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in list(self.connections):
            reset(one)

    def fault(self, *words, **more):
        one = Fault(*words, **more)
        with self.lock:
            self.faults.append(one)
        return one

    def clear(self):
        with self.lock:
            self.faults.clear()

    def release(self):
        self.released.set()

    def count(self, method="PUT", status=None):
        return sum(one[0] == method and status in (None, one[2]) for one in list(self.requests))

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        self.release()
        self.down()

    # --- connections ---

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = None
        self.connections.add(client)
        try:
            server = socket.create_connection(("127.0.0.1", self.to), 10)
            server.settimeout(120)
            while self.exchange(client, server):
                pass
        except (OSError, Reset):
            reset(client)
        finally:
            self.connections.discard(client)
            client.close()
            if server is not None:
                server.close()

    def exchange(self, client, server):
        """One request and its answer.  False: there is no more."""
        head, rest = read_head(client)
        if head is None:
            return False
        method, path = head.split(b" ")[:2]
        method, path = method.decode(), path.decode()
        fault = self.take(method, path)
        length = content_length(head)
        if fault is not None and fault.kind == "late":
            time.sleep(fault.what["seconds"])  # the fault itself: an answer that is late
        if fault is not None and fault.kind == "status":
            self.refuse(client, head, rest, length, fault)
            self.requests.append((method, path, fault.what["status"]))
            return True
        server.sendall(stale(head, fault.what["seconds"]) if fault is not None and fault.kind == "stale" else head)
        forward_body(client, server, rest, length, expects(head), fault, self.released)
        answer = read_answer(server, method)
        if fault is not None and fault.kind == "hold":
            fault.reached.set()
            self.released.wait(120)
        self.requests.append((method, path, int(answer.split(b" ")[1])))
        client.sendall(answer)
        return True

    def take(self, method, path):
        with self.lock:
            for fault in self.faults:
                if fault.fits(method, path):
                    fault.done += 1
                    return fault
        return None

    @staticmethod
    def refuse(client, head, rest, length, fault):
        """The body is taken first, as most servers do."""
        if expects(head) and not rest:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = length - len(rest)
        while left > 0:
            left -= len(some(client, left))
        body = fault.what.get("body", "").encode()
        client.sendall(f"HTTP/1.1 {fault.what['status']} As told\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


# --- bytes -------------------------------------------------------------------------

def reset(one):
    """RST instead of FIN."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RD)
    one.close()


def some(one, most=65536):
    data = one.recv(min(most, 65536))
    if not data:
        raise Reset
    return data


def read_head(one):
    """Up to the empty line, and what came behind it; (None, b"") when there is nothing more."""
    data = b""
    while END not in data:
        more = one.recv(65536)
        if not more:
            return None, b""
        data += more
    at = data.index(END) + len(END)
    return data[:at], data[at:]


def header(head, name):
    found = re.search(rb"(?im)^" + name + rb":[ \t]*(.*?)\r$", head)
    return found[1] if found else None


def content_length(head):
    return int(header(head, b"content-length") or 0)


def expects(head):
    return header(head, b"expect") is not None


def stale(head, seconds):
    """The date of the request, which is signed: what a client with a wrong clock says."""
    said = datetime.datetime.strptime(header(head, b"x-amz-date").decode(), "%Y%m%dT%H%M%SZ")
    older = (said - datetime.timedelta(seconds=seconds)).strftime("%Y%m%dT%H%M%SZ")
    return head.replace(said.strftime("%Y%m%dT%H%M%SZ").encode(), older.encode())


def forward_body(client, server, rest, length, expected, fault, released):
    kind = fault.kind if fault is not None else ""
    if expected and not rest:
        # The server's 100 lets the body come; what else it says is the answer.
        select.select([server], [], [], 2)
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    sent, most = 0, length // 2 if kind in ("reset", "half") else length
    while sent < most:
        data = rest or some(client, min(most - sent, fault.what["rate"] // 10 if kind == "slow" else 65536))
        rest = b""
        server.sendall(data[:most - sent])
        sent += len(data)
        if kind == "slow":
            time.sleep(0.1)  # the fault itself: ten portions a second
    if kind in ("reset", "half"):
        fault.reached.set()
        if kind == "half":
            released.wait(120)
        reset(server)
        raise Reset


def read_answer(server, method):
    """The whole of it, without an interim one before it."""
    head, body = read_head(server)
    while head is not None and head.split(b" ")[1] == b"100":
        head, body = (body[:body.index(END) + 4], body[body.index(END) + 4:]) if END in body else read_head(server)
    if head is None:
        raise Reset
    if (header(head, b"transfer-encoding") or b"").lower() == b"chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += some(server)
    else:
        while method != "HEAD" and len(body) < content_length(head):
            body += some(server)
    return head + body
