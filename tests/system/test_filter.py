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


@pytest.fixture
def fields_of(tcpdiag, world):
    """{the fields that a choice of decoders brings to some socket} of a namespace with all kinds of them."""
    namespace = world.named("-l", "established:cc=bbr,mark=5,tos=16,bytes=1000", "established:family=6,tclass=32,cc=reno",
                            "listen:family=6", "listen:md5=not-to-be-seen")
    witness.settled(namespace.file)

    def fields(*words):
        mine = sockets(tcpdiag.records("--netns", namespace.name, *words))
        assert len(mine) >= 6
        return {name for record in mine for name in record}
    return fields


@pytest.mark.parametrize("decoders, stems", [
    ("tos,cong", {"type_of_service", "congestion_algorithm"}),
    ("info", {"tcp_info"}),
    ("bbr,tc", {"bbr_info", "traffic_class"}),
    ("skmem", {"sk_mem_info"}),
    ("class_id", {"class_id"}),
    ("md5,mark", {"md5", "mark"}),
    ("cgroup,sockopt,shut,skv6only,meminfo", {"c_group", "sock_opt", "shutdown_state", "ipv6_only", "mem_info"}),
])
def test_decoders_choose_fields(fields_of, decoders, stems):
    """--decoders brings the fields of its sets and no other."""
    always = fields_of("--decoders", "none")
    assert not any(name.startswith(("tcp_info_r", "sk_mem", "congestion", "mark")) for name in always)
    chosen = fields_of("--decoders", decoders) - always
    assert {next((stem for stem in stems if name.startswith(stem)), name) for name in chosen} == stems


def test_decoders_by_default(fields_of):
    """Without a choice all is read but meminfo, whose numbers are in skmem's."""
    everything, usual = fields_of("--decoders", "all"), fields_of()
    assert fields_of("--decoders", "default") == usual
    assert everything - usual == {f"mem_info_{kind}mem" for kind in "rwft"}
    assert {"tcp_info_rtt", "congestion_algorithm_string", "sk_mem_info_drops", "mark", "md5_key_count", "bbr_info_min_rtt"} <= usual


def test_of_md5_keys_the_peer_is_told(tcpdiag, world):
    """How many there are and the first one's address, as setsockopt(2) was given it."""
    namespace = world.named("-l", "listen:md5=not-to-be-seen", "listen:family=6")
    mine = sockets(tcpdiag.records("--netns", namespace.name))
    with_key, without = sorted(mine, key=lambda record: record["inet_diag_msg_family"])
    assert {name: value for name, value in with_key.items() if name.startswith("md5")} == {
        "md5_key_count": 1, "md5_peer_family": 2, "md5_peer_prefix_length": 32, "md5_peer_address": "192.0.2.1"}
    assert not any(name.startswith("md5") for name in without)
    unprivileged = tcpdiag.records("--netns", namespace.name, "--collector-capability", "none")
    assert not any(name.startswith("md5") for record in unprivileged for name in record)


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
