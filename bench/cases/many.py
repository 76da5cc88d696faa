"""Many namespaces with few sockets each, against two-family dumps in each of them."""
import time

from bench import Case, Result
from crowd import Namespaces, floor
from daemons import Look
from report import Row, at_least, at_most, bound_table, cost_table, notes

INTERVAL = 5   # s
WINDOW = 2     # intervals


def run_many(bench, namespaces, each, share, replaced, pss_limit=None):
    """share: of the two-family dumps, what our CPU may be at most (1/share)."""
    namespaces, each = bench.scaled(namespaces, 2), each if bench.scale == 1 else max(8, each)
    # 1 % of the sockets in each interval; each replacement is two sockets.
    replace_ms = round(INTERVAL * 1000 * 2 / (each * 0.01)) if replaced else 0
    with Namespaces(namespaces) as spaces:
        spaces.crowd(each, replace_ms)
        if replaced:
            fill_with_time_waits(bench)
        two = Row("two-family dumps in each namespace, received and thrown away")
        least = Row("one walk in each namespace, received and thrown away")
        rows = {sink: Row(f"tcpdiag, `protobuf` to `{sink}`") for sink in ("null", "file")}
        for _ in bench.each_round():
            sockets, cost = floor(spaces.files, "-2", walks=2)
            two.add(cost, sockets)
            least.add(floor(spaces.files, walks=2)[1], sockets)
            for sink, row in rows.items():
                bench.measure(row, sockets, [spaces.pattern], namespaces, INTERVAL, WINDOW, sink=sink)
        look = Look(bench.groups, [spaces.pattern], namespaces, INTERVAL)
    null = rows["null"]
    bounds = [at_least(f"two-family dumps: CPU ≥ {share} × ours (to `null`)", two.ratio(null), share)]
    if replaced:
        bounds = []   # printed beside the idle case's
    if pss_limit:
        bounds.append(at_most(f"all processes: PSS ≤ {pss_limit} MiB", null.pss / 2 ** 20, pss_limit, "MiB", 0))
    every = [two, least, *rows.values()]
    text = (f"{namespaces} namespaces, {sockets} sockets on the host, an interval of {INTERVAL} s"
            + (f"; 1 % of the sockets replaced in each, TIME_WAITs beside them; two-family dumps / ours: {two.ratio(null):.2f}"
               if replaced else "")
            + f".  {look.text()}; {look.wall_sum / sockets * 1e6:.2f} µs of wall time a socket.")
    return Result([text, cost_table(every, two), *notes(every), *([bound_table(bounds)] if bounds else [])], bounds)


def fill_with_time_waits(bench):
    """Until as many end as begin: a TIME_WAIT lasts a minute."""
    bench.say("filling with TIME_WAITs for a minute")
    time.sleep(62 if bench.scale == 1 else 5)


IDLE = Case("idle", "200 namespaces x 500 sockets, idle", 1, 0.8, lambda bench: run_many(bench, 200, 500, 6, False))
CHURNED = Case("churned", "the same, 1 % of the sockets replaced per interval, with TIME_WAITs", 2, 0.8,
               lambda bench: run_many(bench, 200, 500, 6, True))
THOUSAND = Case("thousand", "1,000 namespaces x 20 sockets", 1, 0.9, lambda bench: run_many(bench, 1000, 20, 15, False, 300))
