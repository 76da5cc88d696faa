"""docs/duckdb.sql: five questions to the files that the shipper wrote, into a folder or a bucket, answered as the records say."""
import collections
import contextlib
import datetime
import ipaddress
import os
import random
import re
import statistics

import duckdb
import numpy
from google.protobuf.internal.encoder import _VarintBytes as varint
from proto.xtcp_flat_record_pb2 import XtcpFlatRecord

import pytest
from buckets import REGION, SECRET, USER, Bucket, Server
from harness import ROOT, wait_for
from test_spool import Spooler

SQL = (ROOT / "docs" / "duckdb.sql").read_text()
CHECK = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "duckdb.md").read_text(), re.DOTALL)[0]
STATES = {1: "ESTABLISHED", 8: "CLOSE_WAIT", 10: "LISTEN"}
MEMORY = ["rmem_alloc", "wmem_queued", "fwd_alloc", "optmem", "backlog"]
START = 1_800_000_000
# meminfo, tcp_info, congestion control and skmeminfo have come: a zero is known
PRESENT = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4 | 1 << 7
PEERS = ["192.0.2.7", "192.0.2.99", "198.51.100.1", "::ffff:203.0.113.5", "2001:db8:1::1", "2001:db8:1:2::9", "2001:db8:ff00::1"]


class Socket:
    def __init__(self, dice, cookie):
        self.cookie, self.peer, self.dice = cookie, dice.choice(PEERS), dice
        self.state = dice.choice([1, 1, 1, 8, 10])
        self.sent = self.retransmitted = 0
        self.congestion = dice.choice(["cubic", "bbr", "reno"])

    def record(self, **identity):
        record = XtcpFlatRecord(inet_diag_msg_socket_cookie=self.cookie, inet_diag_msg_state=self.state, tcp_info_length=232,
                                attributes_present=PRESENT, congestion_algorithm_string=self.congestion, **identity)
        address = ipaddress.ip_address(self.peer)
        record.inet_diag_msg_family = 2 if address.version == 4 else 10
        record.inet_diag_msg_socket_destination = address.packed.ljust(16, b"\0")
        self.sent += self.dice.randrange(1000)
        self.retransmitted += self.dice.randrange(10)
        record.tcp_info_data_segs_out, record.tcp_info_total_retrans = self.sent, self.retransmitted
        record.tcp_info_rtt = self.dice.randrange(1, 500000)
        for name in MEMORY:
            setattr(record, f"sk_mem_info_{name}", self.dice.randrange(1 << 20))
        return record


def snapshots():
    """Three namespaces, a snapshot every 20 s; one of them is begun anew, and another is cut short, by sockets that come and go."""
    dice, records = random.Random(7), []
    for epoch, netns in enumerate(["db", "web", "cache"], 1):
        sockets = [Socket(dice, 100 * epoch + i) for i in range(40)]
        sequence = 0
        for number in range(1, 10):
            for attempt in (1, 2) if number == 9 and netns == "web" else (1,):
                identity = {"hostname": "h1", "netns": netns, "netns_cookie": epoch, "collector_epoch": epoch, "snapshot_sequence": number,
                            "snapshot_attempt": attempt, "timestamp_ns": (START + 20 * number) * 10**9}
                for socket in sockets[:25 if attempt == 2 else 40 - number]:
                    sequence += 1
                    records.append(socket.record(record_sequence=sequence, **identity))
                sequence += 1
                records.append(XtcpFlatRecord(record_kind=2, snapshot_way=1, snapshot_outcome=1, record_sequence=sequence, **identity))
    return records


def last(records, width):
    """Of each collector's last snapshot in so many seconds."""
    newest = {}
    for r in records:
        key = r.collector_epoch, r.timestamp_ns // 10**9 // width
        newest[key] = max(newest.get(key, (0, 0)), (r.snapshot_sequence, r.snapshot_attempt))
    return [r for r in records if newest[r.collector_epoch, r.timestamp_ns // 10**9 // width] == (r.snapshot_sequence, r.snapshot_attempt)]


def network(record):
    address = ipaddress.ip_address(record.inet_diag_msg_socket_destination[:4 if record.inet_diag_msg_family == 2 else 16])
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 4:
        return str(ipaddress.ip_network(f"{address}/24", strict=False))
    return ":".join(f"{int.from_bytes(address.packed[i:i + 2]):04x}" for i in (0, 2, 4)) + "::/48"


def round_trips(records):
    peers = collections.defaultdict(list)
    for r in records:
        if r.inet_diag_msg_state == 1:
            peers[network(r)].append(r)
    found = [{"network": name, "p99_ms": float(numpy.percentile([r.tcp_info_rtt for r in rs], 99)) / 1000,
              "worst_ms": max(r.tcp_info_rtt for r in rs) / 1000, "connections": len({r.inet_diag_msg_socket_cookie for r in rs})}
             for name, rs in peers.items()]
    return sorted(found, key=lambda row: -row["p99_ms"])


def retransmits(records):
    sockets = collections.defaultdict(list)
    for r in records:
        if r.inet_diag_msg_state != 10:
            sockets[r.netns, r.inet_diag_msg_socket_cookie].append(r)
    found = collections.defaultdict(lambda: [0, 0])
    for (netns, _), rs in sockets.items():
        found[netns][0] += rs[-1].tcp_info_data_segs_out - rs[0].tcp_info_data_segs_out
        found[netns][1] += rs[-1].tcp_info_total_retrans - rs[0].tcp_info_total_retrans
    return sorted(({"hostname": "h1", "netns": netns, "segments": sent, "retransmits": again, "rate": again / sent}
                   for netns, (sent, again) in found.items()), key=lambda row: -row["rate"])


def states(records):
    counted = collections.Counter((r.timestamp_ns // 10**9 // 60 * 60, STATES[r.inet_diag_msg_state]) for r in last(records, 60))
    return [{"time": datetime.datetime.fromtimestamp(minute, datetime.timezone.utc), "state": state, "sockets": count}
            for (minute, state), count in sorted(counted.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))]


def memory(records):
    found = collections.defaultdict(list)
    for r in last(records, 10**12):
        found[r.netns].append(r)
    rows = [{"hostname": "h1", "netns": netns, "sockets": len(rs), "received": sum(r.sk_mem_info_rmem_alloc for r in rs),
             "queued": sum(r.sk_mem_info_wmem_queued for r in rs), "total": sum(getattr(r, f"sk_mem_info_{name}") for r in rs for name in MEMORY)}
            for netns, rs in found.items()]
    return sorted(rows, key=lambda row: -row["total"])


def congestion(records):
    found = collections.defaultdict(list)
    for r in last(records, 10**12):
        if r.inet_diag_msg_state == 1:
            found[r.congestion_algorithm_string].append(r)
    rows = [{"algorithm": name, "connections": len(rs), "namespaces": len({r.netns for r in rs}),
             "median_ms": statistics.median(r.tcp_info_rtt for r in rs) / 1000} for name, rs in found.items()]
    return sorted(rows, key=lambda row: (-row["connections"], row["algorithm"]))


def ship(tcpdiag, folder, records, *sink):
    """Through the shipper, into objects: as rejects that are tried again."""
    spooler = Spooler(tcpdiag, folder)
    spooler.ship(*sink, "--object-rows", "200", "--object-age", "1s")
    wait_for(lambda: (spooler.dir / "rejects").exists(), 10, "the folder")
    owner = spooler.dir.stat()
    for number in range(0, len(records), 300):
        path = spooler.dir / "rejects" / f"{number:05}.invalid"
        path.write_bytes(b"".join(varint(r.ByteSize()) + r.SerializeToString() for r in records[number:number + 300]))
        os.chown(path, owner.st_uid, owner.st_gid)
    spooler.command("requeue", "all")
    wait_for(lambda: spooler.metrics.scrape().get("records_delivered_total") == len(records), 60, "all records in objects")
    assert spooler.balanced().get("objects_delivered_total") > 4
    spooler.shipper.stop()


def answers(base, place):
    """What each statement that asks something says."""
    assert "'/var/log/tcpdiag/parquet/'" in SQL
    for statement in duckdb.extract_statements(SQL.replace("'/var/log/tcpdiag/parquet/'", f"'{place}/'")):
        result = base.execute(statement)
        if statement.type == duckdb.StatementType.SELECT:
            yield result.to_arrow_table().to_pylist()
    yield base.execute(CHECK).fetchall()


def in_a_folder(folder):
    """The sink's words, a database that reads what is there, and its place."""
    yield ("--sink", f"file:{folder}/objects/"), duckdb.connect(), folder / "objects"


def in_a_bucket(folder):
    with Server(folder / "s3") as server:
        bucket, base = Bucket(server, folder), duckdb.connect()
        base.execute("LOAD httpfs")
        base.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{USER}', SECRET '{SECRET}', REGION '{REGION}', URL_STYLE 'path',
                         ENDPOINT '127.0.0.1:{server.port}', USE_SSL false)""")
        yield (*bucket.words(), "--s3-prefix", "fleet"), base, f"s3://{bucket.name}/fleet"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("target", [in_a_folder, in_a_bucket])
def test_five_questions(tcpdiag, world, folder, target):
    records = snapshots()
    with contextlib.contextmanager(target)(folder) as (sink, base, place):
        # Some of them twice, as it may be after a death.
        ship(tcpdiag, folder, records + records[40:90], *sink)
        said = list(answers(base, place))
    records = [record for record in records if record.record_kind != 2]
    expected = [round_trips(records), retransmits(records), states(records), memory(records), congestion(records)]
    assert len(said) == len(expected) + 1 and said.pop() == []
    for answer, rows in zip(said, expected):
        assert len(rows) >= 3
        assert [list(row) for row in answer] == [list(row) for row in rows]
        for row, want in zip(answer, rows, strict=True):
            assert row == (want if "time" in want else pytest.approx(want))
