#!/usr/bin/env python3
"""A long run to Kafka in which everything fails in turn, and the proof that nothing was lost.

    kafka.py SECONDS        (make soak SINK=kafka TIME=seconds)

The load: thousands of connections that are replaced, and namespaces that come and go.  Until the time is over, one after the
other: the broker is killed and started again; stopped and continued; refuses what is larger than a few records, so that batches
are split; a collector, the shipper, the namespacer are killed.  What was killed is started again, as systemd would.  At last the
broker refuses every record for a moment.

Then everything is drained, and these have to be true:
  * every collector's records are in the topic, from 1 to its last one without a gap, in ascending order of their first arrival,
    but for as many as the last shipper's books say were refused;
  * all of a host is in one partition, since the key is the host;
  * the books balance to the record over all lives: what rings published was read; what was drained, less what was drained once more
    after a death, was delivered or refused; and as many records as were delivered are in the topic.
"""
import itertools
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "system"), os.environ.get("TCPDIAG_BUILD", str(ROOT / "build" / "release"))]

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # noqa: E402

import harness  # noqa: E402
from proto import xtcp_flat_record_pb2 as pb  # noqa: E402
from harness import alive, wait_for  # noqa: E402
from test_metrics import Listener  # noqa: E402
from topics import Broker, Topic, headers  # noqa: E402

CONNECTIONS = 2000          # each is two sockets
NAMESPACES = 5              # that come and go, besides
LARGE, SMALL, NOTHING = 1048588, 4000, 80   # max.message.bytes
SNAPSHOT_END = 2
STOPPED = 310               # s: longer than the default of librdkafka's message.timeout.ms
SETTLE = 60                 # s until what failed must work again
# Of a run of less than this many seconds, the broker is stopped for a tenth only.
LONG = 600


class Soak:
    def __init__(self, seconds, folder, say):
        self.seconds, self.folder, self.say = seconds, folder, say
        self.world, self.tcpdiag = harness.World(), harness.Tcpdiag(folder)
        self.broker = Broker(folder / "kafka")
        self.lives = []     # shippers, in turn
        self.done = {}      # how often what was done

    # --- what runs ---

    def ship(self):
        self.shipper = self.tcpdiag.shipper("--metrics", f"unix:{self.metrics.where}", "--batch-age", "200ms", "--spool", self.folder / "spool",
                                            *self.topic.words())
        self.lives.append(self.shipper)

    def name(self):
        self.namespacer = self.tcpdiag.namespacer("--interval", self.interval, *harness.OURS)

    def start(self):
        self.interval = "1s" if self.seconds < LONG else "3s"
        self.broker.make()
        self.broker.start()
        self.topic = Topic(self.broker, partitions=3)
        self.metrics = Listener(self.folder / "metrics.sock")
        self.load()
        self.ship()
        self.name()
        self.settle()

    def load(self):
        self.busy = self.world.named("-l", "listen", f"established:count={CONNECTIONS},replace=20")
        self.churning = [self.world.named("-l", "established:count=20") for _ in range(NAMESPACES)]

    def delivered(self):
        try:
            return self.metrics.scrape().get("records_delivered_total")
        except AssertionError:  # it does not listen yet
            return -1

    def settle(self):
        """It delivers again."""
        self.wait_for(lambda: self.delivered() >= 0, "the shipper's metrics")
        before = self.delivered()
        self.wait_for(lambda: self.delivered() > before, "records that are delivered")

    def wait_for(self, condition, what):
        wait_for(condition, SETTLE, f"{what}\n{self.shipper.log()[-3000:]}")

    def churn(self):
        """One namespace goes, another comes."""
        gone = self.churning.pop(0)
        self.world.namespaces.remove(gone)
        gone.delete()
        self.churning.append(self.world.named("-l", "established:count=20"))

    # --- what is done to it ---

    def limit(self, size):
        """Of messages in the topic."""
        resource = ConfigResource(ResourceType.TOPIC, self.topic.name, incremental_configs=[
            ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)])
        admin = AdminClient({"bootstrap.servers": self.broker.address()})
        admin.incremental_alter_configs([resource])[resource].result(30)

    def kill_the_broker(self):
        self.broker.end(signal.SIGKILL)
        self.broker.start()

    def stop_the_broker(self):
        self.broker.send(signal.SIGSTOP)
        try:
            time.sleep(STOPPED if self.seconds >= LONG else self.seconds / 10)
        finally:
            self.broker.send(signal.SIGCONT)

    def let_the_broker_refuse_batches(self):
        failures = self.refusals()
        self.limit(SMALL)
        self.wait_for(lambda: self.refusals() > failures, "batches that are refused")
        self.settle()
        self.limit(LARGE)

    def kill_a_collector(self):
        self.kill(self.namespacer.collector(self.busy.name))
        self.wait_for(lambda: self.namespacer.collector(self.busy.name), "another collector")

    def kill_the_shipper(self):
        self.kill(self.shipper.pid)
        self.shipper.popen.wait()
        self.ship()

    def kill_the_namespacer(self):
        self.kill(self.namespacer.pid)
        self.namespacer.popen.wait()
        self.namespacer.gone()
        self.name()

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), SETTLE, f"the end of {pid}")

    def refusals(self):
        return self.metrics.scrape().sum("sink_failures_total", **{"class": "too-large"})

    def snapshots(self):
        return self.metrics.scrape().sum("snapshots_total")

    def dropped(self):
        return self.metrics.scrape().get("records_dropped_total", reason="refused")

    def acts(self):
        return [self.kill_the_broker, self.let_the_broker_refuse_batches, self.kill_a_collector, self.kill_the_shipper,
                self.kill_the_namespacer, self.stop_the_broker]

    def run(self):
        acts = self.acts()
        end = time.monotonic() + self.seconds
        for number, act in enumerate(itertools.cycle(acts)):
            if number >= len(acts) and time.monotonic() > end:
                break
            self.churn()
            act()
            self.settle()
            self.metrics.scrape().assert_balanced()
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
            self.say(f"{act.__name__.replace('_', ' ')}: {self.delivered():.0f} records delivered since")

    def finish(self):
        """Every record refused for a moment; then no more load, and all is drained."""
        self.limit(NOTHING)
        self.wait_for(lambda: self.dropped() > 0, "records that are refused")
        self.limit(LARGE)
        # A record behind each that was refused, so that it leaves a gap.
        before = self.snapshots()
        self.wait_for(lambda: self.snapshots() >= before + 3 * (1 + NAMESPACES), "three snapshots of each namespace")
        self.namespacer.stop()
        self.wait_for(lambda: self.drained(self.metrics.scrape()), "the rings to be drained")
        self.last = self.metrics.scrape()
        self.shipper.stop()

    @staticmethod
    def drained(metrics):
        return not any(metrics.get(name) for name in ("records_held", "records_spooled", "rings_unread_bytes", "rings"))

    # --- the proof ---

    def verify(self):
        """What is in the topic, against what the books say."""
        messages = self.topic.messages()
        first = {}
        for message in messages:
            for record in records(message.value()):
                first.setdefault(record.collector_epoch, {}).setdefault(record.record_sequence, None)
        assert len({message.partition() for message in messages}) == 1, "one host, one key, one partition"
        assert len({headers(message)["spool_epoch"] for message in messages}) == 1, "one spool"
        missing = sum(self.verify_epoch(epoch, list(numbers)) for epoch, numbers in first.items())
        count = sum(map(len, first.values()))
        self.verify_books(count, missing)
        self.verify_by_consume(len(messages), missing)
        self.say(f"{len(messages)} messages with {count} records of {len(first)} collectors through {len(self.lives)} shippers; "
                 f"{missing} refused by the broker for good")

    def verify_by_consume(self, messages, missing):
        """The same, as a user would look."""
        done = self.tcpdiag.run("consume", "--brokers", self.broker.address(), "--topic", self.topic.name, "--quiet", timeout=600)
        assert done.returncode == 75 and f", {missing} missing in " in done.stderr and f"batches: {messages}, " in done.stderr, done.stderr
        self.say(done.stderr[done.stderr.index("batches: "):].strip().replace("\n", "; "))

    @staticmethod
    def verify_epoch(epoch, numbers):
        """Returns how many are missing."""
        assert numbers == sorted(numbers), f"epoch {epoch:016x}: the first arrivals are not in order"
        return numbers[-1] - len(numbers)

    def verify_books(self, count, missing):
        metrics = self.last
        metrics.assert_balanced()
        assert metrics.sum("records_dropped_total") == metrics.get("records_dropped_total", reason="refused") == missing > 0
        assert metrics.get("records_delivered_total") == count
        # In doubt is what a killed shipper had taken from the rings, where the next one found it again.
        assert metrics.get("records_drained_total") - metrics.get("records_in_doubt_total") == count + missing
        assert metrics.get("rings_abandoned_bytes_total") == 0 and metrics.get("namespacer_rings_lost_total") == 0
        assert metrics.get("rings_published_bytes_total") == metrics.get("rings_read_bytes_total")

    def end(self):
        self.tcpdiag.kill()
        self.world.end()
        self.broker.end(signal.SIGKILL)


def records(value):
    """Those of a message in format protobuf."""
    at = 0
    while at < len(value):
        length = shift = 0
        while True:
            byte = value[at]
            at += 1
            length |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                break
        record = pb.XtcpFlatRecord()
        record.ParseFromString(value[at:at + length])
        yield record
        at += length


def soak(seconds, folder, say=print):
    """Raises AssertionError if something was lost."""
    return whole(Soak(seconds, pathlib.Path(folder), say))


def whole(one):
    """From its start to the proof."""
    try:
        one.start()
        one.run()
        one.finish()
        one.verify()
    finally:
        one.end()
    return one


def main(words, run=soak, usage=__doc__):
    if len(words) != 1 or not words[0].isdigit():
        print(usage.strip(), file=sys.stderr)
        return 2
    harness.become_subreaper()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tcpdiag-soak-"))
    folder.chmod(0o777)
    start = time.monotonic()
    try:
        run(int(words[0]), folder, lambda text: print(f"{time.monotonic() - start:6.0f} s  {text}", flush=True))
    except AssertionError as why:
        print(f"soak: {why}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
