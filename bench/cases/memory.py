"""What a thousand idle collectors hold: of their own, and of the kernel."""
import collections
import statistics

from bench import Case, Result
from crowd import Namespaces
from daemons import RING_MAPPING, Daemons
from machine import memory, pss_by_mapping
from report import at_most, bound_table, table

NAMESPACES, SOCKETS = 1000, 20
INTERVAL = 5
KIB = 1024


def without_ring(pid):
    return sum(size for name, size in pss_by_mapping(pid).items() if not name.startswith(RING_MAPPING))


FIELDS = ["MemAvailable", "AnonPages", "Shmem", "KernelStack", "PageTables", "SUnreclaim", "SReclaimable", "Percpu"]


def settled(daemons):
    """Fields of /proc/meminfo, bytes: what ended processes held comes back late."""
    found = []
    for _ in range(5):
        found.append(memory(FIELDS))
        daemons.pass_intervals(0.2)
    return {field: statistics.median(one[field] for one in found) for field in FIELDS}


def mappings(pids):
    """KiB of a collector, by what is mapped: the mean of all."""
    total = collections.Counter()
    for pid in pids:
        for name, size in pss_by_mapping(pid).items():
            total["the ring" if name.startswith(RING_MAPPING) else name.rsplit("/", 1)[-1]] += size
    return [[name, f"{size / len(pids) / KIB:.1f}"] for name, size in total.most_common() if size / len(pids) >= 0.05 * KIB]


def run(bench):
    count = bench.scaled(NAMESPACES, 10)
    with Namespaces(count) as spaces:
        spaces.crowd(SOCKETS)
        changes, own, whole = [], [], []
        for _ in bench.each_round():
            with Daemons(bench.groups, ["no-such-namespace"], INTERVAL) as none:
                none.pass_intervals(1)
                before = settled(none)
            with Daemons(bench.groups, [spaces.pattern], INTERVAL) as daemons:
                daemons.warm_up(count)
                after = settled(daemons)
                changes.append({field: (after[field] - before[field]) / count for field in FIELDS})
                collectors = daemons.find("collector")
                own.append(statistics.median(map(without_ring, collectors)))
                whole.append(daemons.peak_pss())
                roles = daemons.pss_by_role()
                detail = mappings(collectors)
    alone, everything = statistics.median(own), statistics.median(whole)
    change = {field: statistics.median(one[field] for one in changes) / KIB for field in FIELDS}
    bounds = [
        at_most("a collector: ≤ 100 KiB PSS without its ring", alone / KIB, 100, "KiB", 0),
        at_most("MemAvailable falls by ≤ 300 KiB for each", -change["MemAvailable"], 300, "KiB", 0),
        at_most("all processes: ≤ 300 MiB PSS", everything / 2 ** 20, 300, "MiB", 0),
    ]
    return Result([f"{count} namespaces with {SOCKETS} sockets each, a collector in each, between two snapshots.",
                   table(["role", "PSS, MiB"], [[role, f"{size / 2 ** 20:.1f}"] for role, size in sorted(roles.items())]),
                   table(["a collector's PSS by mapping", "KiB"], detail),
                   table(["/proc/meminfo, for each collector", "KiB"], [[field, f"{value:+.1f}"] for field, value in change.items()]),
                   bound_table(bounds)], bounds)


CASE = Case("memory", "1,000 idle collectors: PSS, and what MemAvailable falls by", 0.5, 0.5, run)
