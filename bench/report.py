"""Figures as tables: medians over rounds, ratios to a floor of the same rounds, bounds that are met or not."""
import dataclasses
import statistics

MIB = 2 ** 20


@dataclasses.dataclass
class Row:
    """One thing that was measured once in each round."""
    what: str
    sockets: int = 0          # a pass reads so many
    costs: list = dataclasses.field(default_factory=list)
    rss: int = 0              # bytes, the largest of all rounds
    pss: int = 0
    notes: list = dataclasses.field(default_factory=list)

    def add(self, cost, sockets, rss=0, pss=0, note=""):
        self.costs.append(cost)
        self.sockets = sockets
        self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)
        if note:
            self.notes.append(note)

    def median(self, what="cpu"):
        """Seconds of a pass."""
        return statistics.median(getattr(cost, what) for cost in self.costs)

    def ratio(self, floor, what="cpu"):
        """Medians of one run, since rounds are interleaved."""
        return self.median(what) / floor.median(what)


@dataclasses.dataclass
class Bound:
    """What issue 5 asks for, and what was measured."""
    asked: str
    measured: str
    met: bool

    def verdict(self):
        return "met" if self.met else "**MISSED**"


def at_most(asked, value, limit, unit="×", digits=2):
    return Bound(asked, f"{value:.{digits}f} {unit}", value <= limit)


def at_least(asked, value, limit, unit="×", digits=2):
    return Bound(asked, f"{value:.{digits}f} {unit}", value >= limit)


def table(head, lines):
    return "\n".join([f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |",
                      *(f"| {' | '.join(map(str, line))} |" for line in lines)])


def microseconds(seconds, sockets):
    return f"{seconds / sockets * 1e6:.2f}" if sockets else "–"


def mib(number):
    return f"{number / MIB:.1f}" if number else "–"


def cost_table(rows, floor):
    """Per socket.  Wall time of daemons is the interval, and says nothing."""
    head = ["CPU per socket, µs", "median", "range", "user", "system", "× floor", "switches a pass", "RSS, MiB", "PSS, MiB"]

    def line(row):
        values = [cost.cpu for cost in row.costs]
        spread = f"{microseconds(min(values), row.sockets)}–{microseconds(max(values), row.sockets)}"
        return [row.what, microseconds(row.median(), row.sockets), spread, microseconds(row.median("user"), row.sockets),
                microseconds(row.median("system"), row.sockets), f"{row.ratio(floor):.2f}", f"{row.median('switches'):.0f}",
                mib(row.rss), mib(row.pss)]
    return table(head, [line(row) for row in rows if row.costs])


def bound_table(bounds):
    return table(["bound", "measured", ""], [[bound.asked, bound.measured, bound.verdict()] for bound in bounds])


def notes(rows):
    return [f"* {row.what}: {note}" for row in rows for note in dict.fromkeys(row.notes)]
