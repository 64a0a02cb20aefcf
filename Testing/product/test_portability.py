"""Linux, macOS and Windows: no call that one of them lacks without a fallback, and no name one of them refuses."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for folder in ("braindiffusion", "tools", "bench", *(p.name for p in ROOT.glob("Brain*") if p.is_dir()))
    for path in (ROOT / folder).rglob("*.py")
)
MODULES = {
    "fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "posix", "syslog", "crypt", "readline", "curses",
    "multiprocessing", "msvcrt", "winreg", "_winapi",
}  # fmt: skip
"""Not everywhere; ``multiprocessing`` would start a second Slicer on Windows and macOS."""
CALLS = {
    "os": {
        "fork", "forkpty", "killpg", "kill", "setsid", "setpgrp", "getpgid", "getuid", "geteuid", "getgid", "nice",
        "sysconf", "getpagesize", "sched_getaffinity", "sched_setaffinity", "getloadavg", "statvfs", "mkfifo", "sync",
        "chown", "lchown", "symlink", "link", "wait", "waitpid", "O_DIRECTORY", "startfile", "fchmod", "pread",
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "alarm", "setitimer", "pause"},
    "resource": {"getpagesize", "getrusage", "setrlimit"},
    "select": {"select", "poll", "epoll", "kqueue"},  # of pipes, Windows has none
    "time": {"tzset", "clock_gettime"},
    "socket": {"AF_UNIX", "socketpair", "SO_REUSEPORT"},
    "ctypes": {"CDLL", "windll"},
    "subprocess": {"CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP"},
    "loop": {"add_signal_handler"},
}  # fmt: skip
NEVER = {("os", "rename"): "os.replace also replaces on Windows", ("tempfile", "mktemp"): "mkstemp is safe"}
PATHS = re.compile(r"^/(tmp|dev|proc|usr|etc|var|home)(/|$)")
DIRECTIVES = re.compile(r"%(-[dmHMSjIy]|s|k|l|P)")
CATCHES = {"ImportError", "AttributeError", "OSError", "NotImplementedError", "Exception", "ValueError"}
CHECKS = re.compile(r"os\.name|sys\.platform|platform\.system|hasattr|getattr")


def caught(names: ast.expr | None) -> bool:
    """Whether an ``except`` or ``suppress`` of these would take the error of a missing call."""
    return names is None or any(isinstance(n, ast.Name) and n.id in CATCHES for n in ast.walk(names))


def guards(node: ast.AST) -> bool:
    """Whether what is inside this node has a way out where the system lacks it."""
    if isinstance(node, (ast.If, ast.IfExp, ast.BoolOp)):
        return bool(CHECKS.search(ast.unparse(node.test if not isinstance(node, ast.BoolOp) else node)))
    if isinstance(node, ast.Try):
        return any(caught(handler.type) for handler in node.handlers)
    if isinstance(node, ast.With):
        return any("suppress" in ast.unparse(item.context_expr) and caught(item.context_expr) for item in node.items)
    return False


def left_before(around: list[ast.AST], node: ast.AST) -> bool:
    """Whether a function asks the system first, and returns where this is not to be reached."""
    for parent, child in pairwise([*around, node]):
        body = getattr(parent, "body", None)
        for earlier in body[: body.index(child)] if isinstance(body, list) and child in body else []:
            asks = isinstance(earlier, ast.If) and guards(earlier)
            if asks and isinstance(earlier.body[-1], (ast.Return, ast.Raise)):
                return True
    return False


def with_parents(tree: ast.Module) -> Iterator[tuple[ast.AST, list[ast.AST]]]:
    """Every node, and the nodes around it."""
    stack: list[tuple[ast.AST, list[ast.AST]]] = [(tree, [])]
    while stack:
        node, around = stack.pop()
        yield node, around
        stack += [(child, [*around, node]) for child in ast.iter_child_nodes(node)]


def without_encoding(node: ast.AST) -> bool:
    """Whether text is read or written in whatever encoding the system has (cp1252 on many Windows)."""
    if not isinstance(node, ast.Call):
        return False
    words = {keyword.arg: keyword.value for keyword in node.keywords}
    if "encoding" in words:
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if name == "read_text":
        return not node.args
    if name == "write_text":
        return len(node.args) < 2
    if owner == "subprocess":
        return "text" in words or "universal_newlines" in words
    if None in words:
        return False
    if name != "open" or owner in ("os", "webbrowser", "tarfile", "Image") or owner.endswith("logic"):
        return False
    where = 0 if owner else 1
    mode = words.get("mode") or (node.args[where] if len(node.args) > where else None)
    if mode is None:
        return not owner or not node.args  # ``thing.open(path)`` opens no text
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" not in mode.value


def problems(text: str) -> list[str]:
    """What a source file does that some system cannot, one ``line: what`` each."""
    found = []
    for node, around in with_parents(ast.parse(text)):
        what = None
        if isinstance(node, ast.Import) and (names := {a.name.split(".")[0] for a in node.names} & MODULES):
            what = f"import {', '.join(sorted(names))}"
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in MODULES:
            what = f"from {node.module}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            if pair in NEVER:
                found.append(f"{node.lineno}: {'.'.join(pair)} ({NEVER[pair]})")
            elif pair[1] in CALLS.get(pair[0], ()):
                what = ".".join(pair)
        elif isinstance(node, ast.Call) and any(k.arg == "preexec_fn" for k in node.keywords):
            what = "preexec_fn"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if PATHS.match(node.value):
                what = repr(node.value)
            elif DIRECTIVES.search(node.value) and "strftime" in ast.unparse(around[-1]):
                what = f"strftime {node.value!r}"
        if what and not (any(map(guards, around)) or left_before(around, node)):
            found.append(f"{node.lineno}: {what}")
        if without_encoding(node):
            found.append(f"{node.lineno}: text without an encoding")
    return found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("import os\nos.fork()", 1),
        ("import os\nif hasattr(os, 'fork'):\n    os.fork()", 0),
        ("import os\nn = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else 1", 0),
        ("try:\n    import resource\nexcept ImportError:\n    resource = None", 0),
        ("try:\n    import resource\nexcept KeyError:\n    pass", 1),
        ("import multiprocessing", 1),
        ("def f():\n    if os.name == 'nt':\n        return\n    import fcntl", 0),
        ("def f():\n    if os.name == 'nt':\n        a = 1\n    import fcntl", 1),
        ("with suppress(OSError, ImportError):\n    import fcntl", 0),
        ("os.rename(a, b)", 1),
        ("try:\n    os.rename(a, b)\nexcept OSError:\n    pass", 1),
        ("folder = '/tmp/x'", 1),
        ("day.strftime('%-d')", 1),
        ("path.read_text()", 1),
        ("path.read_text(encoding='utf-8')", 0),
        ("path.open('w', newline='')", 1),
        ("path.open('rb')", 0),
        ("open(path)", 1),
        ("logic.open(path)", 0),
        ("subprocess.run(a, text=True)", 1),
    ],
)
def test_the_rules_find_what_they_should(text: str, count: int) -> None:
    assert len(problems(text)) == count


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_used_that_some_system_lacks(path: Path) -> None:
    assert not problems(path.read_text(encoding="utf-8"))


def test_every_name_can_be_checked_out_everywhere() -> None:
    """Windows refuses some characters and names; there and on macOS upper and lower case are one."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    names = done.stdout.decode().rstrip("\0").split("\0")
    parts = [part for name in names for part in name.split("/")]
    reserved = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)
    assert not [part for part in parts if re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', part) or reserved.fullmatch(part)]
    assert len({name.casefold() for name in names}) == len(names)
    assert max(map(len, names)) < 160  # of Windows' 260, the rest is the user's
