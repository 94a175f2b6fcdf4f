# SPDX-License-Identifier: MIT
"""The console's manners on a terminal: completion, Ctrl-C, questions, and log
lines that come while something is typed."""

import re
import signal
import subprocess
import termios

import pytest
from conftest import dial, free_port, wait_until
from test_console import Terminal, log_in, terminal  # noqa: F401


@pytest.fixture
def console(world, terminal):  # noqa: F811
    """A console that is logged in."""
    def start(*more):
        world.relay()
        world.listen()
        t = terminal(*more)
        log_in(t, world)
        t.expect(r"Type `help`")
        t.expect(r"> ")
        return t
    return start


def test_completion(console):
    t = console()
    t.type("sta\t\r")
    t.expect(r"relay +localhost")
    t.type("l\t")
    t.expect(r"list  log")
    t.type("o\t d\t\r")
    t.type("log\r")
    t.expect(r"log level: debug")
    t.type("tunnel 0 127.0.0.1:1\r")
    t.expect(r"tunnel 1: ")
    t.type("cl\t\t\r")  # the command, then the only id
    t.expect(r"Tunnel 1 closed\.")
    t.type("exit\r")
    assert t.end() == 0


def test_control_c(console):
    """Drops a line; at an empty line it takes two."""
    t = console()
    t.type("close 99")
    t.expect(r"close 99")
    t.type("\x03")
    t.expect(r"\^C\s+> ")
    t.type("status\r")
    t.expect(r"relay +localhost")
    assert "no tunnel 99" not in t.shown
    t.type("\x03")
    t.expect(r"Ctrl-C once more")
    t.type("status\r")
    t.expect(r"relay +localhost")
    t.type("\x03")
    t.expect(r"Ctrl-C once more")
    t.type("\x03")
    assert t.end() == 0


def test_close_asks(console, echo_server):
    """Live connections are shown; n keeps them, Ctrl-C or cancel closes
    nothing, Enter ends them."""
    t = console()
    t.type(f"tunnel 127.0.0.1:0 127.0.0.1:{echo_server.port}\r")
    local = int(t.expect(r"tunnel 1: 127\.0\.0\.1:(\d+) ->").group(1))
    with dial(local) as c:
        c.sendall(b"a")
        assert c.recv(1) == b"a"
        t.type("close 1\r")
        t.expect(r"DESTINATION")
        t.expect(r"End these connections\?")
        t.type("\x03")
        t.expect(r"\^C\s+> ")
        t.type("close 1\r")
        t.expect(r"End these connections\?")
        t.type("cancel\r")
        t.expect(r"stays open")
        t.type("list\r")
        t.expect(rf"127\.0\.0\.1:{local} ")
        t.type("close 1\r")
        t.expect(r"End these connections\?")
        t.type("n\r")
        t.expect(r"1 live connection kept")
        c.sendall(b"b")
        assert c.recv(1) == b"b"
        t.type("list\r")
        t.expect(r"closed")
    t.type(f"tunnel 127.0.0.1:0 127.0.0.1:{echo_server.port}\r")
    local = int(t.expect(r"tunnel 2: 127\.0\.0\.1:(\d+) ->").group(1))
    with dial(local) as c:
        c.sendall(b"a")
        assert c.recv(1) == b"a"
        t.type("close 2\r")
        t.expect(r"End these connections\?")
        t.type("\r")
        t.expect(r"1 live connection ended")
        with pytest.raises(ConnectionError):
            assert c.recv(1) != b""
    t.type("exit\r")
    assert t.end() == 0


def test_log_lines_spare_the_line(console):
    """A fault that is told while something is typed: the line is there again
    behind it, and still whole."""
    t = console()
    dead = free_port()
    t.type(f"tunnel 127.0.0.1:0 127.0.0.1:{dead}\r")
    local = int(t.expect(r"tunnel 1: 127\.0\.0\.1:(\d+) ->").group(1))
    t.expect(r"> ")
    t.type("stat")
    t.expect(r"stat")
    try:
        with dial(local) as c:
            c.recv(1)
    except ConnectionError:
        pass
    t.expect(rf"connection failed tunnel=1 .*{dead}.*\n")
    t.expect(r"> .*stat")
    t.type("us\r")
    t.expect(r"last fault +.*refused")
    t.type("exit\r")
    assert t.end() == 0


def test_terminal_is_given_back(world):
    """However it ends: the modes are what they were."""
    world.relay()
    world.listen()
    for end in ("exit\r", "\x04", signal.SIGTERM, signal.SIGHUP):
        t = Terminal(["/bin/sh", "-c", "stty -a; $0 \"$@\"; stty -a; read x",
                      world.hyco, "connect", "-x", f"@{world.state}/send.conn",
                      "--ca", world.ca, "--accept-new"],
                     {"TERM": "xterm", "HOME": str(world.folder),
                      "PATH": "/usr/bin:/bin"})
        modes = r"speed[^$]*?-extproc"
        before = t.expect(modes).group(0)
        try:
            log_in(t, world)
            t.expect(r"Type `help`")
            wait_until(lambda: not t.echoes(), "the console has the terminal")
            if isinstance(end, str):
                t.type(end)
            else:
                children = subprocess.run(
                    ["ps", "--no-headers", "-o", "pid", "--ppid", str(t.pid)],
                    capture_output=True, text=True, timeout=60).stdout.split()
                subprocess.run(["kill", f"-{int(end)}", children[0]], check=True)
            after = t.expect(modes).group(0)
            assert after == before
        finally:
            t.close()


def test_password_prompt_gives_the_terminal_back(world, terminal):  # noqa: F811
    """A signal at the hidden prompt: echo is on when the program has ended."""
    world.relay()
    world.listen()
    for number in (signal.SIGINT, signal.SIGTERM):
        t = terminal("--user", "alice")
        t.expect(r"Password: ")
        wait_until(lambda t=t: not t.echoes(), "echo is off")
        before = termios.tcgetattr(t.fd)[3]
        assert not before & termios.ECHO
        subprocess.run(["kill", f"-{int(number)}", str(t.pid)], check=True)
        assert t.end() == 1
        try:
            assert t.echoes()
        except termios.error:
            pass  # the terminal went with its only program


def test_piped_faults_and_wait(world, echo_server):
    """A pipe: faults name the line, the rest is run, the status tells."""
    world.relay()
    world.listen()
    piped = world.connect(stdin=subprocess.PIPE)
    piped.write(f"nonsense\ntunnel 127.0.0.1:0 127.0.0.1:{echo_server.port}\n"
                "wait 1\nlist\nclose 5\n'open\n")
    piped.process.stdin.close()
    piped.wait_line(r"standard input:1: Invalid command")
    piped.wait_line(r"tunnel 1: ")
    piped.wait_line(r"LISTEN +DESTINATION")
    piped.wait_line(r"standard input:5: there is no tunnel 5")
    piped.wait_line(r"standard input:6: the ' at column 1")
    # The tunnel goes on behind the last line, until a signal.
    port = int(piped.wait_line(r"tunnel 1: 127\.0\.0\.1:(\d+) ->").group(1))
    with dial(port) as c:
        c.sendall(b"still")
        assert c.recv(5) == b"still"
    assert piped.stop() == 1


def test_nothing_to_do(world):
    """No tunnel, no command, no terminal: said, and not left hanging."""
    world.relay()
    world.listen()
    idle = world.connect()
    idle.wait_line(r"nothing to do: .*-L")
    assert idle.wait() == 2


def test_repeated_faults_are_counted(world):
    """Twenty failures of one kind are one line."""
    world.relay()
    world.listen()
    connect, port = world.tunnel(free_port())
    for _ in range(20):
        try:
            with dial(port) as c:
                c.recv(1)
        except ConnectionError:
            pass
    connect.wait_line(r"connection failed")
    connect.stop()
    text = connect.output
    assert len(re.findall("connection failed", text)) == 1, text
    connect.wait_line(r"the last fault came again tunnel=1 times=19")
