"""A server in a folder of its own: started, waited for, signalled, ended; by a test, or by a person who goes on with other things."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from fetching import Failed


def free_ports(count):
    """Ports that nobody has now; all are held until all are known."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def accepts(port):
    """Raises OSError if it does not."""
    socket.create_connection(("127.0.0.1", port), 1).close()


class ServerProcess:
    """start() is the server's own, and ends in launch(); its data outlive a kill and a new start."""

    TITLE = "the server"
    START_TIME = 60  # s; on a quiet machine three at the most

    def __init__(self, folder):
        self.folder, self.process = pathlib.Path(folder).absolute(), None
        self.log = self.folder / "server.log"

    def start(self):
        raise NotImplementedError

    def ask(self):
        """Raises OSError, or returns false, as long as it does not answer."""
        raise NotImplementedError

    def launch(self, argv, **more):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more)
        self.wait()

    def answers(self):
        with contextlib.suppress(OSError):
            return self.ask() is not False
        return False

    def wait(self):
        end = time.monotonic() + self.START_TIME
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(f"{self.TITLE} did not start; the end of {self.log}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)  # between two looks

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL)


# --- for people ------------------------------------------------------------------

def up(server, target):
    """Starts it, to be ended by `make TARGET`."""
    pid_file = server.folder / "pid"
    if pid_file.exists():
        raise Failed(f"one is up already (pid {pid_file.read_text()}): make {target}")
    server.folder.mkdir(parents=True, exist_ok=True)
    server.start()
    pid_file.write_text(str(server.process.pid))


def down(folder):
    pid_file = folder / "pid"
    if not pid_file.exists():
        raise Failed("none is up")
    with contextlib.suppress(ProcessLookupError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        while pathlib.Path(f"/proc/{pid}").exists():
            time.sleep(0.05)  # between two looks
    shutil.rmtree(folder)


def program(name, main):
    """main(words), whose failure is one line."""
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as why:
        sys.exit(f"{name}: {why}")
