#!/usr/bin/env python3
"""Kafka stops for as long as one likes while many sockets are read, and the proof of what became of every record.

    kafka_outage.py SCENE LOAD OUTAGE INTERVAL
                    (make soak SINK=kafka SCENE=outage LOAD=1000x100 OUTAGE=600 INTERVAL=10)

SCENE is `outage`: the spool has room for everything; or `full-spool`: it has room for a third of it.
LOAD is how many namespaces with how many sockets each.  OUTAGE is how many seconds the broker is stopped, INTERVAL how many there
are from one snapshot to the next.

These have to be true at the end:
  * no collector gave up at its deadline, neither a socket nor a snapshot;
  * when the broker is back, the spool becomes empty while new records come;
  * what is missing in the topic, as an independent consumer sees it from the records' numbers and `tcpdiag consume` does, is to the
    record what the metrics say was dropped and what the log names: nothing in an outage, something with a full spool;
  * the first arrivals of every collector's records ascend;
  * the books balance: what was drained was delivered or dropped, and as many records as were delivered are in the topic.
"""
import bisect
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

import kafka  # finds tests/system
import harness
from harness import Holder, wait_for
from test_metrics import Listener
from topics import Broker, Topic, headers

RECORD = 420                # bytes, about
MIB = 1024 * 1024
DEADLINE = 2                # snapshot_outcome
REPORT = 30                 # s between two lines while it lasts
LOOK = 0.2                  # s between two looks at what takes minutes
SETTLE = 120                # s until the first snapshots have come
SHORT = 60                  # s of an outage after which librdkafka's ten seconds between two connections are not worth waiting for
DROPPED = re.compile(r"batch(?:es)? [0-9a-f]{16}/\d+ (?:to \d+ are dropped, (?P<batches>\d+) batches of|is dropped,) (?P<records>\d+) records: "
                     "there was no room")


class Arrivals:
    """Of one collector's records: numbers from 1 on, of which some never come."""

    def __init__(self):
        self.highest, self.starts, self.ends, self.missing, self.repeats = 0, [], [], 0, 0

    def add(self, number):
        if number == self.highest + 1:
            self.highest = number
        elif number > self.highest:
            self.starts.append(self.highest + 1)
            self.ends.append(number - 1)
            self.missing += number - 1 - self.highest
            self.highest = number
        else:
            at = bisect.bisect_right(self.starts, number) - 1
            assert at < 0 or number > self.ends[at], f"record {number} came after {self.highest}"
            self.repeats += 1

    def count(self):
        return self.highest - self.missing


class Outage:
    def __init__(self, full, load, seconds, interval, folder, say):
        self.full, self.seconds, self.interval, self.folder, self.say = full, seconds, interval, folder, say
        self.namespaces, self.sockets = (int(word) for word in load.split("x"))
        self.world, self.tcpdiag, self.broker = harness.World(), harness.Tcpdiag(folder), Broker(folder / "kafka")
        self.peak = 0       # of the shipper's memory

    # --- what runs ---

    def spool_size(self):
        snapshots = self.seconds / self.interval
        size = self.namespaces * (self.sockets + 2) * RECORD * snapshots
        return int(max(size / 3, MIB) if self.full else 64 * MIB + 3 * size)

    def batch_bytes(self):
        return min(768 * 1024, self.spool_size() // 8)

    def load(self):
        """All sockets are of one holder: a process has room for those of many namespaces."""
        made = [self.world.named() for _ in range(self.namespaces)]
        joins = [word for namespace in made for word in ("-j", namespace.file)]
        made[0].holders.append(Holder(*joins, "-l", f"established:count={self.sockets // 2}"))

    def start(self):
        self.broker.make()
        self.broker.start()
        self.topic = Topic(self.broker)
        self.load()
        self.metrics = Listener(self.folder / "metrics.sock")
        more = ["--kafka.rdkafka.reconnect.backoff.max.ms=1000"] if self.seconds < SHORT else []
        self.shipper = self.tcpdiag.shipper("--metrics", f"unix:{self.metrics.where}", "--spool", self.folder / "spool", "--spool-size",
                                            self.spool_size(), "--batch-bytes", self.batch_bytes(), *more, *self.topic.words())
        self.namespacer = self.tcpdiag.namespacer("--interval", f"{self.interval}s", *harness.OURS)
        wait_for(lambda: "listening on" in self.shipper.log(), 10, "the shipper")
        # After two, each ring has the size that it needs.
        self.wait_for_snapshots(3, SETTLE)
        self.say(f"{self.namespaces} namespaces of {self.sockets} sockets, every {self.interval} s; a spool of {self.spool_size() >> 20} MiB")

    def scrape(self):
        metrics = self.metrics.scrape()
        self.peak = max(self.peak, metrics.get("shipper_resident_memory_bytes"))
        assert metrics.get("collector_sockets_dropped_total", reason="deadline") == 0, "a collector gave up at its deadline"
        return metrics

    def wait_for(self, condition, seconds, what):
        """The first scrape for which it holds; says how things are meanwhile."""
        start = last = time.monotonic()
        while True:
            metrics = self.scrape()
            if condition(metrics):
                return metrics
            now = time.monotonic()
            assert now - start < seconds * harness.PATIENCE, f"not within {seconds * harness.PATIENCE} s: {what}\n{self.shipper.log()[-3000:]}"
            if now - last > REPORT:
                last = now
                self.report(metrics)
            time.sleep(LOOK)

    def wait_for_snapshots(self, each, seconds):
        """So many more of each namespace."""
        before = self.scrape().sum("snapshots_total")
        self.wait_for(lambda metrics: metrics.sum("snapshots_total") >= before + each * self.namespaces, each * self.interval + seconds,
                      f"{each} snapshots of each namespace")

    def report(self, metrics):
        self.say(f"{metrics.get('records_delivered_total'):.0f} delivered, {metrics.get('records_spooled'):.0f} in the spool, "
                 f"{metrics.sum('records_dropped_total'):.0f} dropped")

    # --- what is done to it ---

    def stop_the_broker(self):
        before, start = self.scrape(), time.monotonic()
        self.broker.end(signal.SIGTERM)
        self.wait_for(lambda _: time.monotonic() - start > self.seconds, self.seconds + 60, "the end of the outage")
        if self.full:
            # The machine may be slow; it is the spool that says when it is full.
            self.wait_for(lambda metrics: metrics.sum("records_dropped_total") > 0, self.seconds + 120, "a full spool")
        after = self.scrape()
        after.assert_balanced()
        assert after.get("ready") == 0, "ready, with nobody to deliver to"
        taken = after.sum("snapshots_total") - before.sum("snapshots_total")
        self.say(f"the broker was away for {time.monotonic() - start:.0f} s and {taken / self.namespaces:.1f} snapshots of each namespace; "
                 f"{after.get('namespacer_snapshots_late_total') - before.get('namespacer_snapshots_late_total'):.0f} came late")
        self.report(after)
        assert after.get("records_spooled") > self.sockets and taken >= self.namespaces
        self.broker.start()

    def drain(self):
        start = time.monotonic()
        self.wait_for(lambda metrics: metrics.get("spool_batches") == 0 and metrics.get("sink_refusing") == 0, 2 * self.seconds + 300,
                      "an empty spool")
        self.say(f"the spool was empty {time.monotonic() - start:.0f} s after the broker had come back")

    def finish(self):
        # A record behind each gap shows it.
        self.wait_for_snapshots(3, SETTLE)
        self.namespacer.stop()
        self.last = self.wait_for(kafka.Soak.drained, SETTLE, "the rings to be drained")
        self.shipper.stop()

    # --- the proof ---

    def verify(self):
        epochs, batches, at_deadline, messages = {}, Arrivals(), 0, 0
        for message in self.topic.each():
            messages += 1
            batches.add(int(headers(message)["batch_sequence"]))
            for record in kafka.records(message.value()):
                epochs.setdefault(record.collector_epoch, Arrivals()).add(record.record_sequence)
                at_deadline += record.snapshot_outcome == DEADLINE
        missing = sum(one.missing for one in epochs.values())
        assert at_deadline == 0, f"{at_deadline} snapshots came to their deadline"
        self.verify_books(sum(one.count() for one in epochs.values()), missing)
        self.verify_log(batches.missing, missing)
        self.verify_by_consume(messages, missing)
        self.missing = missing
        self.say(f"{messages} messages; {missing} records are missing, in {batches.missing} batches; {sum(one.repeats for one in epochs.values())} "
                 f"repeated; the shipper had {int(self.peak) >> 20} MiB at most")

    def verify_books(self, count, missing):
        self.last.assert_balanced()
        assert self.last.sum("records_dropped_total") == self.last.get("records_dropped_total", reason="full") == missing, self.last.text
        assert (missing > 0) == self.full, f"{missing} records are missing"
        assert self.last.get("records_delivered_total") == count
        assert self.last.get("records_drained_total") == count + missing
        assert self.last.sum("snapshots_total", outcome="deadline") == 0 and self.last.get("rings_abandoned_bytes_total") == 0
        assert self.last.get("namespacer_rings_lost_total") == 0

    def verify_log(self, batches, missing):
        """What it names is what is missing."""
        said = [found.groupdict("1") for found in DROPPED.finditer(self.shipper.log())]
        assert sum(int(one["records"]) for one in said) == missing and sum(int(one["batches"]) for one in said) == batches, said

    def verify_by_consume(self, messages, missing):
        """The same, as a user would look."""
        done = self.tcpdiag.run("consume", "--brokers", self.broker.address(), "--topic", self.topic.name, "--quiet", timeout=1800)
        assert done.returncode == (75 if missing else 0), done.stderr
        assert f", {missing} missing in " in done.stderr and f"batches: {messages}, " in done.stderr, done.stderr
        self.say(done.stderr[done.stderr.index("batches: "):].strip().replace("\n", "; "))

    def end(self):
        self.tcpdiag.kill()
        self.world.end()
        self.broker.end(signal.SIGKILL)


def outage(scene, load, seconds, interval, folder, say=print):
    """Raises AssertionError if something is not as it has to be."""
    one = Outage(scene == "full-spool", load, seconds, interval, pathlib.Path(folder), say)
    try:
        one.start()
        one.stop_the_broker()
        one.drain()
        one.finish()
        one.verify()
    finally:
        one.end()
    return one


def main(words):
    right = len(words) == 4 and words[0] in ("outage", "full-spool") and re.fullmatch(r"[1-9]\d*x[1-9]\d*", words[1])
    if not right or not all(re.fullmatch(r"[1-9]\d*", word) for word in words[2:]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    harness.become_subreaper()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tcpdiag-soak-"))
    folder.chmod(0o777)
    start = time.monotonic()
    try:
        outage(words[0], words[1], int(words[2]), int(words[3]), folder,
               lambda text: print(f"{time.monotonic() - start:6.0f} s  {text}", flush=True))
    except AssertionError as why:
        print(f"soak: {why}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
