"""What every case is given, and what it gives back."""
import dataclasses
import sys
import typing

from daemons import Daemons


@dataclasses.dataclass
class Case:
    name: str
    about: str
    once: float               # about so many minutes, and for each round, on two quiet cores
    round: float
    run: typing.Callable      # of a Bench: a Result
    apart: bool = False       # only where it is asked for: it needs more than the others

    def time(self, rounds, churn):
        return self.once + (churn / 60 if self.name == "churn" else self.round * rounds)


@dataclasses.dataclass
class Result:
    parts: list               # paragraphs and tables
    bounds: list = dataclasses.field(default_factory=list)


RING = 64 * 1024  # bytes of a collector's first ring


@dataclasses.dataclass
class Bench:
    groups: object            # the folder of control groups
    rounds: int
    scale: float              # of sockets and namespaces: 1 for real
    churn: float              # seconds of the churn case
    last: bool = True         # this is the last round: memory is looked at

    def scaled(self, number, least=1):
        return max(least, round(number * self.scale))

    def say(self, text):
        print(f"  {text}", file=sys.stderr, flush=True)

    def each_round(self):
        for number in range(self.rounds):
            self.last = number == self.rounds - 1
            yield number
            self.say(f"round {number + 1} of {self.rounds} done")

    def measure(self, row, sockets, patterns, namespaces, interval, windows, **words):
        """One round of tcpdiag: started, warmed up, measured over so many intervals, ended."""
        with Daemons(self.groups, patterns, interval, **words) as daemons:
            # A ring's pages are made when they are written first: each has to go round once, at 400 bytes a socket.
            daemons.warm_up(namespaces, max(2, RING * namespaces // (sockets * 400) + 1))
            daemons.rotate()
            cost = daemons.cost(windows)
            # By itself, since a look at a process's memory disturbs it.
            pss = daemons.peak_pss() if self.last else 0
            rss = daemons.group.peak_rss() if self.last else 0
            daemons.stop()
            row.add(cost, sockets, rss, pss, daemons.complain())
