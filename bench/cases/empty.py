"""Many empty namespaces beside a large one: what they cost beyond it."""
import statistics

from bench import Case, Result
from crowd import Namespaces, floor
from report import Row, at_most, bound_table, cost_table, notes, table

SOCKETS, EMPTY = 100000, 200
INTERVAL, WINDOW = 10, 3


def run(bench):
    count = bench.scaled(EMPTY)
    with Namespaces(1) as full, Namespaces(count) as empty:
        full.crowd(bench.scaled(SOCKETS, 8))
        least = Row("the floor of the large namespace")
        two = Row("two-family dumps in all of them")
        alone, both = Row("tcpdiag, the large one alone"), Row("tcpdiag, all of them")
        only = Row("tcpdiag, the empty ones alone")
        for _ in bench.each_round():
            sockets, cost = floor(full.files)
            least.add(cost, sockets)
            two.add(floor([*full.files, *empty.files], "-2", walks=1)[1], sockets)
            bench.measure(alone, sockets, [full.pattern], 1, INTERVAL, WINDOW)
            bench.measure(both, sockets, [full.pattern, empty.pattern], 1 + count, INTERVAL, WINDOW)
            bench.measure(only, sockets, [empty.pattern], count, INTERVAL, WINDOW)
    beyond = statistics.median(b.cpu - a.cpu for a, b in zip(alone.costs, both.costs)) / INTERVAL * 100
    by_themselves = only.median() / INTERVAL * 100
    bounds = [at_most(f"beyond the large one: ≤ 1 % of a CPU at an interval of {INTERVAL} s", beyond, 1, "%")]
    rows = [least, two, alone, both, only]
    return Result([f"{count} empty namespaces beside one of {sockets} sockets.", cost_table(rows, least), *notes(rows),
                   table(["of one CPU", "%"], [["beyond the large one (difference of the medians' rounds)", f"{beyond:.2f}"],
                                               ["the empty ones alone, namespacer and shipper with them", f"{by_themselves:.2f}"]]),
                   bound_table(bounds)], bounds)


CASE = Case("empty", "200 empty namespaces beside one of 100,000 sockets", 1, 2.6, run)
