"""Runs cmocka programs and pytest folders, shows what failed, and ends with one line: N passed, N failed.

A skipped test counts as failed: nobody has seen it pass.  As many run at once as there are CPUs, but for those that see the whole host.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

PROGRAM_TIMEOUT = 300
JOBS = len(os.sched_getaffinity(0))
WHOLE_HOST = "tests/system"    # its tests find one another's namespaces, and wait for the same disk
TAP_RESULT = re.compile(r"^(not )?ok \d+ (?:- |# SKIP )(.*)$")
TAP_PLAN = re.compile(r"^1\.\.(\d+)$", re.MULTILINE)


class Books:
    def __init__(self):
        self.passed = 0
        self.failed = []

    def fail(self, name, why):
        self.failed.append(name)
        print(f"FAILED {name}\n{why.rstrip()}\n", flush=True)


def read_tap(books, program, output):
    """Counts the results of one program; the number that it announced and did not give has failed."""
    planned = sum(int(n) for n in TAP_PLAN.findall(output))
    seen = 0
    for line in output.splitlines():
        result = TAP_RESULT.match(line)
        if not result:
            continue
        seen += 1
        if result[1] or "# SKIP" in line:
            books.failed.append(f"{program}: {result[2]}")
        else:
            books.passed += 1
    for _ in range(planned - seen):
        books.failed.append(f"{program}: a test that gave no result")
    return planned


def run_program(path, under):
    """What it wrote, and its exit status."""
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    try:
        done = subprocess.run([*under.split(), path], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=PROGRAM_TIMEOUT, errors="replace", check=False)
        return done.stdout, done.returncode
    except subprocess.TimeoutExpired as timeout:
        return (timeout.stdout or b"").decode(errors="replace"), f"none after {PROGRAM_TIMEOUT} s"


def account_program(books, path, output, status):
    name = pathlib.Path(path).name
    before = len(books.failed)
    planned = read_tap(books, name, output)
    if len(books.failed) == before and (status != 0 or planned == 0):
        books.failed.append(f"{name}: exit status {status}, {planned} tests")
    if len(books.failed) > before:
        print(f"FAILED {name} (exit status {status})\n{output.rstrip()}\n", flush=True)


def run_pytest(books, folders, jobs, arguments, junit):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-ra", "--tb=short", f"--junitxml={junit}",
               "--timeout=300", f"--numprocesses={jobs}", "--dist=loadfile", *arguments, *folders]
    status = subprocess.run(command, check=False).returncode
    counted = 0
    if junit.exists():
        for case in xml.etree.ElementTree.parse(junit).iter("testcase"):
            counted += 1
            name = f"{case.get('classname')}.{case.get('name')}"
            if any(case.find(kind) is not None for kind in ("failure", "error", "skipped")):
                books.failed.append(name)
            else:
                books.passed += 1
    # 5: no test was there, which is right when only others were asked for.
    if status not in (0, 1, 5) or (status != 5 and counted == 0):
        books.failed.append(f"pytest: exit status {status}, {counted} tests")


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--under", help="what programs are run by, with its options: for those of another machine", default="")
    parser.add_argument("--only", help="a part of the name of what is to be run")
    parser.add_argument("what", nargs="*", help="programs and folders")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    books = Books()
    shutil.rmtree(arguments.results, ignore_errors=True)
    arguments.results.mkdir(parents=True)
    folders = [w for w in arguments.what if os.path.isdir(w)]
    programs = [w for w in arguments.what if not os.path.isdir(w)]
    if arguments.only:
        programs = [p for p in programs if arguments.only in pathlib.Path(p).name]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for program, ended in zip(programs, pool.map(lambda program: run_program(program, arguments.under), programs)):
            account_program(books, program, *ended)
    for name, jobs, those in (("pytest", JOBS, [f for f in folders if f != WHOLE_HOST]), ("system", 0, [f for f in folders if f == WHOLE_HOST])):
        if those:
            run_pytest(books, those, jobs, ["-k", arguments.only] if arguments.only else [], arguments.results / f"{name}.xml")
    for name in books.failed:
        print(f"FAILED {name}")
    print(f"{books.passed} passed, {len(books.failed)} failed", flush=True)
    return 1 if books.failed or not books.passed else 0


if __name__ == "__main__":
    sys.exit(main())
