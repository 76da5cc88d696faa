"""What every case is given, and what it gives back."""
import dataclasses
import sys
import typing

from daemons import Daemons


@dataclasses.dataclass
class Case:
    name: str
    about: str
    minutes: float            # about, on two quiet cores
    run: typing.Callable      # of a Bench: a Result


@dataclasses.dataclass
class Result:
    parts: list               # paragraphs and tables
    bounds: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Bench:
    groups: object            # the folder of control groups
    rounds: int
    scale: float              # of sockets and namespaces: 1 for real
    churn: float              # seconds of the churn case

    def scaled(self, number, least=1):
        return max(least, round(number * self.scale))

    def say(self, text):
        print(f"  {text}", file=sys.stderr, flush=True)

    def each_round(self):
        for number in range(self.rounds):
            yield number
            self.say(f"round {number + 1} of {self.rounds} done")

    def measure(self, row, sockets, patterns, namespaces, interval, windows, **words):
        """One round of tcpdiag: started, warmed up, measured, ended."""
        with Daemons(self.groups, patterns, interval, **words) as daemons:
            daemons.warm_up(namespaces)
            daemons.rotate()
            cost = daemons.cost(windows)
            pss = daemons.peak_pss()
            rss = daemons.group.peak_rss()
            daemons.stop()
            row.add(cost, sockets, rss, pss, daemons.complain())
