"""Many sockets: complete, with the right addresses and names."""
import pytest

import witness
from harness import RecordFile, World, ends, sockets

CONNECTIONS = 10000


@pytest.fixture(scope="module")
def crowd():
    """Two namespaces of 10,000 connections, which are 20,000 sockets and a few listeners, each."""
    world = World()
    try:
        words = [f"established:count={CONNECTIONS // 2}", f"established:count={CONNECTIONS // 2},family=6"]
        made = [world.named("-l", *words) for _ in range(2)]
        for namespace in made:
            namespace.truth = witness.settled(namespace.file)
            namespace.endpoints = sorted(socket["endpoint"] for socket in namespace.truth.values())
        yield made
    finally:
        world.end()


def endpoints(records, namespace):
    return sorted(witness.record_endpoint(r) for r in records if r["netns"] == namespace.name)


@pytest.mark.timeout(180)
def test_two_namespaces_of_ten_thousand_connections(tcpdiag, crowd):
    """20,000 connections, 40,000 sockets: every one once, with its own addresses and namespace."""
    words = [word for namespace in crowd for word in ("--netns", namespace.name)]
    records = tcpdiag.records(*words, "--snapshot-ends", "yes", timeout=120)
    assert all(end["snapshot_outcome"] == "complete" for end in ends(records))
    for namespace in crowd:
        mine = [r for r in sockets(records) if r["netns"] == namespace.name]
        assert len(namespace.endpoints) > 2 * CONNECTIONS
        assert sorted(map(witness.record_endpoint, mine)) == namespace.endpoints
        assert {r["netns_inode"] for r in mine} == {namespace.inode}
        witness.compare(mine, namespace.truth, namespace.truth)
    assert len(sockets(records)) == sum(len(namespace.endpoints) for namespace in crowd)


@pytest.mark.timeout(180)
def test_snapshots_stay_whole_while_the_ring_grows(tcpdiag, crowd, folder):
    """A first ring of 64 KiB does for 20,000 sockets; then the namespace gets a larger one."""
    namespace, file = crowd[0], RecordFile(folder / "out")
    daemon = tcpdiag.stream("--netns", namespace.name, "--interval", "3s", "--ring-size", "64KiB",
                            "--format", "jsonl", "--sink", f"file:{file.path}")
    file.wait_for_snapshots(namespace.name, 4, 60)
    daemon.stop()
    records = file.records()
    lasting = {}
    for record in records:
        lasting.setdefault((record["collector_epoch"], record["snapshot_sequence"], record["snapshot_attempt"]), []).append(record)
    whole = [snapshot for snapshot in lasting.values() if ends(snapshot)]
    assert len(whole) >= 3
    for snapshot in whole:
        assert ends(snapshot)[0]["snapshot_outcome"] == "complete"
        assert endpoints(sockets(snapshot), namespace) == namespace.endpoints
    lives = list(dict.fromkeys(end["collector_epoch"] for end in ends(records)))
    assert len(lives) == 2, f"the ring has grown {len(lives) - 1} times"
