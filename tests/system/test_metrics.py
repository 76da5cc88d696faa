"""What the shipper shows of itself over HTTP: true, by Prometheus' rules, and no way to hold records up."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import harness
from harness import BIN, PATIENCE, ROOT, RecordFile, ends, sockets, wait_for

sys.path.append(str(ROOT / "tests" / "servers"))
import promtool  # noqa: E402

SAMPLE = re.compile(r'^tcpdiag_([a-z0-9_]+)(?:\{(.*)\})? (\S+)$')
SUMS = re.search(r"\.Ss Sums\n.*?\.Bd [^\n]*\n(.*?)\n\.Ed", (ROOT / "man" / "tcpdiag-metrics.7").read_text(), re.DOTALL)[1].split("\n\n")
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')
assert len(SUMS) == 3


class Metrics:
    """One scrape: name and labels to a number."""

    def __init__(self, text):
        self.text, self.values, self.kinds = text, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split()[2:]
                self.kinds[name.removeprefix("tcpdiag_")] = kind
            elif not line.startswith("#"):
                name, labels, value = SAMPLE.match(line).groups()
                key = name, frozenset(LABEL.findall(labels or ""))
                assert key not in self.values, f"{key} stands there twice"
                self.values[key] = float(value)

    def get(self, name, **labels):
        return self.values[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        """Over all of a family that have these labels."""
        return sum(value for (of, has), value in self.values.items() if of == name and has >= set(labels.items()))

    def counters(self):
        return {key: value for key, value in self.values.items() if self.kinds[key[0]] == "counter"}

    def term(self, words):
        """What "tcpdiag_a + sum(tcpdiag_b)" comes to."""
        total = 0
        for term in words.split("+"):
            summed, name = re.fullmatch(r"(sum\()?tcpdiag_(\w+)\)?", term.strip()).groups()
            total += self.sum(name) if summed else self.get(name)
        return total

    def assert_balanced(self):
        """The sums are those of the man page."""
        for sum_ in SUMS:
            left, right = sum_.split("=")
            assert self.term(left) == self.term(right), f"{sum_}: {self.term(left)}, {self.term(right)}"


class Listener:
    """Where a shipper shows its metrics: a unix socket's path, or an address."""

    def __init__(self, where):
        self.where = str(where)

    def curl(self, path, *words):
        to = ["--unix-socket", self.where, f"http://localhost{path}"] if self.where.startswith("/") else [f"http://{self.where}{path}"]
        return subprocess.run(["curl", "-sS", "-g", "--noproxy", "*", "--max-time", str(60 * PATIENCE), *words, *to], capture_output=True,
                              text=True, check=False)

    def get(self, path, *words):
        """Status and body."""
        done = self.curl(path, "-w", "\n%{http_code}", *words)
        assert done.returncode == 0, done.stderr
        body, status = done.stdout.rsplit("\n", 1)
        return int(status), body

    def scrape(self):
        status, body = self.get("/metrics")
        assert status == 200
        return Metrics(body)

    def wait_for(self, condition, timeout=15, what="the metrics"):
        """The first scrape for which the condition holds."""
        def right():
            metrics = self.scrape()
            return metrics if condition(metrics) else None
        return wait_for(right, timeout, what)

    def connect(self, timeout=20 * PATIENCE):
        family, address = socket.AF_UNIX, self.where
        if not self.where.startswith("/"):
            host, port = self.where.rsplit(":", 1)
            family, address = (socket.AF_INET6 if "[" in host else socket.AF_INET), (host.strip("[]"), int(port))
        client = socket.socket(family)
        client.settimeout(timeout)
        try:
            client.connect(address)
        except OSError:
            client.close()
            raise
        return client


def free_port(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@pytest.fixture
def file(folder):
    return RecordFile(folder / "out.jsonl")


@pytest.fixture
def beside(tcpdiag):
    """Where the metrics are when nothing is said."""
    return Listener(tcpdiag.socket.with_name("shipper.metrics.sock"))


@pytest.fixture
def ship(tcpdiag, file):
    """The shipper alone, into the file."""
    def start(*words):
        daemon = tcpdiag.shipper("--format", "jsonl", "--sink", f"file:{file.path}", "--batch-age", "50ms", *words)
        wait_for(lambda: harness.listens(tcpdiag.socket), 10, "the shipper's socket")
        return daemon
    return start


@pytest.fixture
def name(tcpdiag):
    """A namespacer for it; stopped, it leaves the shipper at rest."""
    def start(*words, interval="200ms"):
        return tcpdiag.namespacer("--interval", interval, *words)
    return start


def check_by_promtool(text):
    done = subprocess.run([promtool.fetch(), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- they are true ----------------------------------------------------------------

@pytest.mark.parametrize("how", ["beside", "127.0.0.1", "[::1]", "unix"])
def test_numbers_are_those_of_the_output(tcpdiag, world, folder, file, beside, ship, name, how):
    """At rest each number is what the file holds, and the sums balance; whichever way it is asked for."""
    namespace = world.named("-l", "established:count=20", "listen:count=3")
    listener = beside
    if how == "unix":
        listener = Listener(folder / "elsewhere")
    elif how != "beside":
        listener = Listener(f"{how}:{free_port(how.strip('[]'))}")
    where = {"beside": [], "unix": ["--metrics", f"unix:{listener.where}"]}.get(how, ["--metrics", listener.where])
    shipper = ship(*where)
    namespacer = name("--netns", namespace.name)
    first = listener.wait_for(lambda metrics: metrics.get("records_delivered_total") > 0)
    file.wait_for_snapshots(namespace.name, 3)
    second = listener.scrape()
    assert second.get("records_drained_total") > first.get("records_drained_total")
    assert second.get("rings") == 1 and second.get("namespacer_connected") == 1
    running = listener.wait_for(lambda metrics: metrics.get("namespacer_snapshots_total") >= 3)
    assert running.sum("namespacer_collectors") == 1 and running.get("namespacer_namespaces") >= 1
    file.wait_for_snapshots(namespace.name, 2)  # which nobody has asked about
    namespacer.stop()
    rest = listener.wait_for(lambda metrics: metrics.get("rings") == 0 and metrics.get("records_held") == 0)
    records = file.records()
    # What it counted up to its end has come, and stays.
    assert 0 <= len(ends(records)) - rest.get("namespacer_snapshots_total") <= 1
    assert rest.get("namespacer_collectors_started_total") == 1 and rest.get("namespacer_collectors_crashed_total") == 0
    assert rest.get("namespacer_scans_total") > 0 and rest.get("namespacer_cpu_seconds_total") > 0
    assert rest.sum("namespacer_collectors") == 0
    assert rest.get("records_drained_total") == rest.get("records_delivered_total") == len(records)
    assert rest.get("delivered_bytes_total") == file.path.stat().st_size
    assert rest.get("snapshots_total", outcome="complete") == rest.sum("snapshots_total") == len(ends(records))
    assert rest.get("snapshots_by_way_total", way="walk") == sum(end["snapshot_way"] == "walk" for end in ends(records))
    assert abs(rest.get("snapshots_duration_seconds_total") - sum(end["snapshot_duration_ns"] for end in ends(records)) / 1e9) < 1e-6
    # The collector has ended; its word has not gone with it.
    assert rest.get("collector_sockets_encoded_total") == rest.get("collector_sockets_read_total") == len(sockets(records))
    assert rest.get("collector_snapshots_total") == len(ends(records))
    assert rest.get("rings_published_bytes_total") == rest.get("rings_read_bytes_total") > 0
    assert rest.get("namespacer_connected") == 0 and rest.get("oldest_snapshot_timestamp_seconds") == 0
    rest.assert_balanced()
    version = re.search(r"tcpdiag-shipper: ([0-9.]+) ", shipper.log())[1]
    assert f'version="{version}"' in rest.text
    assert 'tcpdiag_delivery_info{format="jsonl",sink="file"} 1\n' in rest.text
    assert 0 < rest.get("shipper_cpu_seconds_total") < 60 and rest.get("shipper_resident_memory_bytes") > 1 << 20
    assert abs(rest.get("shipper_start_time_seconds") - time.time()) < 600
    shipper.stop()
    assert not os.path.exists(tcpdiag.socket.with_name("shipper.metrics.sock")) and not (folder / "elsewhere").exists()


def test_counters_never_run_backwards(world, file, beside, ship, name):
    """Rings come and go, collectors are killed: no counter ever falls, and in the end nothing is missing."""
    resident = world.named("-l", "established:count=10")
    shipper = ship("--metrics-per-namespace", "yes")
    namespacer = name(*harness.OURS)
    file.wait_for_snapshots(resident.name)
    last = beside.scrape()
    for _ in range(4):
        visitor = world.named("-l", "listen:count=4")
        file.wait_for_snapshots(visitor.name)
        os.kill(namespacer.collector(resident.name), signal.SIGKILL)
        file.wait_for_snapshots(resident.name)
        visitor.delete()
        for _ in range(5):
            metrics = beside.scrape()
            fallen = {key: (before, metrics.values.get(key)) for key, before in last.counters().items()
                      if metrics.values.get(key, -1) < before}
            assert not fallen
            assert 0 <= time.time() - metrics.get("oldest_snapshot_timestamp_seconds") < 15 * PATIENCE
            last = metrics
            time.sleep(0.05)
    namespacer.stop()
    rest = beside.wait_for(lambda metrics: metrics.get("rings") == 0 and metrics.get("records_held") == 0)
    rest.assert_balanced()
    records = file.records()
    assert rest.get("records_delivered_total") == len(records)
    assert rest.get("collector_sockets_encoded_total") >= len(sockets(records))
    assert rest.get("rings_received_total") == len({record["collector_epoch"] for record in records})
    assert rest.get("namespacer_collectors_crashed_total") == 4
    mine = [record for record in records if record["netns"] == resident.name]
    assert rest.get("netns_records_drained_total", netns=resident.name) == len(mine)
    shipper.stop()


def test_namespaces_by_their_names(tcpdiag, world, folder, file, beside, ship, name):
    """Asked for, each has its own numbers; its name may be anything, and is nobody's label otherwise."""
    odd = 'q"uote\\back é'
    (folder / "netns").mkdir()
    one, two = world.named("-l", "listen:count=2"), world.named("-l", "listen:count=5", folder=folder / "netns", name=odd)
    shipper = ship("--metrics-per-namespace", "yes")
    namespacer = name("--netns-folder", folder / "netns", "--netns", one.name, "--netns", "q*")
    file.wait_for_snapshots(one.name)
    file.wait_for_snapshots(odd)
    namespacer.stop()
    metrics = beside.wait_for(lambda metrics: metrics.get("rings") == 0 and metrics.get("records_held") == 0)
    check_by_promtool(metrics.text)
    records = file.records()
    for namespace, label in ((one, one.name), (two, 'q\\"uote\\\\back é')):
        mine = [record for record in records if record["netns_inode"] == namespace.inode]
        assert metrics.get("netns_records_drained_total", netns=label) == len(mine) > 0
        assert metrics.get("netns_collector_sockets_encoded_total", netns=label) == len(sockets(mine))
        assert metrics.get("netns_snapshots_total", netns=label, outcome="complete") == len(ends(mine))
        assert metrics.get("netns_rings", netns=label) == 0
        assert abs(metrics.get("netns_snapshot_timestamp_seconds", netns=label) - time.time()) < 60 * PATIENCE
    assert metrics.sum("netns_records_drained_total") == metrics.get("records_drained_total") == len(records)
    shipper.stop()
    shipper = ship()
    metrics = beside.scrape()
    assert "netns=" not in metrics.text
    check_by_promtool(metrics.text)
    shipper.stop()


@pytest.mark.parametrize("how", ["word", "lie"])
def test_a_collectors_word(tcpdiag, beside, ship, how):
    """What it counts is shown by kind, also when it has gone; what cannot be is not."""
    shipper = ship()
    done = tcpdiag.run(tcpdiag.socket, how, program="tests/fake_namespacer")
    assert done.returncode == 0, done.stderr
    metrics = beside.scrape()
    if how == "lie":
        assert metrics.get("collectors_disbelieved_total") == 1
        assert metrics.get("collector_sockets_read_total") == 0
        assert metrics.sum("collector_attributes_unknown_total") == 0
        assert "namespace hostile: its collector's counters cannot be true" in shipper.log()
    else:
        assert metrics.get("collectors_disbelieved_total") == 0
        assert metrics.get("collector_attributes_unknown_total", kind="23") == 7
        assert metrics.get("collector_attributes_unknown_total", kind="31+") == 2
        assert metrics.sum("collector_attributes_unknown_total") == 9
        assert metrics.get("collector_sockets_read_total") == 12
        assert metrics.get("collector_sockets_dropped_total", reason="deadline") == 2
    assert metrics.get("records_delivered_total") == metrics.get("records_drained_total") == 151
    metrics.assert_balanced()
    shipper.stop()


def test_a_hostile_ring_is_counted(tcpdiag, beside, ship):
    """What was in it is dropped or abandoned, and the sums hold."""
    shipper = ship()
    done = tcpdiag.run(tcpdiag.socket, "garbage", program="tests/fake_namespacer")
    assert done.returncode == 0, done.stderr
    metrics = beside.scrape()
    assert metrics.get("rings_hostile_total") == 1
    assert metrics.get("records_dropped_total", reason="hostile") == 1
    metrics.assert_balanced()
    shipper.stop()


def test_what_is_lost_with_a_dead_collector(tcpdiag, world, beside, ship, name):
    """The namespacer has no network: the next shipper shows what was lost while none was there."""
    namespace = world.named("-l", "established:count=200")
    shipper = ship()
    namespacer = name("--netns", namespace.name, "--orphan-rings", "0", interval="100ms")
    beside.wait_for(lambda metrics: metrics.get("namespacer_snapshots_total") > 0)
    shipper.send(signal.SIGSTOP)
    harness.wait_until_ring_is_full(namespacer.collector(namespace.name))
    shipper.kill()
    wait_for(lambda: "lost the shipper" in namespacer.log(), 10)
    os.kill(namespacer.collector(namespace.name), signal.SIGKILL)
    wait_for(lambda: "is lost: more than orphan-rings" in namespacer.log(), 10)
    shipper = ship()
    metrics = beside.wait_for(lambda metrics: metrics.get("namespacer_rings_lost_total") == 1)
    assert 30000 < metrics.get("namespacer_rings_lost_bytes_total") <= 65536
    assert metrics.get("namespacer_collectors_crashed_total") == 1
    namespacer.stop()
    shipper.stop()


# --- is it well? ---------------------------------------------------------------------

@pytest.fixture
def disk(folder):
    mount = folder / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


def resize(disk, size):
    """False if more is on it already; 0 would be no limit."""
    return size != 0 and subprocess.run(["mount", "-o", f"remount,size={size}", disk], capture_output=True, check=False).returncode == 0


def test_ready_and_healthy(tcpdiag, world, disk, beside, name):
    """Ready while a namespacer is there and the sink takes records; healthy all the time."""
    namespace = world.named("-l", "established:count=50")
    shipper = tcpdiag.shipper("--format", "jsonl", "--sink", f"file:{disk}/out", "--batch-age", "50ms")
    wait_for(lambda: harness.listens(beside.where), 10, "the metrics' socket")

    def assert_ready(expected, answer):
        wait_for(lambda: beside.get("/readyz") == (expected, answer), 30, answer)
        beside.wait_for(lambda metrics: metrics.get("ready") == (expected == 200))
        assert beside.get("/healthz") == (200, "ok\n")

    assert_ready(503, "not ready: no namespacer is connected\n")
    namespacer = name("--netns", namespace.name)
    assert_ready(200, "ready\n")
    wait_for(lambda: resize(disk, (disk / "out").stat().st_size), 15, "a full disk")
    assert_ready(503, "not ready: the sink refuses records at the moment\n")
    metrics = beside.scrape()
    assert metrics.get("sink_refusing") == 1 and metrics.get("delivery_retries_total") > 0
    assert metrics.get("sink_failures_total", **{"class": "no-space"}) > 0
    assert metrics.get("records_held") > 0
    assert resize(disk, "64m")
    assert_ready(200, "ready\n")
    namespacer.stop()
    assert_ready(503, "not ready: no namespacer is connected\n")
    shipper.stop()


# --- HTTP ------------------------------------------------------------------------------

def test_pages_and_methods(beside, ship):
    shipper = ship()
    done = beside.curl("/metrics", "-i")
    assert "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n".replace("\r", "") in done.stdout.replace("\r", "")
    done = beside.curl("/metrics", "-I")
    assert done.stdout.startswith("HTTP/1.1 200 OK") and "tcpdiag_" not in done.stdout
    assert int(re.search(r"Content-Length: (\d+)", done.stdout)[1]) > 5000
    assert beside.get("/")[0] == beside.get("/metrics/")[0] == beside.get("/metricsx")[0] == 404
    assert beside.get("/metrics", "-X", "DELETE")[0] == beside.get("/healthz", "-d", "x")[0] == 405
    assert beside.get("/metrics?x=y", "-H", "Accept: application/openmetrics-text")[0] == 200
    shipper.stop()


class Attack:
    """Clients who mean harm, each in a thread of its own, until the end of the with statement."""

    def __init__(self, listener, *clients):
        self.listener, self.clients, self.over, self.threads = listener, clients, threading.Event(), []
        self.answered = self.stalled = 0

    def __enter__(self):
        self.threads = [threading.Thread(target=self.again, args=(client,)) for client in self.clients]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def again(self, client):
        while not self.over.is_set():
            with contextlib.suppress(OSError):
                client(self)

    def stall(self):
        """Many connections that say nothing."""
        with contextlib.ExitStack() as stack:
            for _ in range(150):
                with contextlib.suppress(OSError):
                    stack.enter_context(self.listener.connect(0.2))
                    self.stalled += 1
            self.over.wait()

    def trickle(self):
        """A byte now and then."""
        with self.listener.connect(1) as client:
            for byte in b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 1000:
                client.send(bytes([byte]))
                if self.over.wait(0.1):
                    return

    def flood(self):
        """As many requests as go."""
        with self.listener.connect(1) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            while client.recv(65536):
                self.answered += 1

    def never_read(self):
        """Rubbish without end, and no ear for an answer."""
        with self.listener.connect(1) as client:
            while not self.over.is_set():
                client.send(b"GET /metrics HTTP/1.1\r\nX: " + os.urandom(8000))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_hostile_clients_hold_nothing_up(world, file, ship, name):
    """Whatever is done to the listener, records flow as before, and afterwards it answers."""
    namespace = world.named("-l", "established:count=30")
    listener = Listener(f"127.0.0.1:{free_port('127.0.0.1')}")
    shipper = ship("--metrics", listener.where)
    namespacer = name("--netns", namespace.name, interval="100ms")
    file.wait_for_snapshots(namespace.name, 3)
    pid = shipper.find("shipper")[0]
    # Ten snapshots take a second when nobody disturbs; the attackers share the machine with them.
    with Attack(listener, *[Attack.flood] * 3, *[Attack.never_read] * 3) as attack:
        start, cpu = time.monotonic(), cpu_seconds(pid)
        file.wait_for_snapshots(namespace.name, 15, 9)
        wait_for(lambda: attack.answered > 0, 30, "an answer for somebody")
        used = (cpu_seconds(pid) - cpu) / (time.monotonic() - start)
    assert used < 0.5, f"{used:.0%} of a CPU"
    with Attack(listener, Attack.stall, *[Attack.trickle] * 4) as attack:
        wait_for(lambda: attack.stalled >= 64, 30, "connections")
        file.wait_for_snapshots(namespace.name, 10, 6)
        assert len(os.listdir(f"/proc/{pid}/fd")) < 80, "32 clients, and what it has anyway"
    # Those who are still there have had their time, and then it is as it was.
    metrics = listener.wait_for(lambda metrics: metrics.get("records_held") >= 0, 30)
    assert metrics.get("http_held_back_total") > 0
    assert metrics.get("rings_hostile_total") == 0
    namespacer.stop()
    shipper.stop()
    records = [record for record in file.records() if record["netns"] == namespace.name]
    numbers = [record["record_sequence"] for record in records]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {end["snapshot_outcome"] for end in ends(records)} == {"complete"}


# --- who gets it, and where ---------------------------------------------------------------

def test_others_cannot_read_the_unix_socket(beside, ship):
    shipper = ship()
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sS", "--unix-socket", beside.where,
                           "http://localhost/metrics"], capture_output=True, text=True, check=False)
    assert done.returncode == 7 and done.stdout == ""
    shipper.stop()


def test_listens_where_it_is_told_and_nowhere_else(tcpdiag, world, folder, beside, ship):
    """Off is off; a run of one snapshot shows nothing; what other hosts can reach is warned of."""
    shipper = ship("--metrics", "off")
    assert not os.path.exists(beside.where)
    shipper.stop()
    namespace = world.named("-l", "listen")
    assert tcpdiag.once("--netns", namespace.name, "--sink", "null") == b""
    assert not os.path.exists(beside.where)
    for address, warned in (("127.0.0.1", 0), ("0.0.0.0", 1), ("[::]", 1)):
        port = free_port(address.strip("[]"))
        shipper = ship("--metrics", f"{address}:{port}")
        assert Listener(f"{'[::1]' if '[' in address else '127.0.0.1'}:{port}").get("/healthz") == (200, "ok\n")
        shipper.stop()
        assert shipper.log().count("other hosts can read them there") == warned


def test_a_socket_that_is_in_the_way(tcpdiag, folder, beside, ship):
    """A dead shipper's socket is replaced, a living one's and other files are not."""
    shipper = ship()
    done = tcpdiag.run("--socket", folder / "other.sock", "--metrics", f"unix:{beside.where}", program="tcpdiag-shipper")
    assert done.returncode == 71 and f"another shipper listens on {beside.where}" in done.stderr
    shipper.send(signal.SIGKILL)
    shipper.popen.wait()
    assert os.path.exists(beside.where)
    shipper = ship()
    assert beside.get("/healthz") == (200, "ok\n")
    shipper.stop()
    (folder / "file").write_text("mine")
    done = tcpdiag.run("--metrics", f"unix:{folder}/file", "--socket", tcpdiag.socket, program="tcpdiag-shipper")
    assert done.returncode == 71 and "is there already, and no socket" in done.stderr
    assert (folder / "file").read_text() == "mine"


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_run_leaves_nothing_behind(tcpdiag, world, how):
    """tcpdiag run shows them beside its own socket, and cleans up, also behind a shipper that cannot."""
    namespace = world.named("-l", "listen")
    daemon = tcpdiag.start("run", "--netns", namespace.name, "--interval", "200ms", "--sink", "null")
    folder = pathlib.Path(f"/run/tcpdiag-{daemon.pid}")
    listener = Listener(folder / "shipper.metrics.sock")
    wait_for(lambda: harness.listens(listener.where), 15, "the metrics' socket")
    listener.wait_for(lambda metrics: metrics.get("records_delivered_total") > 0 and metrics.get("ready") == 1)
    if how == "stopped":
        daemon.stop()
    else:
        os.kill(daemon.find("shipper")[0], signal.SIGKILL)
        assert daemon.wait() != 0
        daemon.gone()
    assert not folder.exists()
