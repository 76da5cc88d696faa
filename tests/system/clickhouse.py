#!/usr/bin/env python3
"""ClickHouse's engine (chdb) in a process of its own: it has one database a process, and threads that outlive a test.

As a program: FOLDER; a JSON string with a statement a line, answered by a line {"rows": [...]} or {"error": "..."}.
"""
import json
import re
import subprocess
import sys

# Only the embedded engine says so: the table is there and works.
HARMLESS = "Shutdown was called"


class ClickHouse:
    def __init__(self, folder):
        self.popen = subprocess.Popen([sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()

    def query(self, sql):
        """The rows as dicts."""
        self.popen.stdin.write(json.dumps(sql) + "\n")
        self.popen.stdin.flush()
        answer = json.loads(self.popen.stdout.readline())
        assert "error" not in answer, f"{answer['error']}\n{sql[:400]}"
        return answer["rows"]

    def run(self, script):
        """Statements with semicolons at the ends of lines."""
        for statement in re.sub(r"^--.*\n", "", script, flags=re.MULTILINE).split(";\n"):
            if statement.strip():
                self.query(statement)


def serve(folder):
    from chdb import session  # hundreds of megabytes
    database = session.Session(folder)
    for line in sys.stdin:
        try:
            text = database.query(json.loads(line), "JSONEachRow").bytes().decode()
            answer = {"rows": [json.loads(row) for row in text.splitlines()]}
        except Exception as why:  # chdb's own classes differ between versions
            answer = {"rows": []} if HARMLESS in str(why) else {"error": str(why)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
