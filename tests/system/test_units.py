"""The units, started for real by a systemd that is PID 1."""
import json
import os
import pathlib
import re
import signal

import pytest

import booted
import harness
from harness import RecordFile, alive, wait_for
from test_kill import no_gaps, whole_snapshots
from test_metrics import Listener
from topics import PASSWORD, USER, Topic

SHIPPER, NAMESPACER = booted.UNITS
OUTPUT = "/var/log/tcpdiag/sockets.jsonl"
NAME = "test-1"
# Until the deadline a full ring waits: nothing is given up while a shipper stands still.
CONFIGURATION = ["deadline = 60s", "interval = 200ms", "format = jsonl", "batch-age = 50ms"]
OURS = "netns = test-*"


@pytest.fixture(scope="session")
def installed(base):
    folder = base / "installed"
    booted.install(folder)
    return folder


@pytest.fixture
def system(clean, folder, installed):
    """With both units installed, and neither started."""
    one = booted.Booted(folder, installed)
    one.configure(*CONFIGURATION, OURS, f"sink = file:{OUTPUT}")
    try:
        yield one
    finally:
        one.end()


def start(system, *drop_ins):
    """Both units, as the man page says, and one namespace that they read; its records."""
    for unit, *lines in drop_ins:
        system.drop_in(unit, *lines)
    system.boot()
    system.namespace(NAME).hold("-l", "established:count=20")
    system.systemctl("enable", "--now", SHIPPER, NAMESPACER)
    file = RecordFile(system.path(OUTPUT))
    file.wait_for_snapshots(NAME, 2, 30)
    return file


def capabilities(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {name: int(value, 16) for name, value in re.findall(r"^Cap(\w+):\t(\w+)$", text, re.M)}


def stop(system):
    system.systemctl("stop", NAMESPACER, SHIPPER)
    assert [system.show(unit, "Result") for unit in booted.UNITS] == ["success", "success"], system.log()


def end_and_check(system, file):
    """Both are stopped: nothing is missing in what was written, and all of it is of whole snapshots."""
    file.wait_for_snapshots(NAME, 2, 30)
    stop(system)
    by_epoch = no_gaps(file.records())
    whole_snapshots(file.records(), 41)
    return by_epoch


def test_started_by_systemd(system):
    """Ready when they say so, confined as their units say, without a word of warning; what comes later is found."""
    system.configure(*CONFIGURATION, "netns = test-*, netns:*", f"sink = file:{OUTPUT}")
    file = start(system)
    for unit in booted.UNITS:
        assert system.show(unit, "ActiveState") == "active" and system.restarts(unit) == 0
        assert system.journal(unit, "-p", "warning") == ""
    # The unit's own filter lets it.
    assert "Landlock: ABI " in system.journal(SHIPPER)
    shipper, namespacer = map(system.pid, booted.UNITS)
    assert not any(capabilities(shipper).values())
    assert capabilities(namespacer)["Bnd"] == capabilities(namespacer)["Eff"] != 0
    assert os.stat(f"/proc/{shipper}").st_uid not in (0, 65534) and os.stat(f"/proc/{namespacer}").st_uid == 0
    for pid in (shipper, namespacer):
        assert re.search(r"^NoNewPrivs:\t1\n(.*\n)*Seccomp:\t2\n", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    assert ": all that can be seen is as declared\n" in system.run("tcpdiag", "audit")
    late = system.namespace("test-late")
    file.wait_for_snapshots(late.name, 1, 20)
    system.run("systemd-run", "-q", "--unit=nameless", "-p", "PrivateNetwork=yes", "sleep", "1000")
    nameless = os.stat(f"/proc/{system.pid('nameless')}/ns/net").st_ino
    file.wait_for_snapshots(f"netns:[{nameless}]", 1, 20)
    system.systemctl("stop", NAMESPACER)
    metrics = Listener(system.path("/run/tcpdiag/shipper.metrics.sock")).scrape()
    metrics.assert_balanced()
    assert metrics.get("records_delivered_total") == len(file.records())
    stop(system)


def test_restart_of_each_alone(system):
    """The other one lives on, and no record is missing: asked for, or after a kill."""
    file = start(system)
    for how in (lambda unit: system.systemctl("restart", unit), lambda unit: os.kill(system.pid(unit), signal.SIGKILL)):
        for unit, other in (booted.UNITS, booted.UNITS[::-1]):
            before, beside = system.pid(unit), system.pid(other)
            how(unit)
            wait_for(lambda: system.pid(unit) not in (None, before), 20, f"{unit} again")
            file.wait_for_snapshots(NAME, 2, 30)
            assert system.pid(other) == beside, f"{other} did not outlive {unit}"
    assert [system.restarts(unit) for unit in booted.UNITS] == [1, 1]
    system.systemctl("stop", NAMESPACER)
    metrics = Listener(system.path("/run/tcpdiag/shipper.metrics.sock")).scrape()
    metrics.assert_balanced()
    system.systemctl("start", NAMESPACER)
    by_epoch = end_and_check(system, file)
    assert len(by_epoch) == 4, "one life of the collector for each of the namespacer"


@pytest.mark.parametrize("unit", booted.UNITS)
def test_watchdog(system, unit):
    """One that stands still is ended and started again, and nothing is missing."""
    file = start(system, (unit, "WatchdogSec=2s", "TimeoutAbortSec=2s"))
    before = system.pid(unit)
    os.kill(before, signal.SIGSTOP)
    wait_for(lambda: system.restarts(unit) == 1 and system.pid(unit) not in (None, before), 30, "the watchdog")
    assert not alive(before)
    assert f"{unit}.service: Watchdog timeout" in system.journal(unit)
    end_and_check(system, file)


def test_no_restart_where_it_would_not_help(system):
    """Usage, privilege, configuration: the unit fails at once, with the program's line in the journal."""
    system.drop_in(SHIPPER, "ExecStart=", "ExecStart=/usr/sbin/tcpdiag-shipper --intervall 1s")
    system.drop_in(NAMESPACER, "CapabilityBoundingSet=", "CapabilityBoundingSet=CAP_SYS_ADMIN")
    system.boot()
    for unit, code, said in [(SHIPPER, 64, "intervall"), (NAMESPACER, 77, "CAP_SYS_PTRACE")]:
        system.systemctl("start", unit, check=False)
        assert failed(system, unit) == code
        assert said in system.journal(unit)
    for unit in booted.UNITS:
        system.drop_in(unit)
    system.systemctl("daemon-reload")
    system.configure("format = yaml")
    system.systemctl("start", SHIPPER, check=False)
    assert failed(system, SHIPPER) == 78
    assert "/etc/tcpdiag/tcpdiag.conf:1" in system.journal(SHIPPER)


def failed(system, unit):
    """The code with which it ended for good."""
    wait_for(lambda: system.show(unit, "ActiveState") == "failed", 20, f"the failure of {unit}")
    assert system.restarts(unit) == 0
    return int(system.show(unit, "ExecMainStatus"))


def test_reload_opens_the_file_anew(system):
    """As logrotate wants it: no record is lost, none is in both files."""
    file = start(system)
    before = system.pid(SHIPPER)
    os.rename(file.path, f"{file.path}.1")
    system.systemctl("reload", SHIPPER)
    after = RecordFile(file.path)
    after.wait_for_snapshots(NAME, 2, 30)
    assert system.pid(SHIPPER) == before
    stop(system)
    old = RecordFile(f"{file.path}.1").records()
    sequences = [record["record_sequence"] for record in old + after.records()]
    assert old and sequences == list(range(1, len(sequences) + 1))


def test_a_password_by_credential(system, broker):
    """LoadCredential= is how a password that only root may read reaches a shipper that has no right to read it."""
    topic = Topic(broker)
    system.configure(*CONFIGURATION, OURS, "sink = kafka", f"kafka-brokers = {broker.address('SASL_SSL')}", f"kafka-topic = {topic.name}",
                     "kafka-tls = yes", "kafka-tls-ca = /etc/tcpdiag/ca.pem", "kafka-sasl = PLAIN", f"kafka-sasl-user = {USER}",
                     "kafka-sasl-password-file = /run/credentials/tcpdiag-shipper.service/kafka-password")
    system.write("/etc/tcpdiag/ca.pem", broker.tls("ca.pem").read_text())
    system.write("/etc/tcpdiag/kafka-password", f"{PASSWORD}\n", 0o600)
    system.drop_in(SHIPPER, "LoadCredential=kafka-password:/etc/tcpdiag/kafka-password")
    system.boot()
    system.namespace(NAME).hold("-l", "established:count=20")
    system.systemctl("start", SHIPPER, NAMESPACER)
    wait_for(lambda: topic.count() >= 3, 30, "messages")
    assert PASSWORD not in pathlib.Path(f"/proc/{system.pid(SHIPPER)}/environ").read_text()
    assert PASSWORD not in system.journal(SHIPPER)
    stop(system)
    records = [json.loads(line) for message in topic.messages() for line in message.value().splitlines()]
    no_gaps(records)
    whole_snapshots(records, 41)
