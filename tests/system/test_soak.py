"""A minute of what `make soak` does for as long as one likes."""
import sys

import pytest

from harness import ROOT

sys.path.append(str(ROOT / "tests" / "soak"))
import kafka  # noqa: E402  (its folder is known only now)


@pytest.mark.timeout(300)
def test_kafka_loses_nothing_whatever_is_killed(clean, folder):
    """Broker, collector, shipper, namespacer killed in turn: each record is in the topic, and the books balance."""
    done = kafka.soak(20, folder).done
    assert len(done) == 6 and all(done.values())
