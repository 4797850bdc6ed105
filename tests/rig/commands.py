"""Run commands of this project as processes of their own that need not start Python first.

Realms are made by dozens of `kdc` commands, and three quarters of a command's time are the start of
Python and its imports. So a process that has imported them waits, and each command is a fork of it:
with its own environment, working folder, standard streams and exit code, and nothing of another
command's. How the commands start by themselves is seen wherever a server is started, and in
tests/kdc/cli/test_main.py.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from tests.rig import peers

_PROGRAMS = {"kdc": "kdc.cli.main", "tenant": "tenant.cli.main"}
_MAX_REQUEST = 100_000
_STREAMS = 3
_lock = threading.Lock()
_servers: dict[int, socket.socket] = {}
"""By the process that uses it: a fork of the tests must not share its parent's."""


def run(
    program: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: str = "",
    folder: Path = peers.ROOT,
    timeout_s: float,
) -> "subprocess.CompletedProcess[str]":
    """Do what `subprocess.run([sys.executable, "-m", program, *arguments])` does.

    program: kdc or tenant. Raises subprocess.TimeoutExpired, the command being killed then.
    """
    command = [sys.executable, "-m", program, *arguments]
    wanted = json.dumps([program, list(arguments), dict(environment), str(folder)]).encode()
    assert len(wanted) <= _MAX_REQUEST, "a command too long for the rig"
    with contextlib.ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(_STREAMS)]
        files[0].write(stdin.encode())
        files[0].seek(0)
        with _lock:
            handed = [theirs.fileno(), *(file.fileno() for file in files)]
            socket.send_fds(_server(), [wanted], handed)
        theirs.close()
        answers = stack.enter_context(ours.makefile())
        pid = int(answers.readline())
        ours.settimeout(timeout_s)
        try:
            code = int(answers.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout_s) from None
        out, err = (_text(file.fileno()) for file in files[1:])
    return subprocess.CompletedProcess(command, code, out, err)


def _text(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, encoding="utf-8", closefd=False) as file:
        return file.read()


def _server() -> socket.socket:
    """Return the way to this process' server; start it when it is asked for first."""
    found = _servers.get(os.getpid())
    if found is None:
        found, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            # It ends when this end of the pair is closed, and so with the tests.
            subprocess.Popen(
                [sys.executable, "-m", "tests.rig.commands", str(theirs.fileno())],
                cwd=peers.ROOT,
                env=peers.clean_environment({}),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        _servers[os.getpid()] = found
    return found


# -- the process that waits ----------------------------------------------------------------------


def _serve(control: socket.socket) -> Callable[[], None]:
    """Take requests until the tests are gone; return only in a new process, what it is to run."""
    while True:
        wanted, handed, _, _ = socket.recv_fds(control, _MAX_REQUEST, 1 + _STREAMS)
        if not wanted:
            sys.exit()
        if os.fork() == 0:
            control.close()
            return _command(json.loads(wanted), socket.socket(fileno=handed[0]), handed[1:])
        for descriptor in handed:
            os.close(descriptor)


def _command(
    wanted: tuple[str, list[str], dict[str, str], str],
    answers: socket.socket,
    streams: Sequence[int],
) -> Callable[[], None]:
    """Fork once more: the child becomes the command, this process tells how it ended."""
    program, arguments, environment, folder = wanted
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        _report(pid, answers)
    answers.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    sys.argv = [program, *arguments]
    main: Callable[[], None] = importlib.import_module(_PROGRAMS[program]).main
    return partial(_ended, main)


def _ended(main: Callable[[], None]) -> NoReturn:
    """Run a command and end as Python would, but without taking apart what was imported."""
    code: object = None
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  as Python's own last resort
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _report(pid: int, answers: socket.socket) -> NoReturn:
    with contextlib.suppress(BrokenPipeError):  # nobody waits any more
        answers.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        answers.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _prepare() -> None:
    """Import what commands would import, so that none of them has to."""
    for name in _PROGRAMS.values():
        for module, _ in importlib.import_module(name).NOUNS.values():
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, "a fork would lose the other threads"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _prepare()
    _serve(socket.socket(fileno=int(sys.argv[1])))()
