"""reuse_pid BIN SOCKET FOLDER: as PID 1 of a pid namespace, gives one number to three processes in turn.

Each is in a network namespace of its own and listens on a port of its own.
tcpdiag reads all of it into FOLDER/out.jsonl.  Says on stdout, as JSON, which
number, inodes and ports there were.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

# It holds until it is killed.
HOLD = ("import socket, subprocess, sys, time; subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True); "
        "s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('ready', flush=True); time.sleep(1000)")


def wait_for(condition, what):
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"not within 60 s: {what}")
        time.sleep(0.01)  # between two looks: nothing tells of what is waited for


def start(number, port):
    """A holder that has this number, or None when somebody else was faster."""
    pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
    holder = subprocess.Popen(["unshare", "--net", sys.executable, "-c", HOLD, str(port)], stdout=subprocess.PIPE)
    if holder.pid != number or holder.stdout.readline() != b"ready\n":
        holder.kill()
        holder.wait()
        return None
    return holder


def listens(file, port):
    return f'"inet_diag_msg_socket_source_port":{port},' in (file.read_text() if file.exists() else "")


def main():
    programs, socket, folder = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    out, said = folder / "out.jsonl", {"pids": [], "inodes": [], "ports": []}
    daemon = subprocess.Popen([programs / "tcpdiag", "run", "--socket", socket, "--netns", "netns:*", "--interval", "100ms",
                               "--format", "jsonl", "--sink", f"file:{out}", "--batch-age", "50ms"])
    number = 5000
    for port in (7001, 7002, 7003):
        holder = None
        while holder is None:
            holder = start(number, port)
        said["pids"].append(holder.pid)
        said["inodes"].append(os.stat(f"/proc/{number}/ns/net").st_ino)
        said["ports"].append(port)
        wait_for(lambda: listens(out, port), f"a record of port {port}")
        holder.kill()
        holder.wait()
    daemon.send_signal(signal.SIGTERM)
    daemon.wait()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
