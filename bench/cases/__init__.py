"""Each module has a case, or several: what it is, how long it takes, and what runs it."""
from . import bucket, churn, empty, kafka, many, memory, one, receive, stages

ALL = [one.CASE, many.IDLE, many.CHURNED, many.THOUSAND, empty.CASE, memory.CASE, receive.CASE, stages.CASE, churn.CASE, kafka.CASE, bucket.CASE]
