# SPDX-License-Identifier: MIT
"""The ends besides -L: standard input and output, SOCKS and HTTP CONNECT, Unix
sockets at the far side."""

import getpass
import http.server
import os
import shlex
import socket
import subprocess
import threading

import pytest
from conftest import (PATIENCE, dial, receive_all, receive_exactly,
                      tunnel_port)
from test_programs import need, sshd  # noqa: F401

PAGE = b"a page behind the listener\n"


@pytest.fixture
def far(world):
    """Relay and listener; senders speak the hyco way."""
    world.mode = "hyco"
    world.relay()
    world.listener = world.listen()
    return world


def connect(far, *more, **kwargs):
    return far.connect("--accept-new", *more, **kwargs)


@pytest.fixture
def web():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


# --- -W ---

def run_stdio(far, target, data=b"", *more):
    """Runs -W to its end: exit status, standard output and error."""
    env = dict(os.environ)
    env.update(far.own_state)
    done = subprocess.run(
        [str(a) for a in far.connect_argv("--accept-new", "-W", target, *more)],
        input=data, capture_output=True, env=env, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr.decode()


def test_stdio(far, echo_server):
    """All bytes come back, and nothing else is on standard output."""
    data = os.urandom(3 << 20)
    status, out, _ = run_stdio(far, f"127.0.0.1:{echo_server.port}", data)
    assert (status, out == data) == (0, True)


def test_stdio_refused(far, closed_port):
    status, out, err = run_stdio(far, f"127.0.0.1:{closed_port}")
    assert (status, out) == (4, b"")
    assert "refused" in err


def test_stdio_not_allowed(far):
    """The rules without a file deny metadata addresses."""
    status, out, err = run_stdio(far, "169.254.169.254:80")
    assert (status, out) == (3, b"")
    assert "policy" in err


@pytest.mark.parametrize("more", [
    ("-W", "127.0.0.1"), ("-W", "127.0.0.1:1", "--console"),
    ("-W", "127.0.0.1:1", "--mode", "sample"),
    ("-D", "1080", "--mode", "sample"), ("-D", "0:127.0.0.1:1")])
def test_usage(far, more):
    sender = far.connect("--accept-new", *more)
    assert sender.wait() == 2
    assert sender.text("out") == ""
    assert more[0] in sender.text("err")


def test_ssh_proxy_command(far, sshd, tmp_path):  # noqa: F811
    port, folder = sshd
    proxy = shlex.join(str(a) for a in far.connect_argv("--accept-new"))
    env = dict(os.environ)
    env.update(far.own_state)
    ssh = [need("ssh"), "-i", folder / "user", "-F", "none", "-o",
           f"ProxyCommand={proxy} -W %h:%p", "-o", "StrictHostKeyChecking=no",
           "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "BatchMode=yes",
           "-o", "LogLevel=ERROR", "-p", port,
           f"{getpass.getuser()}@127.0.0.1"]
    done = subprocess.run([str(a) for a in [*ssh, "sort"]],
                          input=b"c\na\nb\n", capture_output=True, env=env,
                          timeout=PATIENCE)
    assert done.stdout == b"a\nb\nc\n", done.stderr
    done = subprocess.run([str(a) for a in [*ssh, "exit 7"]], env=env,
                          timeout=PATIENCE)
    assert done.returncode == 7


# --- -D ---

def curl(*args):
    done = subprocess.run([need("curl"), "-sS", "-m", str(PATIENCE),
                           "--noproxy", "", *map(str, args)],
                          capture_output=True, timeout=PATIENCE + 10)
    return done.returncode, done.stdout


def test_socks_curl(far, web):
    """Every dialect of the one port; the listener resolves the name."""
    port = tunnel_port(connect(far, "-D", "0"))
    for options in (["--socks5", f"127.0.0.1:{port}", f"http://127.0.0.1:{web}"],
                    ["--socks5-hostname", f"127.0.0.1:{port}", f"http://localhost:{web}"],
                    ["--socks4", f"127.0.0.1:{port}", f"http://127.0.0.1:{web}"],
                    ["--socks4a", f"127.0.0.1:{port}", f"http://localhost:{web}"],
                    ["-p", "-x", f"http://127.0.0.1:{port}", f"http://localhost:{web}"]):
        assert curl(*options) == (0, PAGE), options


def test_socks_refused(far, closed_port):
    """What went wrong is in the answer; the port lives on."""
    sender = connect(far, "-D", "0")
    port = tunnel_port(sender)
    for host, where, code in ((b"\x7f\0\0\1", closed_port, 5),
                              (b"\xa9\xfe\xa9\xfe", 80, 2)):
        with dial(port) as c:
            c.sendall(b"\5\1\0")
            assert receive_exactly(c, 2) == b"\5\0"
            c.sendall(b"\5\1\0\1" + host + where.to_bytes(2, "big"))
            assert receive_exactly(c, 2) == bytes([5, code])
            receive_all(c)
    far.listener.wait_line(r"connection refused .*status=403")


def test_socks_early_data(far, echo_server):
    """What is sent right behind the request arrives first."""
    port = tunnel_port(connect(far, "-D", "0"))
    with dial(port) as c:
        c.sendall(b"\4\1" + echo_server.port.to_bytes(2, "big") +
                  b"\x7f\0\0\1\0early ")
        assert receive_exactly(c, 8)[:2] == b"\0\x5a"
        c.sendall(b"late")
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b"early late"


def test_socks_console(far, web):
    sender = connect(far, stdin=subprocess.PIPE)
    sender.write("socks 0\n")
    port = tunnel_port(sender)
    assert curl("--socks5", f"127.0.0.1:{port}", f"http://127.0.0.1:{web}") == (0, PAGE)
    with dial(port) as waiting:
        sender.write("list\nclose 1 --end\nexit\n")
        assert sender.wait() == 0
        assert "SOCKS" in sender.text("out")
        try:
            assert waiting.recv(1) == b""
        except ConnectionResetError:
            pass


# --- datagrams ---

@pytest.fixture
def udp_echo():
    """Sends back what comes; an empty datagram, too."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]

    def serve():
        while True:
            data, peer = s.recvfrom(65536)
            if data == b"stop":
                return
            s.sendto(data, peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
        c.sendto(b"stop", ("127.0.0.1", port))
    thread.join(PATIENCE)
    s.close()


def udp_port(sender):
    return int(sender.wait_line(r"^tunnel 1: \S+:(\d+)/udp -> ").group(1))


def udp_socket(port):
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.settimeout(PATIENCE)
    c.connect(("127.0.0.1", port))
    return c


def test_udp(far, udp_echo):
    """Borders and sizes stay, from nothing to the largest."""
    sender = connect(far, "-L", f"0:127.0.0.1:{udp_echo}/udp")
    with udp_socket(udp_port(sender)) as c:
        for size in (1, 0, 1200, 1500, 16384, 65507):
            data = os.urandom(size)
            c.send(data)
            assert c.recv(65536) == data
    assert sender.stop() == 0
    far.listener.wait_line(r"connection closed .*destination=127.0.0.1:\d+/udp "
                           r"up=84592 down=84592")


def test_udp_flows(far, udp_echo):
    """Each peer is a flow of its own, and gets its own answers."""
    sender = connect(far, "-L", f"0:127.0.0.1:{udp_echo}/udp")
    port = udp_port(sender)
    peers = [udp_socket(port) for _ in range(200)]
    try:
        for i, c in enumerate(peers):
            c.send(b"%d" % i)
        for i, c in enumerate(peers):
            assert c.recv(65536) == b"%d" % i
    finally:
        for c in peers:
            c.close()


def test_udp_console(far, udp_echo):
    sender = connect(far, stdin=subprocess.PIPE)
    sender.write(f"tunnel 0/udp 127.0.0.1:{udp_echo}\n")
    with udp_socket(udp_port(sender)) as c:
        c.send(b"hello")
        assert c.recv(100) == b"hello"
    sender.write("list\nclose 1 --end\nexit\n")
    assert sender.wait() == 0
    assert "/udp" in sender.text("out")


def test_udp_policy(far, tmp_path, udp_echo):
    """A rule for TCP opens no datagrams."""
    policy = tmp_path / "policy"
    policy.write_text("user *\nallow tcp 127.0.0.1 *\n")
    policy.chmod(0o600)
    far.listener.stop()
    far.listener = far.listen("--policy", policy)
    sender = connect(far, "-L", f"0:127.0.0.1:{udp_echo}/udp")
    with udp_socket(udp_port(sender)) as c:
        c.send(b"hello")
        far.listener.wait_line(r"connection refused .*/udp .*status=403")
        sender.wait_line(r"connection failed .*policy")


def test_udp_sample(far):
    sender = far.connect("-L", "0:127.0.0.1:53/udp", "--mode", "sample")
    assert sender.wait() == 2
    assert "hyco way" in sender.text("err")


def test_socks_udp(far, udp_echo):
    """UDP ASSOCIATE: datagrams name their destination; the connection that
    asked keeps it."""
    port = tunnel_port(connect(far, "-D", "0"))
    where = b"\0\0\0\3\x09localhost" + udp_echo.to_bytes(2, "big")
    with dial(port) as control:
        control.sendall(b"\5\1\0")
        assert receive_exactly(control, 2) == b"\5\0"
        control.sendall(b"\5\3\0\1\0\0\0\0\0\0")
        answer = receive_exactly(control, 10)
        assert answer[:4] == b"\5\0\0\1"
        with udp_socket(int.from_bytes(answer[8:], "big")) as c:
            for data in (b"one", os.urandom(9000), b"three"):
                c.send(where + data)
                assert c.recv(65536).endswith(data)
    far.listener.wait_line(r"connection closed .*/udp ")


# --- unix ---

def test_unix_destination(far, tmp_path):
    """Allowed by policy, and only where it says so."""
    path = tmp_path / "far.sock"
    policy = tmp_path / "policy"
    policy.write_text(f"user *\nallow unix {path}\n")
    policy.chmod(0o600)
    far.listener.stop()
    far.listener = far.listen("--policy", policy)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        sender = connect(far, "-L", f"socket:{tmp_path}/near=unix:{path}",
                         "-L", f"0:unix:{tmp_path}/other")
        sender.wait_line(r"^tunnel 1: ")
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(PATIENCE)
            c.connect(f"{tmp_path}/near")
            c.sendall(b"over there")
            c.shutdown(socket.SHUT_WR)
            there, _ = server.accept()
            with there:
                assert receive_all(there) == b"over there"
                there.sendall(b"and back")
            assert receive_all(c) == b"and back"
        with pytest.raises(ConnectionResetError):
            with dial(tunnel_port(sender, 2)) as c:
                assert c.recv(1) != b"", "an orderly end instead of a reset"
    far.listener.wait_line(r"connection refused .*status=403")
