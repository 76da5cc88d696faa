"""The system call policies: what each compiles to, by a reading of the same files that shares nothing with libseccomp.

The policy files are read as text, the numbers of calls come from the kernel's headers, and the compiled programs run in an
interpreter: for every number, for other ABIs, and for arguments around each value that a rule names. Then the same rules are
tried on the running kernel, allowed and altered.
"""

import functools
import os
import pathlib
import platform
import re
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILTER = pathlib.Path(os.environ["TCPDIAG_BIN"]) / "tests" / "filter"
SANITIZED = os.environ["TCPDIAG_MODE"] == "asan"

LEVELS = {"collector": ("strict", "robust", "log"), "namespacer": ("robust", "log"), "shipper": ("robust", "log")}
EVERY = [(policy, level) for policy, levels in LEVELS.items() for level in levels]
# linux/audit.h
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
OTHERS = {"i386": 0x40000003, "arm": 0x40000028, "riscv64": 0xC00000F3, "s390x": 0x80000016, "none": 0}
# The headers of either architecture, and what asm/unistd.h of the second defines before it.
HEADERS = {
    "x86_64": ("asm/unistd_64.h", []),
    "aarch64": ("asm-generic/unistd.h", ["-D__ARCH_WANT_RENAMEAT", "-D__ARCH_WANT_NEW_STAT", "-D__ARCH_WANT_SET_GET_RLIMIT",
                                         "-D__ARCH_WANT_SYS_CLONE3", "-D__ARCH_WANT_MEMFD_SECRET", "-D__BITS_PER_LONG=64"]),
}
X32 = 0x40000000
BITS = 1 << 64
# linux/seccomp.h
ALLOW, LOG, TRAP, ENOSYS = 0x7FFF0000, 0x7FFC0000, 0x00030000, 0x00050000 | 38
EXIT_SANDBOX = 80


# --- the policy files ----------------------------------------------------------

class Rule:
    def __init__(self, verdict, call, reason="", conditions=()):
        self.verdict, self.call, self.reason, self.conditions = verdict, call, reason, conditions

    def holds(self, arguments):
        return all(condition.holds(arguments) for condition in self.conditions)


class Condition:
    def __init__(self, test, argument, value=None, other=None):
        self.test, self.argument = test, int(argument)
        if test == "ZERO":
            self.good = [0]
        elif test == "ONE_OF":
            first, count, self.stride = (values()[name] for name in (value, f"{value}S", value.replace("MESSAGE", "STRIDE")))
            self.good = [first + i * self.stride for i in range(count)]
        elif test == "NO_BIT_OF":
            # What clone(2) takes for no good reason: to share handlers without memory.
            self.mask, self.good = int(value, 0), [0x800]
        elif test in ("IS_NUMBER", "EITHER"):
            self.good = [int(word, 0) for word in (value, other) if word]
        else:
            self.good = [values()[value]] if test == "IS" else list(range(values()[value] + 1))

    def holds(self, arguments):
        return arguments[self.argument] & self.mask == 0 if self.test == "NO_BIT_OF" else arguments[self.argument] in self.good

    def near(self):
        """Values that hold and values that do not, right beside them; among the latter some of which the lower half would hold."""
        last = self.good[-1]
        if self.test == "NO_BIT_OF":
            return [last, last | 1 << 32, last | self.mask, *(last | 1 << bit for bit in range(64) if self.mask >> bit & 1)]
        bad = [last + 1, self.good[0] - 1, last + (1 << 32), last | 1 << 63, BITS - 1]
        if self.test == "EITHER":
            bad += range(last)
        if self.test == "ONE_OF":
            bad += [self.good[0] - self.stride, last + self.stride, last - (1 << 32), last % (1 << 32)]
            bad += [good + step for good in self.good for step in (1, 4, 8, self.stride // 2, self.stride - 1)]
        return self.good + [value % BITS for value in bad if value % BITS not in self.good]


@functools.cache
def values():
    lines = subprocess.run([FILTER, "values"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: int(number) for name, number in map(str.split, lines)}


def text_of(name):
    """A policy with those that it includes, without comments, and without what is for sanitizers only unless they are there."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "seccomp" / name).read_text(), flags=re.DOTALL)
    if not SANITIZED:
        text = re.sub(r"^#ifdef SANDBOX_SANITIZER$.*?^#endif$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^#(ifdef SANDBOX_SANITIZER|endif)$", "", text, flags=re.MULTILINE)
    return re.sub(r'^#include "seccomp/(.+)"$', lambda found: text_of(found[1]), text, flags=re.MULTILINE)


def read_rules(policy):
    """Every rule, in order; whatever is no rule is an error."""
    left = text_of(f"{policy}.policy").strip()
    while left:
        found = re.match(r'(ALLOW|ALLOW_RARE|ALLOW_IF|ALLOW_INSTEAD|NEVER|ABSENT)\((\w+)(?:, "([^"]*)")?((?:,\s*\w+\([^()]*\))*)\)\s*', left)
        assert found, f"{policy}.policy: what is this? {left[:60]!r}"
        conditions = [Condition(test, *re.split(r",\s*", words)) for test, words in re.findall(r"(\w+)\(([^()]*)\)", found[4])]
        yield Rule(found[1], found[2], found[3] or "", conditions)
        left = left[found.end():]


@functools.cache
def rules(policy):
    found = {}
    for rule in read_rules(policy):
        if rule.verdict != "ALLOW_INSTEAD":
            assert rule.call not in found, f"{policy}.policy: {rule.call} stands in it twice"
        found[rule.call] = rule
    return found


@functools.cache
def numbers(machine):
    """Name → number, by the headers of the kernel."""
    header, defines = HEADERS[machine]
    place = [] if machine == "aarch64" else ["-I/usr/include/x86_64-linux-gnu"]
    printed = subprocess.run(["gcc", "-E", "-dM", *defines, *place, "-include", header, "-x", "c", "/dev/null"],
                             capture_output=True, text=True, check=True).stdout
    defined = dict(re.findall(r"^#define (__NR\w+) (\w+)$", printed, re.MULTILINE))
    found = {}
    for name, number in defined.items():
        while number in defined:
            number = defined[number]
        if name.startswith("__NR_") and number.isdigit() and name not in ("__NR_syscalls", "__NR_arch_specific_syscall"):
            found[name[len("__NR_"):]] = int(number)
    assert len(found) > 290, machine
    return found


@functools.cache
def names(machine):
    return {number: name for name, number in numbers(machine).items()}


def unlisted(policy, level):
    if level == "log" and policy == "collector":
        return LOG
    return ENOSYS if level == "strict" else ALLOW


def expected(policy, level, machine, architecture, number, arguments):
    """What the policy says, in the words of sandbox.h."""
    refused = LOG if level == "log" else TRAP
    if architecture != ARCHITECTURES[machine] or (machine == "x86_64" and X32 <= number < 0xFFFFFFFF):
        return refused
    rule = rules(policy).get(names(machine).get(number))
    if rule is None:
        return unlisted(policy, level)
    if rule.verdict == "ABSENT":
        return LOG if level == "log" else ENOSYS
    return ALLOW if rule.verdict != "NEVER" and rule.holds(arguments) else refused


# --- the interpreter -------------------------------------------------------------

LD_ABS, ALU_AND, RET, JA, JEQ, JGT, JGE, JSET = 0x20, 0x54, 0x06, 0x05, 0x15, 0x25, 0x35, 0x45
COMPARE = {JEQ: int.__eq__, JGT: int.__gt__, JGE: int.__ge__, JSET: int.__and__}


def interpret(program, architecture, number, arguments):
    """The instructions of classic BPF that the kernel's seccomp_check_filter takes and compilers of filters use."""
    data = struct.pack("<IIQ6Q", number, architecture, 0x400000, *arguments)
    at = accumulator = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == LD_ABS:
            assert k % 4 == 0 and k < len(data)
            accumulator = int.from_bytes(data[k:k + 4], "little")
        elif code in COMPARE:
            at += if_true if COMPARE[code](accumulator, k) else if_false
        elif code == JA:
            at += k
        elif code == ALU_AND:
            accumulator &= k
        elif code == RET:
            return k
        else:
            raise AssertionError(f"instruction {at - 1}: code {code:#x}")


@functools.cache
def compiled(policy, level, machine):
    printed = subprocess.run([FILTER, "show", policy, level, machine], capture_output=True, text=True, check=True).stdout
    return [tuple(map(int, line.split())) for line in printed.splitlines()]


def test_interpreter():
    """A program by hand: x86-64 only; write to 1 or 2 only; getpid; bit 1 of ioctl's second argument."""
    program = [(LD_ABS, 0, 0, 4), (JEQ, 1, 0, 0xC000003E), (RET, 0, 0, 1), (LD_ABS, 0, 0, 0), (JEQ, 0, 4, 1),
               (LD_ABS, 0, 0, 16), (JGT, 1, 0, 2), (RET, 0, 0, 2), (RET, 0, 0, 3), (JEQ, 0, 1, 39), (RET, 0, 0, 4),
               (LD_ABS, 0, 0, 24), (ALU_AND, 0, 0, 6), (JSET, 0, 2, 2), (JA, 0, 0, 0), (RET, 0, 0, 5), (RET, 0, 0, 6)]
    cases = [(0, 1, (1,), 1), (0xC000003E, 1, (2,), 2), (0xC000003E, 1, (3,), 3), (0xC000003E, 39, (), 4),
             (0xC000003E, 16, (0, 2), 5), (0xC000003E, 16, (0, 8), 6), (0xC000003E, 16, (0, 0xF3), 5)]
    for architecture, number, arguments, answer in cases:
        padded = (*arguments, *[0] * (6 - len(arguments)))
        assert interpret(program, architecture, number, padded) == answer, (number, arguments)


# --- verdict tables ------------------------------------------------------------------

def tries(rule):
    """Argument lists: all conditions as they must be but one, which takes every value near it; and garbage around them."""
    if rule is None or not rule.conditions:
        return [(0,) * 6, (BITS - 1,) * 6]
    found = []
    for odd in rule.conditions:
        for value in odd.near():
            for garbage in (0, BITS - 1, 0x5555555500000003):
                arguments = [garbage] * 6
                for condition in rule.conditions:
                    arguments[condition.argument] = condition.good[-1]
                arguments[odd.argument] = value
                found.append(tuple(arguments))
    return found


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("policy, level", EVERY)
def test_verdict_of_every_call(policy, level, machine):
    program = compiled(policy, level, machine)
    own = ARCHITECTURES[machine]

    def check(architecture, number, arguments):
        got, wanted = interpret(program, architecture, number, arguments), expected(policy, level, machine, architecture, number, arguments)
        assert got == wanted, (f"{names(machine).get(number, number)}{tuple(map(hex, arguments))} of {architecture:#x}: "
                               f"{got:#x} instead of {wanted:#x}")

    for number in [*range(601), 0x3FFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]:
        for arguments in tries(rules(policy).get(names(machine).get(number))):
            check(own, number, arguments)
    for number in range(601):
        check(own, number | X32, (0,) * 6)
        for other in [*OTHERS.values(), *set(ARCHITECTURES.values()) - {own}]:
            check(other, number, (0,) * 6)


@pytest.mark.parametrize("policy, level", EVERY)
def test_program_is_short(policy, level):
    """The kernel walks it for each call of a collector, and takes 4096 instructions at most."""
    assert 50 < len(compiled(policy, level, "x86_64")) < 400


# --- the files themselves ---------------------------------------------------------------

@pytest.mark.parametrize("policy", LEVELS)
def test_every_name_is_a_call(policy):
    known = numbers("x86_64").keys() | numbers("aarch64").keys()
    assert sorted(rules(policy).keys() - known) == []


@pytest.mark.parametrize("policy", LEVELS)
def test_every_allowed_call_says_why(policy):
    wordless = [rule.call for rule in rules(policy).values() if rule.verdict in ("ALLOW", "ALLOW_RARE", "ALLOW_IF") and not rule.reason]
    assert SANITIZED or wordless == []


@pytest.mark.parametrize("policy", LEVELS)
def test_no_rule_is_without_effect(policy):
    """Without it, some call on some machine would have another end at some level; and so without any of its conditions."""
    def changes(rule, changed):
        """changed(arguments): the verdict as it would be, None for that of a call without a rule."""
        for machine in ARCHITECTURES:
            number = numbers(machine).get(rule.call)
            for level in LEVELS[policy] if number is not None else ():
                for arguments in tries(rule):
                    would_be = changed(arguments)
                    now = expected(policy, level, machine, ARCHITECTURES[machine], number, arguments)
                    if now != (unlisted(policy, level) if would_be is None else would_be):
                        return True
        return False

    for rule in rules(policy).values():
        assert rule.verdict == "ALLOW_INSTEAD" or changes(rule, lambda _: None), f"{rule.call}: it would be the same without"
        for odd in rule.conditions:
            others = Rule(rule.verdict, rule.call, "", [c for c in rule.conditions if c is not odd])
            assert changes(rule, lambda arguments, others=others: ALLOW if others.holds(arguments) else TRAP), \
                f"{rule.call}: {odd.test} of argument {odd.argument} does nothing"


def test_collectors_cannot_reach_one_another_at_any_level():
    """They have the same user, and at the robust level, too, none may touch another one."""
    for level in ("strict", "robust"):
        for call in ("kill", "tgkill", "pidfd_send_signal", "ptrace", "prlimit64", "process_vm_readv", "process_vm_writev", "sched_setaffinity"):
            number = numbers("x86_64")[call]
            assert interpret(compiled("collector", level, "x86_64"), ARCHITECTURES["x86_64"], number, (0,) * 6) == TRAP, call


# --- the running kernel ---------------------------------------------------------------------

def probe(policy, level, calls):
    """How each (number, arguments) ends in a process with that filter: (words, exit status)."""
    lines = "".join(f"{number} {' '.join(map(str, arguments))}\n" for number, arguments in calls)
    printed = subprocess.run([FILTER, "probe", policy, level], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(printed) == len(calls)
    for line in printed:
        *words, status = line.split()
        yield words, int(status)


def check_probe(call, number, wanted, words, status):
    if wanted in (ALLOW, LOG):
        # exit_group does not return.
        assert (words[0], status) == ("ended" if call == "exit_group" else "returned", words[0] == "ended" and 255 or 0), call
        assert words[2:] != ["38"], f"{call} does not exist"
    elif wanted == ENOSYS:
        assert (words, status) == (["returned", "-1", "38"], 0), call
    else:
        assert (words, status) == (["refused", str(number)], EXIT_SANDBOX), call


@pytest.mark.parametrize("policy, level", EVERY)
def test_every_rule_on_this_kernel(policy, level):
    """Allowed and altered. The arguments of calls are such that they fail; at level log, calls that are refused elsewhere are left out."""
    machine = platform.machine()
    calls, wanted = [], []
    for rule in [*rules(policy).values(), *(Rule("", name) for name in ("getppid", "getcwd", "recvmsg", "uname"))]:
        number = numbers(machine).get(rule.call)
        if number is None or (level == "log" and rule.verdict == "NEVER") or (SANITIZED and rule.verdict in ("ALLOW", "ALLOW_INSTEAD")):
            continue
        several = tries(rule)[::3] if rule.conditions else [(BITS - 1,) * 6]
        calls += [(number, arguments) for arguments in several]
        wanted += [(rule.call, number, expected(policy, level, machine, ARCHITECTURES[machine], number, arguments)) for arguments in several]
    assert len(calls) >= 4
    for (call, number, verdict), (words, status) in zip(wanted, probe(policy, level, calls), strict=True):
        check_probe(call, number, verdict, words, status)
