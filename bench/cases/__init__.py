"""Each module is a case: NAME, ABOUT, TAKES (a guess, for people), and run(bench) that returns its text and its bounds."""
from . import churn, empty, many, memory, one, receive

ALL = [one.CASE, many.IDLE, many.CHURNED, many.THOUSAND, empty.CASE, memory.CASE, receive.CASE, churn.CASE]
