# SPDX-License-Identifier: MIT
"""The tests' hands: hyco's three roles as processes with ports of the kernel's
choice, and small TCP servers to tunnel to. Tests wait on conditions (a line in
a log, a byte on a socket), never on sleeps."""

import atexit
import functools
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tools.link import Link, link_binary

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60  # seconds until a condition counts as never coming true


def wait_until(condition, what, seconds=PATIENCE):
    """Looks until condition() gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        pause.wait(0.01)


@functools.cache
def state_home():
    folder = tempfile.mkdtemp(prefix="hyco-state-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Process:
    """A program under test; its lines are kept as they come."""

    def __init__(self, argv, name=None, env=None, stdin=subprocess.DEVNULL,
                 cwd=None, preexec=None):
        self.argv = [str(a) for a in argv]
        self.name = name or os.path.basename(self.argv[0])
        self.lines = []
        self.changed = threading.Condition()
        full = dict(os.environ)
        for variable in list(full):
            if variable.startswith("HYCO_") or variable.lower().endswith("_proxy"):
                del full[variable]
        # What hyco remembers is this run's own.
        full["XDG_STATE_HOME"] = state_home()
        full.update(env or {})
        self.process = subprocess.Popen(
            self.argv, stdin=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=full, cwd=cwd, preexec_fn=preexec)
        self.readers = [
            threading.Thread(target=self._read, args=(pipe, kind), daemon=True)
            for pipe, kind in ((self.process.stdout, "out"),
                               (self.process.stderr, "err"))]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe, kind):
        for raw in pipe:
            with self.changed:
                self.lines.append((kind, raw.decode(errors="replace").rstrip("\n")))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    @property
    def pid(self):
        return self.process.pid

    @property
    def output(self):
        with self.changed:
            return "\n".join(line for _, line in self.lines)

    def text(self, kind):
        with self.changed:
            return "\n".join(line for k, line in self.lines if k == kind)

    def wait_line(self, pattern, seconds=PATIENCE, count=1):
        """The match of the count-th line that the pattern is found in."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                found = [m for m in (regex.search(line) for _, line in self.lines) if m]
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                over = self.process.poll() is not None and not any(
                    r.is_alive() for r in self.readers)
                if over or left <= 0:
                    raise AssertionError(
                        f"{self.name} never said {pattern!r} ({count}); it said:\n" +
                        "\n".join(line for _, line in self.lines))
                self.changed.wait(min(left, 0.1))

    def wait(self, seconds=PATIENCE):
        """The exit status, after all its output was read."""
        status = self.process.wait(seconds)
        for reader in self.readers:
            reader.join(seconds)
        return status

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=PATIENCE):
        """SIGTERM, and the exit status; a hung one is killed and reported."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"{self.name} did not end on SIGTERM; it said:\n{self.output}") from None

    def kill(self):
        self.process.kill()
        return self.wait()


class Processes:
    """Everything a test started, stopped in reverse order."""

    def __init__(self):
        self.all = []

    def start(self, *args, **kwargs):
        process = Process(*args, **kwargs)
        self.all.append(process)
        return process

    def finish(self):
        bad = []
        for process in reversed(self.all):
            if process.process.poll() is None:
                process.process.terminate()
        for process in reversed(self.all):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.process.kill()
                process.process.wait()
                bad.append(f"{process.name} did not end on SIGTERM")
            for mark in ("AddressSanitizer", "LeakSanitizer", "runtime error:",
                         "ThreadSanitizer", "Assertion `"):
                if mark in process.output:
                    bad.append(f"{process.name}: {mark}\n{process.output[-6000:]}")
        assert not bad, "\n".join(bad)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        processes = item.funcargs.get("processes")
        if processes:
            for process in processes.all:
                report.sections.append(
                    (f"{process.name} ({process.pid})", process.output[-8000:]))


def binary():
    return Path(os.environ.get("HYCO", ROOT / "build" / "src" / "cli" / "hyco"))


@pytest.fixture(scope="session")
def hyco():
    """The binary under test."""
    path = binary()
    assert path.exists(), f"no binary at {path}: run script/test"
    return str(path)


def known_modes():
    """The ways of `hyco connect --mode` with what each needs besides: the
    suites that run in every way take up a new one as soon as the help of that
    option names it."""
    modes = {"sample": ["--mode", "sample"]}
    if not binary().exists():
        return modes
    text = subprocess.run([binary(), "connect", "--help"], capture_output=True,
                          text=True, timeout=PATIENCE).stdout
    option = re.search(r"--mode MODE(.*?)\n *-", text, re.S)
    if option and re.search(r"(?<![\w-])hyco(?![\w-])", option.group(1)):
        modes["hyco"] = ["--mode", "hyco"]
        if "--accept-new" in text:
            modes["hyco"].append("--accept-new")
    return modes


MODE_OPTIONS = known_modes()
MODES = list(MODE_OPTIONS)


@pytest.fixture
def processes():
    everything = Processes()
    yield everything
    everything.finish()


class World:
    """A relay, a listener and senders in one folder."""

    USER = "alice"
    PASSWORD = "correct horse: battery staple"

    def __init__(self, hyco, folder, processes):
        self.hyco = hyco
        self.folder = Path(folder)
        self.processes = processes
        self.state = self.folder / "relay"
        self.users = self.folder / "users"
        self.password_file = self.folder / "password"
        self.password_file.write_text(self.PASSWORD + "\n")
        self.password_file.chmod(0o600)
        self.relay_process = None
        self.port = 0
        self.listen_link = None  # the Link on a side's way to the relay
        self.connect_link = None
        self.mode = "sample"  # of senders that name none

    @property
    def own_state(self):
        """Identities and known listeners are the test's own."""
        return {"XDG_STATE_HOME": str(self.folder / "state")}

    @property
    def ca(self):
        return self.state / "ca.pem"

    def relay(self, *more, address="127.0.0.1", **kwargs):
        """Starts `hyco relay --dev`; a second call keeps the port."""
        listen = f"{address}:{self.port}"
        process = self.processes.start(
            [self.hyco, "relay", "--dev", "--listen", listen,
             "--state", self.state, *more], name="relay", **kwargs)
        ready = process.wait_line(r"^relay ready on (\S+):(\d+)$")
        self.port = int(ready.group(2))
        self.relay_process = process
        return process

    def add_user(self, name=USER, password=PASSWORD):
        done = subprocess.run(
            [self.hyco, "passwd", self.users, name, "--stdin"],
            input=password + "\n", text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def connection_string(self, name, link):
        """The argument of -x: the relay itself, or a link to it."""
        path = self.state / name
        if link is None:
            return f"@{path}"
        return re.sub(r"^(Endpoint=sb://[^/]+):\d+/", rf"\1:{link.port}/",
                      path.read_text().strip())

    def listen_argv(self, *more):
        return [self.hyco, "listen", "-x",
                self.connection_string("listen.conn", self.listen_link),
                "--ca", self.ca, *more]

    def listen(self, *more, anonymous=False, wait=True, **kwargs):
        if anonymous:
            more = ("--allow-anonymous", *more)
        else:
            if not self.users.exists():
                self.add_user()
            more = ("--users", self.users, *more)
        kwargs.setdefault("env", self.own_state)
        process = self.processes.start(
            self.listen_argv(*more), name="listen", **kwargs)
        if wait:
            process.wait_line(r"^listening on ")
        return process

    def connect_argv(self, *more, user=USER):
        argv = [self.hyco, "connect", "-x",
                self.connection_string("send.conn", self.connect_link),
                "--ca", self.ca]
        if self.mode and "--mode" not in more:
            argv += ["--mode", self.mode]
        if user:
            argv += ["--user", user, "--password-file", self.password_file]
        return argv + list(more)

    def connect(self, *more, user=USER, **kwargs):
        kwargs.setdefault("env", self.own_state)
        return self.processes.start(
            self.connect_argv(*more, user=user), name="connect", **kwargs)

    def tunnel(self, port, host="127.0.0.1", *more, user=USER, **kwargs):
        """A sender with one tunnel; returns it and the local port."""
        shown = f"[{host}]" if ":" in host else host
        process = self.connect("-L", f"127.0.0.1:0:{shown}:{port}", *more,
                               user=user, **kwargs)
        return process, tunnel_port(process)

    def all(self, port, host="127.0.0.1", *more):
        """Relay, listener, sender and one tunnel: its local port."""
        self.relay()
        self.listen()
        return self.tunnel(port, host, *more)[1]


def tunnel_port(process, number=1):
    match = process.wait_line(rf"^tunnel {number}: \S+:(\d+) -> ")
    return int(match.group(1))


@pytest.fixture
def world(hyco, tmp_path, processes):
    return World(hyco, tmp_path, processes)


@pytest.fixture
def link(hyco, processes):
    """link(port, *commands) starts a link to that port of this machine."""
    return lambda port, *commands: Link(link_binary(hyco), processes, port,
                                        *commands)


class Server:
    """A TCP server of the test's own: handle(connection) for each one."""

    def __init__(self, handle, family=socket.AF_INET, address=None):
        self.handle = handle
        self.accepted = 0
        self.errors = []
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address or ("::1" if family == socket.AF_INET6
                                     else "127.0.0.1", 0))
        self.socket.listen(512)
        self.port = (self.socket.getsockname()[1]
                     if family != socket.AF_UNIX else None)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(connection,),
                             daemon=True).start()

    def _one(self, connection):
        try:
            self.handle(connection)
        except OSError as error:
            self.errors.append(error)
        finally:
            connection.close()

    def close(self):
        # shutdown wakes the thread that waits in accept
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.thread.join(PATIENCE)


@pytest.fixture
def server():
    """server(handle) starts one; all are closed at the end."""
    started = []

    def start(handle, **kwargs):
        one = Server(handle, **kwargs)
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()


def echo(connection):
    while True:
        data = connection.recv(65536)
        if not data:
            return
        connection.sendall(data)


@pytest.fixture
def echo_server(server):
    return server(echo)


def receive_all(connection):
    parts = []
    while True:
        data = connection.recv(1 << 20)
        if not data:
            return b"".join(parts)
        parts.append(data)


def receive_exactly(connection, count):
    parts = []
    while count:
        data = connection.recv(min(count, 1 << 20))
        if not data:
            raise AssertionError(f"end of stream, {count} bytes early")
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def dial(port, host="127.0.0.1"):
    return socket.create_connection((host, port), timeout=PATIENCE)


def need(program):
    """The path of a program that script/test installs."""
    path = shutil.which(program) or shutil.which(
        program, path="/usr/sbin:/sbin:/usr/local/sbin")
    assert path, f"{program} is missing: run script/test, which installs it"
    return path


def free_port():
    """A port nobody listens on (the kernel's choice a moment ago)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


