#!/usr/bin/env python3
"""A long run to S3 in which everything fails in turn, and the proof that nothing was lost.

    s3.py SECONDS        (make soak SINK=s3 TIME=seconds)

The load is that of kafka.py.  Until the time is over, one after the other: the server is killed and started again; stopped and
continued; a proxy before it answers with errors, resets a body, is slow, and withholds an answer; a collector, the shipper, the
namespacer are killed, the shipper also while an object is being sent.  What was killed is started again, as systemd would.
First with versitygw, and for a third of the time with MinIO.

Then everything is drained, and these have to be true:
  * every collector's records are in the bucket, from 1 to its last one without a gap, and each in one object, but for those that a
    shipper had put into its spool and not yet taken from their ring when it was killed;
  * the books balance to the record over all lives: what rings published was read; what was drained, less what was drained once more
    after a death, was delivered; and as many records as were delivered are in the bucket.
"""
import collections
import pathlib
import signal
import sys
import time

import kafka

import harness
from buckets import Bucket, Proxy, Server, no_gaps
from harness import wait_for
from test_metrics import Listener

STOPPED = 70                # s, in a run that is long enough
SHORT = 10                  # s until an answer is not waited for any more
FAULTS = (("status", {"status": 500, "body": "<Error><Code>InternalError</Code></Error>"}),
          ("status", {"status": 503, "body": "<Error><Code>SlowDown</Code></Error>"}),
          ("late", {"seconds": 1}), ("slow", {"rate": 100000}), ("reset", {}))


class Soak(kafka.Soak):
    def __init__(self, seconds, folder, say, name):
        super().__init__(seconds, folder, say)
        self.server = Server(folder / name, name)

    # --- what runs ---

    def ship(self):
        self.shipper = self.tcpdiag.shipper("--metrics", f"unix:{self.metrics.where}", "--batch-age", "200ms", "--object-age", "1s",
                                            "--object-size", "1MiB", "--s3-multipart", "5MiB", "--s3-timeout", f"{SHORT}s",
                                            "--spool", self.folder / "spool", *self.bucket.words(self.proxy.endpoint))
        self.lives.append(self.shipper)

    def start(self):
        self.interval = "1s" if self.seconds < kafka.LONG else "3s"
        self.server.start()
        self.proxy = Proxy(self.server.port).up()
        self.bucket = Bucket(self.server, self.folder)
        self.metrics = Listener(self.folder / "metrics.sock")
        self.load()
        self.ship()
        self.name()
        self.settle()

    def acts(self):
        return [self.kill_the_server, self.let_the_server_fail, self.kill_a_collector, self.kill_the_shipper,
                self.kill_the_shipper_while_it_sends, self.kill_the_namespacer, self.stop_the_server]

    # --- what is done to it ---

    def kill_the_server(self):
        self.server.end(signal.SIGKILL)
        self.server.start()

    def stop_the_server(self):
        self.server.send(signal.SIGSTOP)
        try:
            time.sleep(STOPPED if self.seconds >= 2 * STOPPED else self.seconds / 10)
        finally:
            self.server.send(signal.SIGCONT)

    def let_the_server_fail(self):
        for kind, words in FAULTS:
            fault = self.proxy.fault(kind, **words)
            self.wait_for(lambda fault=fault: fault.done, f"a request that meets {kind}")

    def kill_the_shipper_while_it_sends(self):
        """In the middle of a body, and when the server has answered and nobody has heard of it."""
        for kind in ("half", "hold"):
            fault = self.proxy.fault(kind)
            self.wait_for(fault.reached.is_set, f"an upload: {kind}")
            self.kill_the_shipper()
            self.proxy.release()
            self.settle()
            self.proxy.released.clear()

    def finish(self):
        self.namespacer.stop()
        self.wait_for(lambda: self.drained(self.metrics.scrape()), "the rings to be drained")
        self.last = self.metrics.scrape()
        self.shipper.stop()

    # --- the proof ---

    def verify(self):
        """What is in the bucket, against what the books say."""
        numbers, keys = self.bucket.numbers(), self.bucket.keys()
        epochs = no_gaps(numbers)
        repeated = self.repeated(numbers)
        assert len(keys) == len(set(keys)) and len({key.rsplit("-", 2)[1] for key in keys}) == 1, "one spool, one epoch"
        self.verify_books(sum(numbers.values()))
        self.say(f"{self.server.name}: {len(keys)} objects with {len(numbers)} records ({repeated} of them in two) of {len(epochs)} collectors through "
                 f"{len(self.lives)} shippers; {self.proxy.count(status=412)} were there already when they were sent again")

    def repeated(self, numbers):
        """A shipper that is killed when its spool has records that their rings do not know to be taken: the next one takes
        them once more, in other batches.  These are in a row, at most one of them for each ring and each death."""
        found = sorted(number for number, times in numbers.items() if times > 1)
        rows = collections.Counter(epoch for (epoch, number), before in zip(found, [None, *found]) if before != (epoch, number - 1))
        assert not rows or max(rows.values()) < len(self.lives), "records are in two objects, and more rows of them than shippers were killed"
        assert max(numbers.values()) <= len(self.lives)
        return len(found)

    def verify_books(self, count, missing=0):
        metrics = self.last
        metrics.assert_balanced()
        assert metrics.sum("records_dropped_total") == missing
        assert metrics.get("records_delivered_total") == count
        # In doubt is what a killed shipper had taken from the rings, where the next one found it again.
        assert metrics.get("records_drained_total") - metrics.get("records_in_doubt_total") == count
        assert metrics.get("rings_abandoned_bytes_total") == 0 and metrics.get("namespacer_rings_lost_total") == 0
        assert metrics.get("rings_published_bytes_total") == metrics.get("rings_read_bytes_total")

    def end(self):
        self.tcpdiag.kill()
        self.world.end()
        self.proxy.__exit__()
        self.server.end(signal.SIGKILL)


def soak(seconds, folder, say=print, names=("versitygw", "minio")):
    """Raises AssertionError if something was lost.  The last one."""
    shares = {"versitygw": 2, "minio": 1}
    for name in names:
        place = pathlib.Path(folder) / f"with-{name}"
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        one = Soak(seconds * shares[name] / sum(shares[other] for other in names), place, say, name)
        kafka.whole(one)
    return one


if __name__ == "__main__":
    sys.exit(kafka.main(sys.argv[1:], soak, __doc__))
