"""From kernel to broker: one namespace with many sockets, to a real Kafka broker with lz4 and with zstd."""
import pathlib
import shutil
import sys
import tempfile

from bench import Case, Result
from crowd import Namespaces, floor
from machine import ROOT, Failed, Group
from report import Row, cost_table, notes

# What the tests have: the topic's client is in their virtual environment, so it is asked for when the case is run.
sys.path += [str(ROOT / "tests" / "servers"), str(ROOT / "tests" / "system")]
import kafka_broker  # noqa: E402  (its folder is known only now)

SOCKETS, INTERVAL, WINDOWS = 100000, 3, 3
COMPRESSIONS = ["lz4", "zstd"]


class Broker:
    """A broker of the tests, in a control group of its own, with a topic."""

    def __init__(self, groups):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tcpdiag-bench-kafka-"))
        self.broker, self.group = kafka_broker.Broker(self.folder), Group(groups)

    def __enter__(self):
        self.group.__enter__()
        try:
            self.broker.make()
            self.broker.start()
            import topics
            self.topic = topics.Topic(self.broker)
        except (kafka_broker.Failed, ImportError) as why:
            self.__exit__()
            raise Failed(f"{why} (make bench-kafka installs all that it needs)") from None
        (self.group.path / "cgroup.procs").write_text(str(self.broker.process.pid))
        return self

    def __exit__(self, *_):
        self.broker.end()
        self.group.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def words(self, compression):
        return [*self.topic.words()[2:], "--kafka-compression", compression]


def measure(bench, broker, spaces, sockets, compression, ours, brokers):
    """The broker's CPU is that of the same windows, and those before them."""
    before = broker.group.cost()
    bench.measure(ours, sockets, [spaces.pattern], 1, INTERVAL, WINDOWS, sink="kafka", words=broker.words(compression))
    whole = broker.group.cost() - before
    brokers.add(whole / (whole.wall / INTERVAL), sockets)


def run(bench):
    with Namespaces(1) as spaces, Broker(bench.groups) as broker:
        spaces.crowd(bench.scaled(SOCKETS, 8))
        least = Row("the floor: one walk, every extension, received and thrown away")
        null = Row("tcpdiag, `protobuf` to `null`")
        ours = {name: Row(f"tcpdiag, `protobuf` to `kafka`, {name}") for name in COMPRESSIONS}
        brokers = {name: Row(f"the broker beside it, {name}") for name in COMPRESSIONS}
        for _ in bench.each_round():
            sockets, cost = floor(spaces.files)
            least.add(cost, sockets)
            bench.measure(null, sockets, [spaces.pattern], 1, INTERVAL, WINDOWS)
            for name in COMPRESSIONS:
                measure(bench, broker, spaces, sockets, name, ours[name], brokers[name])
    rows = [least, null, *ours.values()]
    return Result([f"{sockets} sockets in one namespace, every {INTERVAL} s, to a broker (Apache Kafka {kafka_broker.NEWEST}) on the same machine; "
                   "`acks = all`, every record acknowledged.  The broker's CPU is no part of ours.",
                   cost_table([*rows, *brokers.values()], least), *notes(rows)])


CASE = Case("kafka", "1 namespace x 100,000 sockets to a Kafka broker, lz4 and zstd", 1, 1.2, run, apart=True)
