"""A little of what `make soak` does for as long as one likes."""
import sys

import pytest

from harness import ROOT

sys.path.append(str(ROOT / "tests" / "soak"))
import kafka  # noqa: E402  (its folder is known only now)
import kafka_outage  # noqa: E402
import s3  # noqa: E402


@pytest.mark.timeout(300)
def test_kafka_loses_nothing_whatever_is_killed(clean, folder):
    """Broker, collector, shipper, namespacer killed in turn: each record is in the topic, and the books balance."""
    done = kafka.soak(20, folder).done
    assert len(done) == 6 and all(done.values())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scene, load", [("outage", "1x2000"), ("full-spool", "20x50")])
def test_a_kafka_that_stops(clean, folder, scene, load):
    """No collector gives up, the spool drains, and what is missing in the topic is what is told."""
    done = kafka_outage.outage(scene, load, 12, 3, folder)
    assert (done.missing > 0) == (scene == "full-spool")


@pytest.mark.timeout(300)
def test_s3_loses_nothing_whatever_is_killed(clean, folder):
    """Server, collector, shipper, namespacer killed in turn, and errors in between: each record is in one object, and the books balance."""
    done = s3.soak(20, folder, names=("versitygw",)).done
    assert len(done) == 7 and all(done.values())
