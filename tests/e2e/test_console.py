# SPDX-License-Identifier: MIT
"""The console as a person uses it, on a terminal of the test's own, and the
same commands from a file and a pipe."""

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest
from conftest import PATIENCE, dial, free_port, wait_until


class Terminal:
    """A program on a pseudo terminal: type, and wait for what it shows."""

    def __init__(self, argv, env):
        self.shown = ""
        self.at = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(str(argv[0]), [str(a) for a in argv], env)
        self.status = None

    def type(self, text):
        os.write(self.fd, text.encode())

    def _read(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.shown += data.decode(errors="replace")
        return True

    def expect(self, pattern, seconds=PATIENCE):
        """Waits for a text behind what was expected before."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + seconds
        while True:
            match = regex.search(self.shown, self.at)
            if match:
                self.at = match.end()
                return match
            if time.monotonic() > deadline or not self._read(0.2):
                raise AssertionError(
                    f"never showed {pattern!r}; showed:\n{self.shown}")

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self):
        """The exit status, when it ends by itself."""
        deadline = time.monotonic() + PATIENCE
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                break
            assert time.monotonic() < deadline, self.shown
            self._read(0.05)
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(world):
    opened = []

    def start(*more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("HYCO_")}
        env.update(TERM="xterm", HOME=str(world.folder),
                   XDG_STATE_HOME=str(world.folder / "state"))
        one = Terminal([world.hyco, "connect", "-x", f"@{world.state}/send.conn",
                        "--ca", world.ca, "--accept-new", *more], env)
        opened.append(one)
        return one
    yield start
    for one in opened:
        one.close()


def log_in(terminal, world, password=None):
    terminal.expect(r"Username: ")
    terminal.type("alice\r")
    terminal.expect(r"Password: ")
    wait_until(lambda: not terminal.echoes(), "echo is off")
    terminal.type((password or world.PASSWORD) + "\r")


def test_login_tunnel_list_close_exit(world, terminal, echo_server):
    """The sample's session: log in, tunnel, use it, list, close, exit."""
    world.relay()
    world.listen()
    t = terminal()
    log_in(t, world)
    t.expect(r"> ")
    local = free_port()
    t.type(f"tunnel {local} 127.0.0.1:{echo_server.port}\r")
    t.expect(rf"tunnel 1: 127\.0\.0\.1:{local} -> 127\.0\.0\.1:{echo_server.port}")
    with dial(local) as c:
        c.sendall(b"x" * 5000)
        got = b""
        while len(got) < 5000:
            got += c.recv(5000)
        t.type("list\r")
        t.expect(rf"{local}")
        t.expect(r"4\.9 KiB|5000|4\.88 KiB")
    t.type("status\r")
    t.expect(r"localhost:\d+")
    t.type("nonsense\r")
    t.expect(r"Invalid command\. Type `help` for more information\.")
    t.type("help\r")
    for command in ("tunnel", "close", "list", "status", "help", "exit"):
        t.expect(rf"\b{command}\b")
    t.type("close 1\r")
    t.expect(r"1")
    t.type("close 7\r")
    t.expect(r"7")
    t.type("exit\r")
    assert t.end() == 0
    assert world.PASSWORD not in t.shown


def test_wrong_password_is_told_at_once(world, terminal):
    """And asked again; the right one then goes on."""
    world.relay()
    world.listen()
    t = terminal()
    log_in(t, world, "wrong")
    t.expect(r"(?i)password.*(wrong|not)|wrong.*password")
    log_in(t, world)
    t.expect(r"> ")
    t.type("exit\r")
    assert t.end() == 0


def test_three_wrong_passwords_end_it(world, terminal):
    """With the status for authentication, and echo is on again."""
    world.relay()
    world.listen()
    t = terminal()
    for _ in range(3):
        log_in(t, world, "wrong")
        t.expect(r"(?i)password.*(wrong|not)|wrong.*password")
    assert t.end() == 3


def test_interrupt_while_the_password_is_hidden(world, terminal):
    """Ctrl-C at the prompt leaves a terminal that echoes."""
    world.relay()
    world.listen()
    t = terminal()
    t.expect(r"Username: ")
    t.type("alice\r")
    t.expect(r"Password: ")
    wait_until(lambda: not t.echoes(), "echo is off")
    t.type("\x03")
    assert t.end() != 0


def test_control_d_and_history(world, terminal):
    """Ctrl-D at an empty line ends; the history file holds commands, and no
    passwords."""
    world.relay()
    world.listen()
    t = terminal()
    log_in(t, world)
    t.expect(r"> ")
    t.type("status\r")
    t.expect(r"localhost")
    t.type("\x1b[A\r")  # the same command again, from history
    t.expect(r"localhost")
    t.expect(r"bytes .*\s+> ")  # the line editor has the terminal again
    t.type("\x04")
    assert t.end() == 0
    for folder, _, files in os.walk(world.folder / "state"):
        for file in files:
            with open(os.path.join(folder, file), "rb") as f:
                assert world.PASSWORD.encode() not in f.read()


def test_live_connections_of_a_closed_tunnel(world, terminal, echo_server):
    """close shows what is alive; --keep lets it go on, --end ends it."""
    world.relay()
    world.listen()
    t = terminal()
    log_in(t, world)
    t.expect(r"> ")
    t.type(f"tunnel 127.0.0.1:0 127.0.0.1:{echo_server.port}\r")
    local = int(t.expect(r"tunnel 1: 127\.0\.0\.1:(\d+) ->").group(1))
    with dial(local) as c:
        c.sendall(b"a")
        assert c.recv(1) == b"a"
        t.type("close 1 --keep\r")
        t.expect(r"1")
        wait_until(lambda: not listens(local), "the tunnel is closed")
        c.sendall(b"b")
        assert c.recv(1) == b"b"
    t.type(f"tunnel 127.0.0.1:0 127.0.0.1:{echo_server.port}\r")
    local = int(t.expect(r"tunnel 2: 127\.0\.0\.1:(\d+) ->").group(1))
    with dial(local) as c:
        c.sendall(b"a")
        assert c.recv(1) == b"a"
        t.type("close 2 --end\r")
        with pytest.raises(ConnectionError):
            assert c.recv(1) != b""
    t.type("exit\r")
    assert t.end() == 0


def listens(port):
    try:
        dial(port).close()
        return True
    except OSError:
        return False


def test_batch_file_and_pipe(world, echo_server):
    """The same commands without a terminal."""
    world.relay()
    world.listen()
    batch = world.folder / "batch"
    batch.write_text(f"# a comment\ntunnel 127.0.0.1:0 127.0.0.1:"
                     f"{echo_server.port}\nlist\nstatus\n")
    connect = world.connect("--batch", batch)
    port = int(connect.wait_line(
        r"tunnel 1: 127\.0\.0\.1:(\d+) ->").group(1))
    with dial(port) as c:
        c.sendall(b"batch")
        assert c.recv(5) == b"batch"
    assert connect.stop() == 0
    piped = world.connect(stdin=subprocess.PIPE)
    piped.write(f"tunnel 127.0.0.1:0 127.0.0.1:{echo_server.port}\n")
    port = int(piped.wait_line(r"tunnel 1: 127\.0\.0\.1:(\d+) ->").group(1))
    with dial(port) as c:
        c.sendall(b"pipe")
        assert c.recv(4) == b"pipe"
    piped.write("exit\n")
    assert piped.wait() == 0


def test_batch_errors_name_the_line(world):
    """And the exit status tells."""
    world.relay()
    world.listen()
    batch = world.folder / "batch"
    batch.write_text("status\ntunnel nonsense:x:y:z\nexit\n")
    connect = world.connect("--batch", batch)
    connect.wait_line(r"batch:2|line 2")
    assert connect.wait() != 0


def test_second_signal_ends_at_once(world, echo_server):
    """SIGINT ends cleanly; tunnels without a terminal as well."""
    port = world.all(echo_server.port)
    connect = world.processes.all[-1]
    with dial(port) as c:
        c.sendall(b"x")
        assert c.recv(1) == b"x"
        connect.signal(signal.SIGINT)
        assert connect.wait() == 0
