# SPDX-License-Identifier: MIT
"""What TCP does, the tunnel does: each case is run twice, directly between two
sockets of the test's own and through a tunnel, and what both ends saw (bytes by
their hash, FIN, RST, the kind of error, the order) is compared. The expectation
is checked on the direct run first, so one that is wrong shows there.

What a way by its nature cannot carry stands in ALLOWED with the reason, and is
checked as strictly."""

import collections
import contextlib
import errno
import fcntl
import hashlib
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import (MODE_OPTIONS, MODES, PATIENCE, Processes, World, free_port,
                      receive_exactly, tunnel_port, wait_until)

# A few hundred runs: once for each build is enough without the sanitizers,
# under which test_tunnel.py and test_programs.py go the same roads.
pytestmark = pytest.mark.slow

MIB = 1 << 20
SOON = 0.3  # seconds in which nothing may happen, where nothing must


def pattern(size, seed=0):
    return random.Random(seed).randbytes(size)


def digest(data):
    return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:16]}"


def said(data, end):
    """How Peer.hear tells of these bytes and this end."""
    return f"{digest(data)}, {end}" if data else end


def kind_of(error):
    if isinstance(error, TimeoutError):
        return "TIMEOUT"
    if isinstance(error, ConnectionResetError):
        return "RST"
    return errno.errorcode.get(error.errno, repr(error))


class Peer:
    """One end of a connection."""

    def __init__(self, connection):
        self.socket = connection
        self.socket.settimeout(PATIENCE)

    def send(self, data):
        self.socket.sendall(data)

    def fin(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def rst(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               struct.pack("ii", 1, 0))
        self.socket.close()

    def vanish(self):
        """Goes away without a word, as a machine that loses power."""
        self.socket.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR
        self.socket.close()

    def read(self, count):
        """Exactly so many bytes, told by their hash."""
        return digest(receive_exactly(self.socket, count))

    def wait_unread(self, count):
        """Until so many bytes have come, without reading them."""
        def waiting():
            return struct.unpack("i", fcntl.ioctl(
                self.socket, termios.FIONREAD, bytes(4)))[0]
        wait_until(lambda: waiting() >= count, f"{count} bytes are here")

    def collect(self, piece=MIB, pause=0):
        """All bytes until the end, and what the end was."""
        parts = []
        wait = threading.Event()
        while True:
            try:
                data = self.socket.recv(piece)
            except OSError as error:
                return b"".join(parts), kind_of(error)
            if not data:
                return b"".join(parts), "FIN"
            parts.append(data)
            if pause:
                wait.wait(pause)

    def hear(self, **how):
        return said(*self.collect(**how))

    def hear_end(self):
        """The end only, where it is chance how many bytes come before."""
        return self.collect()[1]

    def is_silent(self, seconds=SOON):
        return not select.select([self.socket], [], [], seconds)[0]

    def feel(self):
        """The error that comes without reading; writes are up to the caller."""
        poll = select.poll()
        poll.register(self.socket, 0)
        assert poll.poll(PATIENCE * 1000), "no error came"
        number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode.get(number, "no error")

    def stuff(self, limit):
        """Sends until nothing more is taken: whether that came before limit."""
        self.socket.setblocking(False)
        block = bytes(MIB)
        sent = 0
        while sent < limit:
            try:
                sent += self.socket.send(block)
            except BlockingIOError:
                if not select.select([], [self.socket], [], 2 * SOON)[1]:
                    break
            except OSError:
                break
        self.socket.settimeout(PATIENCE)
        return sent < limit, sent


class Way:
    """How a case gets its connections: this one is the direct way."""

    name = "direct"

    def __init__(self):
        self.stack = contextlib.ExitStack()

    def listen(self, backlog=128, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = self.stack.enter_context(
            socket.socket(family, socket.SOCK_STREAM))
        listener.bind((host, 0))
        listener.listen(backlog)
        listener.settimeout(PATIENCE)
        return listener

    def listen_unix(self, folder):
        listener = self.stack.enter_context(
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(folder / "end"))
        listener.listen()
        listener.settimeout(PATIENCE)
        return listener

    def entry(self, host, port):
        """The address to dial for this destination."""
        return host, port

    def reason(self, pattern):
        """What the program that dialled would tell its user."""
        return "told"

    def dial(self, address, timeout=PATIENCE):
        peer = Peer(socket.create_connection(address, timeout))
        self.stack.callback(peer.socket.close)
        return peer

    def accept(self, listener, timeout=PATIENCE):
        listener.settimeout(timeout)
        peer = Peer(listener.accept()[0])
        self.stack.callback(peer.socket.close)
        return peer

    def open(self, host="127.0.0.1"):
        """Both ends of a new connection: client, server."""
        listener = self.listen(host=host)
        client = self.dial(self.entry(*listener.getsockname()[:2]))
        return client, self.accept(listener)

    def close(self):
        self.stack.close()


class Through(Way):
    """By a tunnel of a running `hyco connect`, whose console is a pipe."""

    def __init__(self, stage):
        super().__init__()
        self.name = stage.mode
        self.stage = stage
        self.seen = len(stage.connect.lines)

    def entry(self, host, port):
        number, address = self.stage.tunnel(host, port)
        self.stack.callback(self.stage.connect.write, f"close {number}\n")
        return address

    def reason(self, pattern):
        connect = self.stage.connect
        wait_until(lambda: any(
            pattern in line for _, line in connect.lines[self.seen:]),
            f"connect says {pattern!r}")
        return "told"


class Stage:
    """Relay, listener and sender of one mode, used by many cases."""

    def __init__(self, hyco, folder, mode):
        self.mode = mode
        self.folder = folder
        self.processes = Processes()
        self.world = World(hyco, folder, self.processes)
        self.world.relay()
        # multicast and broadcast addresses have to be named to be reached
        policy = folder / "policy"
        policy.write_text("user *\nallow * * *\n"
                          "allow tcp 255.255.255.255 *\nallow tcp ff00::/8 *\n")
        self.world.listen("--policy", policy)
        self.connect = self.world.connect(*MODE_OPTIONS[mode],
                                          stdin=subprocess.PIPE)
        self.count = 0

    def tunnel(self, host, port):
        shown = f"[{host}]" if ":" in host else host
        self.count += 1
        self.connect.write(f"tunnel 127.0.0.1:0 {shown}:{port}\n")
        local = self.connect.wait_line(
            rf"^tunnel {self.count}: 127\.0\.0\.1:(\d+) -> ").group(1)
        return self.count, ("127.0.0.1", int(local))

    def unix_tunnel(self, path, port):
        self.count += 1
        self.connect.write(f"tunnel socket:{path} 127.0.0.1:{port}\n")
        self.connect.wait_line(rf"^tunnel {self.count}: unix:")


@pytest.fixture(scope="module")
def stages(hyco, tmp_path_factory):
    """stages(mode): started when first asked for."""
    started = {}

    def get(mode):
        if mode not in started:
            started[mode] = Stage(hyco, tmp_path_factory.mktemp(mode), mode)
        return started[mode]

    yield get
    for stage in started.values():
        stage.processes.finish()


CASES = {}


def case(*expected, marks=()):
    """Registers a case with what both ends see, in the order of the case."""
    def register(function):
        CASES[function.__name__] = (function, list(expected), marks)
        return function
    return register


def together(*functions):
    """Runs them at once; their results in order."""
    with ThreadPoolExecutor(len(functions)) as pool:
        return [f.result() for f in [pool.submit(g) for g in functions]]


Allowed = collections.namedtuple("Allowed", "outcomes why")

ACCEPTED_FIRST = (
    "the local socket is accepted before the destination is known: a program's "
    "connect() cannot be held back from user space. It is reset as soon as the "
    "answer is there, and the reason is in the log")

# What is seen in place of the expectation, any one of it, and why; by case, for
# all modes, or by (mode, case) where only one differs
ALLOWED = {
    "refused": Allowed(
        [["connected, RST", "told"]], ACCEPTED_FIRST),
    "unreachable": Allowed(
        [["connected, RST", "told"]], ACCEPTED_FIRST),
    "unreachable_ipv6": Allowed(
        [["connected, RST", "told"]], ACCEPTED_FIRST),
    "connect_times_out": Allowed(
        [["connected, RST", "told"]], ACCEPTED_FIRST),
    "rst_right_after_connect": Allowed(
        [["no connection", "next works"], ["RST", "next works"]],
        "the destination is dialled a moment later; a local connection that "
        "is gone by then is not made up for it"),
    "urgent_byte_out_of_band": Allowed(
        [["no urgent byte", said(b"before!after", "FIN")]],
        "a stream of bytes has no urgent pointer; the byte stays in its place "
        "in the stream, which is what RFC 6093 asks of everybody"),
}

S = pattern(1000, 1)  # a small message of the client
T = pattern(1500, 2)  # and one of the server
L = pattern(8 * MIB, 3)
M = pattern(8 * MIB, 4)


# --- FIN


@case(said(b"", "FIN"), said(T, "FIN"))
def fin_by_client_without_data(w):
    c, s = w.open()
    c.fin()
    yield s.hear()
    s.send(T)
    s.fin()
    yield c.hear()


@case(said(b"", "FIN"), said(S, "FIN"))
def fin_by_server_without_data(w):
    c, s = w.open()
    s.fin()
    yield c.hear()
    c.send(S)
    c.fin()
    yield s.hear()


@case(said(S, "FIN"), said(T, "FIN"))
def fin_by_client_after_data(w):
    c, s = w.open()
    c.send(S)
    c.fin()
    yield s.hear()
    s.send(T)
    s.fin()
    yield c.hear()


@case(said(T, "FIN"), said(S, "FIN"))
def fin_by_server_after_data(w):
    c, s = w.open()
    s.send(T)
    s.fin()
    yield c.hear()
    c.send(S)
    c.fin()
    yield s.hear()


@case(said(b"", "FIN"), said(b"", "FIN"))
def fin_by_both_at_once_without_data(w):
    c, s = w.open()
    together(c.fin, s.fin)
    yield from together(c.hear, s.hear)


@case(said(T, "FIN"), said(S, "FIN"))
def fin_by_both_at_once_after_data(w):
    c, s = w.open()
    c.send(S)
    s.send(T)
    together(c.fin, s.fin)
    yield from together(c.hear, s.hear)


@case(said(M, "FIN"), said(L, "FIN"))
def fin_by_both_behind_bulk(w):
    """Both write 8 MiB and FIN before they look at what comes."""
    c, s = w.open()

    def talk(peer, data):
        def write():
            peer.send(data)
            peer.fin()
        thread = threading.Thread(target=write)
        thread.start()
        heard = peer.hear()
        thread.join()
        return heard
    yield from together(lambda: talk(c, L), lambda: talk(s, M))


@case(said(b"", "FIN"), said(T, "FIN"))
def fin_right_after_connect(w):
    listener = w.listen()
    c = w.dial(w.entry(*listener.getsockname()))
    c.fin()
    s = w.accept(listener)
    yield s.hear()
    s.send(T)
    s.close()
    yield c.hear()


@case(said(b"", "FIN"), "EPIPE")
def close_right_after_connect(w):
    """No one is there for what the server says then."""
    listener = w.listen()
    w.dial(w.entry(*listener.getsockname())).close()
    s = w.accept(listener)
    yield s.hear()
    s.send(b"x")
    yield s.feel()


@case(said(b"", "FIN"), "EPIPE")
def close_right_after_accept(w):
    c, s = w.open()
    s.close()
    yield c.hear()
    c.send(b"x")
    yield c.feel()


@case(said(b"", "FIN"), said(M, "FIN"))
def bulk_by_server_after_fin_by_client(w):
    c, s = w.open()
    c.fin()
    yield s.hear()

    def answer():
        s.send(M)
        s.fin()
    yield together(c.hear, answer)[0]


@case(said(b"", "FIN"), said(L, "FIN"))
def bulk_by_client_after_fin_by_server(w):
    c, s = w.open()
    s.fin()
    yield c.hear()

    def answer():
        c.send(L)
        c.fin()
    yield together(s.hear, answer)[0]


@case(said(L, "FIN"), said(L[::-1], "FIN"))
def whole_question_then_whole_answer(w):
    c, s = w.open()

    def server():
        data, end = s.collect()
        s.send(data[::-1])
        s.close()
        return said(data, end)

    def client():
        c.send(L)
        c.fin()
        return c.hear()
    yield from together(server, client)


@case("FIN", "silent", said(T, "FIN"))
def half_closed_and_idle(w):
    """The answer takes its time after the question's end."""
    c, s = w.open()
    c.fin()
    yield s.hear()
    yield "silent" if c.is_silent(3 * SOON) else "a sound"
    s.send(T)
    s.fin()
    yield c.hear()


@case("FIN", "silent", said(S, "FIN"))
def half_closed_by_server_and_idle(w):
    c, s = w.open()
    s.fin()
    yield c.hear()
    yield "silent" if s.is_silent(3 * SOON) else "a sound"
    c.send(S)
    c.fin()
    yield s.hear()


@case(digest(S), said(T, "FIN"), "FIN")
def shutdown_of_reading_is_not_seen(w):
    """SHUT_RD puts nothing on the wire."""
    c, s = w.open()
    c.socket.shutdown(socket.SHUT_RD)
    c.send(S)
    yield s.read(len(S))
    s.send(T)
    s.fin()
    c.wait_unread(len(T))
    yield c.hear()
    c.fin()
    yield s.hear()


@case(said(S, "FIN"), "EPIPE")
def shutdown_of_both_then_close(w):
    c, s = w.open()
    c.send(S)
    c.socket.shutdown(socket.SHUT_RDWR)
    c.close()
    yield s.hear()
    s.send(T)
    yield s.feel()


@case(said(L, "FIN"))
def close_with_linger_behind_bulk(w):
    """close() that waits until everything is handed over."""
    c, s = w.open()
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, PATIENCE))

    def client():
        c.send(L)
        c.close()
    yield together(s.hear, client)[0]


@case(said(L, "FIN"))
def close_behind_bulk(w):
    """close() at once; the kernel goes on sending."""
    c, s = w.open()

    def client():
        c.send(L)
        c.close()
    yield together(s.hear, client)[0]


@case(said(M, "FIN"))
def close_by_server_behind_bulk(w):
    c, s = w.open()

    def server():
        s.send(M)
        s.close()
    yield together(c.hear, server)[0]


# --- RST


@case("RST")
def rst_by_client_without_data(w):
    c, s = w.open()
    c.rst()
    yield s.hear()


@case("RST")
def rst_by_server_without_data(w):
    c, s = w.open()
    s.rst()
    yield c.hear()


@case(digest(S), "RST")
def rst_by_client_after_data(w):
    c, s = w.open()
    c.send(S)
    yield s.read(len(S))
    c.rst()
    yield s.hear()


@case(digest(T), "RST")
def rst_by_server_after_data(w):
    c, s = w.open()
    s.send(T)
    yield c.read(len(T))
    s.rst()
    yield c.hear()


@case("RST", "next works")
def rst_right_after_connect(w):
    listener = w.listen()
    address = w.entry(*listener.getsockname())
    w.dial(address).rst()
    try:
        yield w.accept(listener, 2).hear()
    except TimeoutError:
        yield "no connection"
    c = w.dial(address)
    s = w.accept(listener)
    c.send(S)
    s.read(len(S))
    yield "next works"


@case(said(S, "RST"))
def rst_by_client_while_its_data_is_unread(w):
    """What came before the RST is still there to be read."""
    c, s = w.open()
    c.send(S)
    s.wait_unread(len(S))
    c.rst()
    yield s.hear()


@case(said(T, "RST"))
def rst_by_server_while_its_data_is_unread(w):
    c, s = w.open()
    s.send(T)
    c.wait_unread(len(T))
    s.rst()
    yield c.hear()


@case("ECONNRESET")
def close_by_client_with_unread_data(w):
    """The kernel makes an RST of it."""
    c, s = w.open()
    s.send(T)
    c.wait_unread(len(T))
    c.close()
    yield s.feel()


@case("ECONNRESET")
def close_by_server_with_unread_data(w):
    c, s = w.open()
    c.send(S)
    s.wait_unread(len(S))
    s.close()
    yield c.feel()


@case("FIN", "EPIPE")
def rst_by_client_after_its_fin(w):
    c, s = w.open()
    c.fin()
    yield s.hear()
    c.rst()
    yield s.feel()


@case("FIN", "EPIPE")
def rst_by_server_after_its_fin(w):
    c, s = w.open()
    s.fin()
    yield c.hear()
    s.rst()
    yield c.feel()


@case("FIN", "RST")
def rst_by_server_after_fin_by_client(w):
    c, s = w.open()
    c.fin()
    yield s.hear()
    s.rst()
    yield c.hear()


@case("FIN", "RST")
def rst_by_client_after_fin_by_server(w):
    c, s = w.open()
    s.fin()
    yield c.hear()
    c.rst()
    yield s.hear()


@case("blocked", "ECONNRESET")
def rst_by_client_while_server_is_blocked(w):
    c, s = w.open()
    yield "blocked" if s.stuff(256 * MIB)[0] else "not blocked"
    c.rst()
    yield s.feel()


@case("blocked", "ECONNRESET")
def rst_by_server_while_client_is_blocked(w):
    c, s = w.open()
    yield "blocked" if c.stuff(256 * MIB)[0] else "not blocked"
    s.rst()
    yield c.feel()


@case("blocked", "ECONNRESET")
def rst_by_client_while_it_is_blocked(w):
    """The RST overtakes the bytes that nobody reads."""
    c, s = w.open()
    yield "blocked" if c.stuff(256 * MIB)[0] else "not blocked"
    c.rst()
    yield s.feel()


@case("blocked", "ECONNRESET")
def rst_by_server_while_it_is_blocked(w):
    c, s = w.open()
    yield "blocked" if s.stuff(256 * MIB)[0] else "not blocked"
    s.rst()
    yield c.feel()


@case("blocked", "blocked", "ECONNRESET")
def rst_while_both_are_blocked(w):
    c, s = w.open()
    for peer in (c, s):
        yield "blocked" if peer.stuff(256 * MIB)[0] else "not blocked"
    c.rst()
    yield s.feel()


@case("RST")
def rst_by_server_amid_bulk_to_it(w):
    """The writer learns of it, though it never reads: by its writes."""
    c, s = w.open()

    def server():
        s.read(MIB)
        s.rst()

    def client():
        try:
            for _ in range(4096):
                c.send(L[:MIB])
        except OSError as error:
            return "RST" if error.errno in (errno.ECONNRESET,
                                            errno.EPIPE) else repr(error)
        return "no error"
    yield together(client, server)[0]


@case("RST")
def rst_by_client_amid_bulk_to_it(w):
    c, s = w.open()

    def client():
        c.read(MIB)
        c.rst()

    def server():
        try:
            for _ in range(4096):
                s.send(M[:MIB])
        except OSError as error:
            return "RST" if error.errno in (errno.ECONNRESET,
                                            errno.EPIPE) else repr(error)
        return "no error"
    yield together(server, client)[0]


@case("RST")
def rst_by_server_amid_bulk_from_it(w):
    """A piece of a file, and never an orderly end behind it."""
    c, s = w.open()

    def server():
        with contextlib.suppress(OSError):
            s.socket.settimeout(SOON)
            s.socket.sendall(M)
        s.rst()
    server()
    yield c.hear_end()


@case("RST")
def rst_by_client_amid_bulk_from_it(w):
    c, s = w.open()
    with contextlib.suppress(OSError):
        c.socket.settimeout(SOON)
        c.socket.sendall(L)
    c.rst()
    yield s.hear_end()


# --- no connection


@case("ECONNREFUSED", "told")
def refused(w):
    with socket.socket() as bound:  # but it does not listen
        bound.bind(("127.0.0.1", 0))
        yield try_to_connect(w, *bound.getsockname())
        yield w.reason("refused")


def try_to_connect(w, host, port, timeout=PATIENCE):
    try:
        c = w.dial(w.entry(host, port), timeout)
    except OSError as error:
        return kind_of(error)
    return "connected, " + c.hear()


@case("ENETUNREACH", "told")
def unreachable(w):
    """TCP to a broadcast address: the kernel refuses at once, anywhere."""
    yield try_to_connect(w, "255.255.255.255", 9)
    yield w.reason("unreachable")


@case("ENETUNREACH", "told")
def unreachable_ipv6(w):
    """And to a multicast one."""
    yield try_to_connect(w, "ff0e::1", 9)
    yield w.reason("unreachable")


def fill(w, listener):
    """Connects until the backlog is full: the next SYN is not answered."""
    pending = []
    while True:
        one = w.stack.enter_context(socket.socket())
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        pending.append(one)
        if not select.select([], [one], [], SOON)[1]:
            return pending
        assert len(pending) < 100, "the backlog never fills"


@case("TIMEOUT", "told", marks=pytest.mark.slow)
def connect_times_out(w):
    """Nobody answers the SYN."""
    listener = w.listen(backlog=0)
    fill(w, listener)
    yield try_to_connect(w, *listener.getsockname(),
                         timeout=1 if w.name == "direct" else PATIENCE)
    yield w.reason("no answer")


@case(said(S, "FIN"), said(T, "FIN"))
def accepted_late(w):
    """The backlog is full at first; then there is room, and nothing is lost."""
    listener = w.listen(backlog=0)
    pending = fill(w, listener)
    address = w.entry(*listener.getsockname())
    ours = {one.getsockname() for one in pending}
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(w.dial, address)
        while True:
            s = w.accept(listener)
            if s.socket.getpeername() not in ours:
                break
            s.close()
        c = coming.result()
    c.send(S)
    c.fin()
    yield s.hear()
    s.send(T)
    s.fin()
    yield c.hear()


@case(said(S, "FIN"), said(T, "FIN"))
def destination_over_ipv6(w):
    c, s = w.open(host="::1")
    c.send(S)
    c.fin()
    yield s.hear()
    s.send(T)
    s.fin()
    yield c.hear()


# --- an end that stops or goes away

CHILD = """
import os, signal, socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
c = s.accept()[0]
%s
"""


def child(w, body):
    """A server in a process of its own: the process, and a client of it."""
    process = subprocess.Popen([sys.executable, "-c", CHILD % body],
                               stdout=subprocess.PIPE, text=True)

    def end():
        process.kill()
        process.wait()
        process.stdout.close()
    w.stack.callback(end)
    port = int(process.stdout.readline())
    return process, w.dial(w.entry("127.0.0.1", port))


@case("silent", "silent", digest(S * 3))
def peer_is_stopped_and_goes_on(w):
    process, c = child(w, "while d := c.recv(65536): c.sendall(d)")
    c.send(S)
    receive_exactly(c.socket, len(S))
    os.kill(process.pid, signal.SIGSTOP)
    for _ in range(2):
        c.send(S)
        yield "silent" if c.is_silent() else "a sound"
    c.send(S)
    os.kill(process.pid, signal.SIGCONT)
    yield c.read(3 * len(S))


@case("FIN", "EPIPE")
def peer_is_killed_while_idle(w):
    """The kernel closes for it: FIN, and RST for what comes afterwards."""
    process, c = child(w, "c.sendall(b'x'); signal.pause()")
    c.read(1)
    process.kill()
    yield c.hear()
    c.send(S)
    yield c.feel()


@case("RST")
def peer_is_killed_with_unread_data(w):
    process, c = child(w, "c.recv(1000, socket.MSG_PEEK | socket.MSG_WAITALL);"
                          "print('there', flush=True); signal.pause()")
    c.send(S)
    process.stdout.readline()
    process.kill()
    yield c.hear()


@case("silent", "ECONNRESET")
def server_vanishes(w):
    """Half open: no FIN, no RST, until somebody writes."""
    c, s = w.open()
    s.send(T)
    c.read(len(T))
    s.vanish()
    yield "silent" if c.is_silent() else "a sound"
    c.send(S)
    yield c.feel()


@case("silent", "ECONNRESET")
def client_vanishes(w):
    c, s = w.open()
    s.send(T)
    c.read(len(T))
    c.vanish()
    yield "silent" if s.is_silent() else "a sound"
    s.send(T)
    yield s.feel()


# --- flow


@case("blocked", "all of it, FIN")
def zero_window_of_server(w):
    """The writer is stopped long before its end, and nothing is lost."""
    c, s = w.open()
    blocked, sent = c.stuff(256 * MIB)
    yield "blocked" if blocked else "not blocked"

    def rest():
        c.send(L)
        c.fin()
    (data, end), _ = together(s.collect, rest)
    yield f"{'all of it' if data == bytes(sent) + L else len(data)}, {end}"


@case("blocked", "all of it, FIN")
def zero_window_of_client(w):
    c, s = w.open()
    blocked, sent = s.stuff(256 * MIB)
    yield "blocked" if blocked else "not blocked"

    def rest():
        s.send(M)
        s.fin()
    (data, end), _ = together(c.collect, rest)
    yield f"{'all of it' if data == bytes(sent) + M else len(data)}, {end}"


@case("blocked", said(T, "FIN"))
def zero_window_one_way_leaves_the_other_free(w):
    c, s = w.open()
    yield "blocked" if c.stuff(256 * MIB)[0] else "not blocked"
    s.send(T)
    s.fin()
    yield c.hear()


@case(said(L[:MIB], "FIN"))
def slow_reader_at_server(w):
    c, s = w.open()
    c.send(L[:MIB])
    c.fin()
    yield s.hear(piece=4096, pause=0.001)


@case(said(M[:MIB], "FIN"))
def slow_reader_at_client(w):
    c, s = w.open()
    s.send(M[:MIB])
    s.fin()
    yield c.hear(piece=4096, pause=0.001)


@case(said(M, "FIN"))
def small_receive_buffer(w):
    """A client whose window is a few KiB."""
    listener = w.listen()
    c = Peer(w.stack.enter_context(socket.socket()))
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.socket.connect(w.entry(*listener.getsockname()))
    s = w.accept(listener)

    def server():
        s.send(M)
        s.fin()
    yield together(c.hear, server)[0]


@case("each at once", said(L[:5000], "FIN"))
def slow_writer(w):
    """100 pieces with pauses: each arrives before the next is sent."""
    c, s = w.open()
    parts = [L[at:at + 50] for at in range(0, 5000, 50)]
    for part in parts:
        c.send(part)
        s.wait_unread(len(part))
        if s.socket.recv(1000) != part:
            yield "not each by itself"
            return
    yield "each at once"
    s.socket.close()
    c, s = w.open()
    for part in parts:
        c.send(part)
    c.fin()
    yield s.hear()


@case(said(L[:20000], "FIN"))
def one_byte_writes(w):
    c, s = w.open()
    c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def client():
        for at in range(20000):
            c.send(L[at:at + 1])
        c.fin()
    yield together(s.hear, client)[0]


@case(said(M[:20000], "FIN"))
def one_byte_writes_by_server(w):
    c, s = w.open()
    s.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def server():
        for at in range(20000):
            s.send(M[at:at + 1])
        s.fin()
    yield together(c.hear, server)[0]


@case(said(L[:5000], "FIN"))
def one_byte_reads(w):
    c, s = w.open()
    c.send(L[:5000])
    c.fin()
    yield s.hear(piece=1)


@case(said(L * 8, "FIN"))
def huge_write(w):
    """64 MiB by one call."""
    c, s = w.open()

    def client():
        c.send(L * 8)
        c.fin()
    yield together(s.hear, client)[0]


@case(said(M * 8, "FIN"))
def huge_write_by_server(w):
    c, s = w.open()

    def server():
        s.send(M * 8)
        s.fin()
    yield together(c.hear, server)[0]


@case(said(M * 3, "FIN"), said(L * 3, "FIN"))
def bulk_both_ways_at_once(w):
    c, s = w.open()

    def write(peer, data):
        peer.send(data)
        peer.fin()
    yield from together(c.hear, s.hear, lambda: write(c, L * 3),
                        lambda: write(s, M * 3))[:2]


@case("1000 answers", "FIN")
def ping_pong_of_one_byte(w):
    c, s = w.open()

    def server():
        while data := s.socket.recv(16):
            s.send(data)

    def client():
        for number in range(1000):
            c.send(bytes([number % 251]))
            assert receive_exactly(c.socket, 1)[0] == number % 251
        c.fin()
        return "1000 answers"
    yield together(client, server)[0]
    s.close()
    yield c.hear()


# around what frames, records and windows are cut at
SIZES = [1, 2, 125, 126, 127, 1460, 4095, 4096, 16383, 16384, 16385, 65534, 65535,
         65536, 65537, 131072, 262143, 262145, 1 << 20]


@case(*[digest(L[:n]) for n in SIZES])
def messages_of_awkward_sizes(w):
    """Each there and back before the next."""
    c, s = w.open()

    def server():
        for n in SIZES:
            s.send(receive_exactly(s.socket, n))

    def client():
        heard = []
        for n in SIZES:
            together(lambda size=n: c.send(L[:size]),
                     lambda size=n: heard.append(c.read(size)))
        return heard
    yield from together(client, server)[0]


@case(said(b"".join(b"answer %d\n" % n for n in range(20000)), "FIN"))
def many_small_requests_pipelined(w):
    c, s = w.open()

    def server():
        with s.socket.makefile("rwb") as file:
            for line in file:
                file.write(b"answer " + line)
        s.fin()

    def client():
        for n in range(20000):
            c.send(b"%d\n" % n)
        c.fin()
    yield together(c.hear, server, client)[0]


@case(said(b"before!after", "FIN"))
def urgent_byte_inline(w):
    c, s = w.open()
    s.socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    c.send(b"before")
    c.socket.send(b"!", socket.MSG_OOB)
    c.send(b"after")
    c.fin()
    yield s.hear()


@case(said(b"before!after", "FIN"))
def urgent_byte_inline_from_server(w):
    c, s = w.open()
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    s.send(b"before")
    s.socket.send(b"!", socket.MSG_OOB)
    s.send(b"after")
    s.fin()
    yield c.hear()


@case("urgent byte", said(b"beforeafter", "FIN"))
def urgent_byte_out_of_band(w):
    c, s = w.open()
    c.send(b"before")
    c.socket.send(b"!", socket.MSG_OOB)
    c.send(b"after")
    c.fin()
    s.wait_unread(6)
    if select.select([], [], [s.socket], SOON)[2]:
        yield "urgent byte" if s.socket.recv(1, socket.MSG_OOB) == b"!" else "?"
    else:
        yield "no urgent byte"
    yield s.hear()


@case(said(S * 50, "FIN"))
def corked_writes(w):
    c, s = w.open()
    c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    for _ in range(50):
        c.send(S)
    c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    c.fin()
    yield s.hear()


# --- who speaks first, and when


@case(digest(T), digest(S), "FIN")
def server_speaks_first(w):
    c, s = w.open()
    s.send(T)
    yield c.read(len(T))
    c.send(S)
    yield s.read(len(S))
    s.close()
    yield c.hear()


@case(digest(S), digest(T))
def client_speaks_at_once(w):
    """Before anybody has accepted."""
    listener = w.listen()
    c = w.dial(w.entry(*listener.getsockname()))
    c.send(S)
    s = w.accept(listener)
    yield s.read(len(S))
    s.send(T)
    yield c.read(len(T))


@case(digest(T), digest(S))
def both_speak_at_once(w):
    c, s = w.open()
    together(lambda: c.send(S), lambda: s.send(T))
    yield from together(lambda: c.read(len(T)), lambda: s.read(len(S)))


@case("silent", "silent", digest(S), digest(T))
def connect_and_idle(w):
    c, s = w.open()
    yield "silent" if c.is_silent(1) else "a sound"
    yield "silent" if s.is_silent(SOON) else "a sound"
    c.send(S)
    yield s.read(len(S))
    s.send(T)
    yield c.read(len(T))


# --- many


def echo_all(listener, stop):
    """Echoes on whatever connects, in one thread."""
    with contextlib.ExitStack() as stack, select.epoll() as poll:
        sockets = {listener.fileno(): listener}
        poll.register(listener, select.EPOLLIN)
        while not stop.is_set():
            for number, _ in poll.poll(0.05):
                one = sockets[number]
                if one is listener:
                    new = stack.enter_context(one.accept()[0])
                    sockets[new.fileno()] = new
                    poll.register(new, select.EPOLLIN)
                    continue
                try:
                    data = one.recv(65536)
                except OSError:
                    data = b""
                if data:
                    one.sendall(data)
                else:
                    poll.unregister(one)
                    del sockets[number]
                    one.close()


@contextlib.contextmanager
def echoing(listener):
    stop = threading.Event()
    thread = threading.Thread(target=echo_all, args=(listener, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@case("500 open", "500 right answers", "500 right answers")
def five_hundred_open_at_once(w):
    listener = w.listen(backlog=1024)
    address = w.entry(*listener.getsockname())
    with echoing(listener):
        peers = [w.dial(address) for _ in range(500)]
        yield f"{len(peers)} open"
        for turn in range(2):
            for number, peer in enumerate(peers):
                peer.send(pattern(100 + turn, number))
            right = sum(receive_exactly(peer.socket, 100 + turn) ==
                        pattern(100 + turn, number)
                        for number, peer in enumerate(peers))
            yield f"{right} right answers"
        for peer in peers:
            peer.close()


@case("500 right answers and ends")
def five_hundred_one_after_the_other(w):
    listener = w.listen(backlog=1024)
    address = w.entry(*listener.getsockname())
    right = 0
    with echoing(listener):
        for number in range(500):
            c = w.dial(address)
            c.send(b"%d" % number)
            c.fin()
            right += c.collect() == (b"%d" % number, "FIN")
            c.close()
    yield f"{right} right answers and ends"


@case(*["%d" % (n % 3) for n in range(90)])
def many_with_different_ends(w):
    """Close, FIN or RST, each by its own server: nobody gets another's end."""
    listener = w.listen(backlog=1024)
    address = w.entry(*listener.getsockname())

    def serve():
        for _ in range(90):
            s = w.accept(listener)
            kind = receive_exactly(s.socket, 1)
            s.send(kind)
            s.wait_unread(1)
            receive_exactly(s.socket, 1)
            if kind == b"0":
                s.close()
            elif kind == b"1":
                s.fin()
            else:
                s.rst()

    def one(number):
        c = w.dial(address)
        kind = b"%d" % (number % 3)
        c.send(kind)
        if receive_exactly(c.socket, 1) != kind:
            return "another's byte"
        c.send(b"x")
        end = c.hear()
        if (end == "RST") != (kind == b"2"):
            return f"{kind} ended by {end}"
        return kind.decode()

    thread = threading.Thread(target=serve)
    thread.start()
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(one, range(90)))
    thread.join()
    yield from results


@case(*["1 GiB of the right hash, FIN"] * 2, marks=pytest.mark.slow)
def a_gibibyte_each_way(w):
    block = pattern(4 * MIB, 9)
    count = 256
    whole = hashlib.sha256()
    for _ in range(count):
        whole.update(block)

    def write(peer):
        for _ in range(count):
            peer.send(block)
        peer.fin()

    def check(peer):
        heard, total = hashlib.sha256(), 0
        buffer = bytearray(MIB)
        while got := peer.socket.recv_into(buffer):
            heard.update(memoryview(buffer)[:got])
            total += got
        same = heard.digest() == whole.digest()
        return (f"{total / (1 << 30):g} GiB of the "
                f"{'right' if same else 'wrong'} hash, FIN")
    c, s = w.open()
    yield from together(lambda: check(c), lambda: check(s), lambda: write(c),
                        lambda: write(s))[:2]


# --- the suite


def run_case(way, function):
    try:
        return list(function(way))
    finally:
        way.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=marks) for name, (_, _, marks) in CASES.items()])
def test_conforms(stages, mode, name):
    """Directly, then through the tunnel."""
    function, expected, _ = CASES[name]
    assert run_case(Way(), function) == expected, "we are wrong about TCP"
    stage = stages(mode)
    mark = len(stage.connect.lines)
    seen = run_case(Through(stage), function)
    allowed = ALLOWED.get((mode, name)) or ALLOWED.get(name)
    for process in stage.processes.all:
        assert process.process.poll() is None, process.output[-4000:]
    if seen not in (allowed.outcomes if allowed else [expected]):
        print("\n".join(line for _, line in stage.connect.lines[mark:]))
        assert seen == expected, f"{mode}: {allowed}"


def test_suite_is_large_enough():
    """And every row of the table of differences belongs to a case."""
    assert len(CASES) >= 50
    names = {key if isinstance(key, str) else key[1] for key in ALLOWED}
    assert names <= set(CASES)
    assert all(allowed.why for allowed in ALLOWED.values())


@pytest.mark.parametrize("mode", MODES)
def test_unix_socket_at_the_local_end(stages, mode, tmp_path):
    """A program that knows Unix sockets only: bytes and FIN both ways, as on
    a Unix socket between two programs."""
    def talk(c, s):
        heard = []
        c.send(S)
        c.fin()
        heard.append(s.hear())
        s.send(T)
        s.fin()
        heard.append(c.hear())
        return heard

    def dial(path):
        one = w.stack.enter_context(socket.socket(socket.AF_UNIX))
        one.connect(str(path))
        return Peer(one)
    w = Way()
    listener = w.listen_unix(tmp_path)
    c = dial(tmp_path / "end")
    direct = talk(c, w.accept(listener))
    w.close()
    w = Through(stages(mode))
    listener = w.listen()
    w.stage.unix_tunnel(tmp_path / "entry", listener.getsockname()[1])
    c = dial(tmp_path / "entry")
    assert talk(c, w.accept(listener)) == direct == [said(S, "FIN"), said(T, "FIN")]
    w.close()
