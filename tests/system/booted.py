"""A systemd that is PID 1, with tcpdiag in it as `make install` puts it there."""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess

import harness
from harness import ROOT, wait_for

BOOT = pathlib.Path(__file__).with_name("boot")
UNITS = ("tcpdiag-shipper", "tcpdiag-namespacer")
ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb", "LANG=C.UTF-8"]
PASSWD = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"


def install(folder):
    """What a package would hold, below this folder; of the release programs, which are what is installed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MODE")}
    subprocess.run(["make", "install", f"DESTDIR={folder}"], cwd=ROOT, env=environment, check=True, capture_output=True)


def cgroups():
    """Where cgroup v2 is mounted."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return pathlib.Path(line.split()[1])
    raise AssertionError("no cgroup v2 is mounted here")


class Booted:
    def __init__(self, folder, installed):
        self.folder, self.root = folder / "installed", folder / "root"
        self.cgroup = cgroups() / harness.unique("boot")
        self.namespaces, self.popen, self.init = [], None, None
        shutil.copytree(installed, self.folder)
        self.root.mkdir()
        self.write("/etc/passwd", PASSWD)
        self.write("/etc/group", GROUP)
        self.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        for name in ("ld.so.cache", "ld.so.conf", "nsswitch.conf"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"/etc/{name}", self.folder / "etc")

    def path(self, name):
        """A file of it, as this process can open it."""
        return pathlib.Path(f"/proc/{self.init}/root{name}") if self.init else self.folder / name.lstrip("/")

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def configure(self, *lines):
        self.write("/etc/tcpdiag/tcpdiag.conf", "\n".join(lines) + "\n")

    def drop_in(self, unit, *lines):
        """Settings that an administrator adds to a unit."""
        self.write(f"/etc/systemd/system/{unit}.service.d/test.conf", "\n".join(["[Service]", *lines]) + "\n")

    # --- its life ------------------------------------------------------------

    def boot(self):
        self.popen = subprocess.Popen([BOOT, self.folder, self.root, self.cgroup], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.init = wait_for(self.find_init, 20, "a systemd")
        wait_for(lambda: self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"), 60, "the end of its boot")

    def find_init(self):
        assert self.popen.poll() is None, self.popen.stdout.read().decode(errors="replace")
        for pid in harness.descendants(self.popen.pid):
            if harness.title(pid).startswith("/lib/systemd/systemd ") and harness.stat_of(pid)[1] == self.popen.pid:
                return pid
        return None

    def end(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.remove_cgroups)
            stack.callback(self.kill)
            while self.namespaces:
                stack.callback(self.namespaces.pop().release)

    def kill(self):
        """Its first process takes all the others with it."""
        if self.popen is None:
            return
        self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()
        wait_for(lambda: not self.cgroup.exists() or not self.populated(), 20, "the end of all of it")
        harness.reap(harness.children())

    def populated(self):
        return "populated 1" in (self.cgroup / "cgroup.events").read_text()

    def remove_cgroups(self):
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(folder)

    # --- inside --------------------------------------------------------------

    def run(self, *argv, check=True):
        done = subprocess.run(["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-p", "-C", *ENVIRONMENT, *map(str, argv)],
                              capture_output=True, text=True, errors="replace", check=False, timeout=120 * harness.PATIENCE)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def systemctl(self, *words, check=True):
        return self.run("systemctl", *words, check=check)

    def show(self, unit, name):
        return self.systemctl("show", "--value", "-p", name, unit).strip()

    def pid(self, unit):
        """Of a service's main process, as this process knows it; None where there is none."""
        inner = self.show(unit, "MainPID")
        for pid in harness.descendants(self.popen.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                own = re.search(r"^NSpid:.*\t(\d+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]
                if own == inner:
                    return pid
        return None

    def restarts(self, unit):
        """How often it was started again without being told to."""
        return int(self.show(unit, "NRestarts"))

    def journal(self, unit, *words):
        return self.run("journalctl", "-q", "--no-pager", "-o", "cat", "-u", unit, *words, check=False)

    def sections(self):
        """For a failing test: what the units say, and systemd of them."""
        for unit in UNITS if self.init else ():
            try:
                yield unit, self.journal(unit, "-n", "60")
            except (AssertionError, subprocess.SubprocessError, OSError) as error:
                yield unit, str(error)

    def namespace(self, name):
        """A network namespace with a name in it."""
        self.run("ip", "netns", "add", name)
        made = harness.Namespace(self.path(f"/run/netns/{name}"), name)
        made.run("ip", "link", "set", "lo", "up")
        self.namespaces.append(made)
        return made

