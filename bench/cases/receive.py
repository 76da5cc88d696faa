"""Other ways to receive the same dump: buffers, several readers on one socket, io_uring."""
from bench import Case, Result
from crowd import Namespaces, receive
from machine import BIN
from report import Row, table

SOCKETS = 100000
WALKS = 5
WAYS = [
    ("recv, 32 KiB (the floor)", "floor", []),
    ("recv, 8 KiB", "floor", ["-b", 8 * 1024]),
    ("recv, 16 KiB", "floor", ["-b", 16 * 1024]),
    ("recv, 64 KiB", "floor", ["-b", 64 * 1024]),
    ("recv, 32 KiB, two dumps (AF_INET, AF_INET6)", "floor", ["-2"]),
    ("2 threads on the socket, 32 KiB each", "floor", ["-r", 2]),
    ("4 threads on the socket, 32 KiB each", "floor", ["-r", 4]),
    ("io_uring, 1 receive in the ring", "uring", ["-d", 1]),
    ("io_uring, 4 receives in the ring", "uring", ["-d", 4]),
    ("io_uring, 16 receives in the ring", "uring", ["-d", 16]),
]


def run(bench):
    with Namespaces(1) as spaces:
        spaces.crowd(bench.scaled(SOCKETS, 8))
        rows = [Row(what) for what, *_ in WAYS]
        for _ in bench.each_round():
            for row, (_, program, words) in zip(rows, WAYS):
                sockets, cost = receive(["nsenter", f"--net={spaces.files[0]}", str(BIN / "bench" / program)], *words, walks=WALKS)
                row.add(cost, sockets)
    floor = rows[0]
    lines = [[row.what, f"{row.median() / row.sockets * 1e6:.3f}", f"{row.median('user') / row.sockets * 1e6:.3f}",
              f"{row.median('system') / row.sockets * 1e6:.3f}", f"{row.ratio(floor):.2f}",
              f"{row.median('wall') / row.sockets * 1e6:.3f}", f"{row.ratio(floor, 'wall'):.2f}"] for row in rows]
    return Result([f"{floor.sockets} sockets in one namespace; {bench.rounds} rounds of {WALKS} walks, interleaved.",
                   table(["a way to receive", "CPU µs a socket", "user", "system", "× floor", "wall µs", "× floor"], lines)])


CASE = Case("receive", "the floor with other buffers, several readers, io_uring", 0.4, 0.1, run)
