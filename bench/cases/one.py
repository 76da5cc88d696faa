"""One namespace with many sockets: to null and to a file, and in each format; ss beside it."""
from bench import Case, Result
from crowd import Namespaces, floor, ss
from daemons import Look
from report import Row, at_least, at_most, bound_table, cost_table, notes

SOCKETS = 100000
MAIN = [("null", "protobuf"), ("file", "protobuf"), ("file", "jsonl")]
OTHERS = ["protobufList", "protoJson", "protoText", "msgpack", "csv", "tsv", "table"]


def label(sink, form):
    return f"tcpdiag, `{form}` to `{sink}`"


def interval_of(form):
    """Longer than a snapshot takes, also on a slow machine."""
    return 2 if form.startswith("protobuf") else 4


def measure(bench, row, spaces, sockets, sink, form):
    bench.measure(row, sockets, [spaces.pattern], 1, interval_of(form), 4 if form == "protobuf" else 2, sink=sink, form=form)


def run(bench):
    with Namespaces(1) as spaces:
        spaces.crowd(bench.scaled(SOCKETS, 8))
        least = Row("the floor: one walk, every extension, received and thrown away")
        listed = Row("`ss -tinemoO > /dev/null`")
        main = {pair: Row(label(*pair)) for pair in MAIN}
        others = {form: Row(label("file", form)) for form in OTHERS}
        for _ in bench.each_round():
            sockets, cost = floor(spaces.files)
            least.add(cost, sockets)
            for (sink, form), row in main.items():
                measure(bench, row, spaces, sockets, sink, form)
            listed.add(ss(spaces.files[0]), sockets)
            if bench.last:
                for form, row in others.items():
                    measure(bench, row, spaces, sockets, "file", form)
        look = Look(bench.groups, [spaces.pattern], 1, 2)
    null, file, jsonl = main.values()
    bounds = [
        at_most("to `null`, `protobuf`: CPU ≤ 1.7 × the floor (1.4 is what we want)", null.ratio(least), 1.7),
        at_most("to a file, `protobuf`: CPU ≤ 2 × the floor", file.ratio(least), 2),
        at_most("to a file, `jsonl`: CPU ≤ 5 × the floor", jsonl.ratio(least), 5),
        at_least("`ss -tinemoO`: CPU ≥ 5 × ours (to `null`)", listed.ratio(null), 5),
        at_most("all processes: PSS ≤ 24 MiB", null.pss / 2 ** 20, 24, "MiB", 1),
    ]
    rows = [least, *main.values(), *others.values(), listed]
    wall = f"A snapshot takes {look.wall / sockets * 1e6:.2f} µs of wall time a socket, the floor {least.median('wall') / sockets * 1e6:.2f}."
    return Result([f"{sockets} sockets in one namespace.  {look.text()}.  {wall}  Formats without a bound are "
                   "measured in one round.", cost_table(rows, least), *notes(rows), bound_table(bounds)], bounds)


CASE = Case("one", "1 namespace x 100,000 sockets; every format; ss", 3, 0.8, run)
