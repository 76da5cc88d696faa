"""What is read: namespaces by pattern, sockets by state."""
import pytest

import harness
import witness
from harness import ends, sockets


def names(records):
    return {record["netns"] for record in records}


def test_patterns_choose_namespaces(tcpdiag, world):
    """--netns takes glob patterns, several of them, and reads nothing else."""
    stem = harness.unique("p")
    made = [world.named("-l", "listen", name=f"{stem}.{end}") for end in ("east", "west", "north")]
    assert names(tcpdiag.records("--netns", f"{stem}.*")) == {n.name for n in made}
    assert names(tcpdiag.records("--netns", f"{stem}.?est")) == {f"{stem}.west"}
    assert names(tcpdiag.records("--netns", f"{stem}.[en]*")) == {f"{stem}.east", f"{stem}.north"}
    assert names(tcpdiag.records("--netns", made[0].name, "--netns", made[2].name)) == {made[0].name, made[2].name}
    assert names(tcpdiag.records("--netns", f"{made[0].name},{made[1].name}")) == {made[0].name, made[1].name}
    assert tcpdiag.records("--netns", f"{stem}-nobody") == []


@pytest.mark.parametrize("states", [["listening"], ["established"], ["time-wait"], ["syn-sent", "close-wait"], ["connected"]])
def test_states_choose_sockets(tcpdiag, world, states):
    """--state takes ss's words and means the same by them."""
    namespace = world.named("-l", "established:count=3", "listen:family=6", "time-wait:count=2", "close-wait", "syn-sent")
    witness.settled(namespace.file)
    expected = sorted(socket["endpoint"] for socket in of_states(namespace, states))
    mine = sockets(tcpdiag.records("--netns", namespace.name, "--state", ",".join(states)))
    assert mine and sorted(map(witness.record_endpoint, mine)) == expected


def of_states(namespace, states):
    """By cookie: ss leaves the state's column out when it can only be one."""
    words = [word for state in states for word in ("state", state)]
    text = witness.in_namespace(namespace.file, ["ss", "-tneaHO", *words])
    cookies = {word for word in text.split() if word.startswith("sk:")}
    return [socket for socket in witness.read(namespace.file).values() if f"sk:{socket['sk']}" in cookies]


def test_a_filtered_snapshot_says_so_in_numbers(tcpdiag, world):
    """The closing record counts what was asked for, not what is there."""
    namespace = world.named("-l", "established:count=10", "listen:count=2")
    witness.settled(namespace.file)
    records = tcpdiag.records("--netns", namespace.name, "--state", "listen", "--snapshot-ends", "yes")
    end, = ends(records)
    assert end["snapshot_published"] == len(sockets(records)) == 3
    assert end["snapshot_outcome"] == "complete"


def test_without_the_capability_only_the_mark_is_missing(tcpdiag, world):
    """collector-capability = none gives up field mark, and nothing else."""
    namespace = world.named("-l", "established:count=2,mark=5,bytes=10", "listen")
    before = witness.settled(namespace.file)
    records = tcpdiag.records("--netns", namespace.name, "--collector-capability", "none")
    assert not any("mark" in record for record in records)
    for socket in before.values():
        socket.pop("fwmark", None)
    witness.compare(records, before, before)
    marked = tcpdiag.records("--netns", namespace.name)
    assert sorted(record["mark"] for record in marked) == [0, 5, 5, 5, 5, 5]
