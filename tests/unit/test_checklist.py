"""The attacker's checklist names tests that exist, and misses none."""
import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in (ROOT / "tests/hostile/checklist.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| What is tried", "| ---"))]
REFERENCE = re.compile(r"`(tests/[\w/.]+)::(\w+)(?:\[([\w-]+)\])?`")
# A test that has one attack for each name in a table: where the table is.
TABLES = {
    ("tests/system/test_hostile.py", "test_attack"): ("tests/hostile/fake_namespacer.c", "attacks[] = {", r'^\t\{ "([a-z0-9-]+)",'),
    ("tests/system/test_hostile_shipper.py", "test_shipper"): ("tests/hostile/fake_shipper.py", "ATTACKS = {", r'^    "([a-z-]+)": '),
    ("tests/system/test_hostile_collector.py", "test_what_a_collector_says"): ("tests/system/test_hostile_collector.py", "ATTACKS = {", r'^    "([a-z-]+)": '),
    ("tests/system/test_hostile_host.py", "test_what_is_no_namespace"): ("tests/system/test_hostile_host.py", "TRICKS = {", r'^    "([a-z-]+)": '),
}
HOSTILE = [*(ROOT / "tests" / "hostile").glob("test_*.py"), *(ROOT / "tests" / "system").glob("test_hostile*.py")]


def functions(path):
    text = (ROOT / path).read_text()
    if path.endswith(".py"):
        return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    return set(re.findall(r"^(\w+)\(", text, re.M))


def attacks(file, start, pattern):
    table = re.split(r"^\}", (ROOT / file).read_text().split(start)[1], maxsplit=1, flags=re.M)[0]
    return set(re.findall(pattern, table, re.M))


def references():
    return [REFERENCE.fullmatch(row[2]).groups() for row in ROWS]


def test_each_row_says_what_is_tried_what_must_happen_and_where():
    assert len(ROWS) > 100
    for row in ROWS:
        assert len(row) == 3 and all(row) and REFERENCE.fullmatch(row[2]), row
    tried = [tuple(row) for row in ROWS]
    assert len(tried) == len(set(tried))


def test_each_row_has_its_test():
    for path, name, parameter in references():
        assert name in functions(path), (path, name)
        if (path, name) in TABLES:
            assert parameter in attacks(*TABLES[path, name]), (name, parameter)
        else:
            assert parameter is None, (name, parameter)


def test_each_hostile_test_has_its_row():
    named = {(path, name) for path, name, _ in references()}
    there = {(path.relative_to(ROOT).as_posix(), name) for path in HOSTILE for name in functions(path.relative_to(ROOT).as_posix())
             if name.startswith("test_")}
    assert there <= named, there - named


def test_each_attack_has_its_row():
    for (path, name), table in TABLES.items():
        rows = [parameter for where, test, parameter in references() if (where, test) == (path, name)]
        assert sorted(rows) == sorted(attacks(*table)), name
        assert len(rows) > 10


def test_each_unit_test_that_is_named_is_run():
    """A C function that no list of tests has would never be."""
    for path, name, _ in references():
        if path.startswith("tests/unit/") and path.endswith(".c"):
            assert re.search(rf"cmocka_unit_test\w*\({name}\b", (ROOT / path).read_text()), (path, name)
