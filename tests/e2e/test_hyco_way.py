# SPDX-License-Identifier: MIT
"""The hyco way as people get it: by default, with the listener's identity
asked for once, and with connections that outlive the relay."""

import hashlib
import os
import pty
import random
import re
import socket
import subprocess
import threading

import pytest
from conftest import (PATIENCE, dial, receive_all, receive_exactly,
                      tunnel_port, wait_until)

PIECE = 16 * 1024 * 1024


@pytest.fixture
def home(tmp_path):
    """A state folder of this test's own."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return {"XDG_STATE_HOME": str(folder)}


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


@pytest.fixture
def auto(world, home):
    """Relay and listener, and senders that decide by themselves."""
    world.mode = None
    world.relay()
    world.listener = world.listen(env=home)
    return world


def identity_of(listen):
    return listen.wait_line(r"identity.* name=(sha256:\S+)").group(1)


def test_default(auto, home, echo_server):
    """Without any option about it the way is hyco; status tells."""
    sender = auto.connect("--accept-new", env=home, stdin=subprocess.PIPE)
    sender.write(f"tunnel 0 {echo_server.port}\n")
    port = tunnel_port(sender)
    with dial(port) as c:
        c.sendall(b"hello")
        assert receive_exactly(c, 5) == b"hello"
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b""
    sender.write("status\n")
    sender.wait_line(r"^mode +auto \(speaking hyco\)$")
    sender.wait_line(r"^sessions +1 open, carrier up; 0 resumes$")
    sender.wait_line(rf"^listener +{re.escape(identity_of(auto.listener))}$")
    sender.write("exit\n")
    assert sender.wait() == 0
    auto.listener.wait_line(r"connection closed .*user=alice .*up=5 down=5 .*reason=end")
    auto.listener.wait_line(r"session closed .*user=alice .*connections=1")


def test_wrong_password(auto, home):
    auto.password_file.write_text("not it\n")
    sender = auto.connect("--accept-new", "-L", "0:127.0.0.1:1", env=home)
    assert sender.wait() == 3
    assert "user or password wrong" in sender.text("err")
    auto.listener.wait_line(r"login refused .*user or password wrong")


def test_refused_destination(auto, home, free_port):
    sender, port = auto.tunnel(free_port, "127.0.0.1", "--accept-new", env=home)
    with pytest.raises(ConnectionResetError):  # it may come as early as in dial
        with dial(port) as c:
            assert c.recv(1) != b"", "an orderly end instead of a reset"


def test_known_listeners(auto, home, echo_server):
    """Unknown: refused where nobody can be asked, with the remedy. Accepted:
    remembered. Changed: refused, whatever the options say."""
    known = os.path.join(home["XDG_STATE_HOME"], "hyco", "known_listeners")
    name = identity_of(auto.listener)
    sender = auto.connect("-L", "0:127.0.0.1:1", env=home)
    assert sender.wait() == 3
    assert name in sender.text("err")
    assert "--accept-new" in sender.text("err")
    assert not os.path.exists(known)
    sender, port = auto.tunnel(echo_server.port, "127.0.0.1", "--accept-new", env=home)
    assert sender.stop() == 0
    with open(known, encoding="ascii") as f:
        assert f.read().split()[1] == name
    sender, port = auto.tunnel(echo_server.port, env=home)
    with dial(port) as c:
        c.sendall(b"hello")
        assert receive_exactly(c, 5) == b"hello"
    assert sender.stop() == 0

    # The same path, another listener.
    auto.listener.stop()
    other = os.path.join(home["XDG_STATE_HOME"], "other")
    auto.listener = auto.listen("--identity", other, env=home)
    assert identity_of(auto.listener) != name
    sender = auto.connect("-L", "0:127.0.0.1:1", "--accept-new", env=home)
    assert sender.wait() == 3
    assert "known_listeners" in sender.text("err")
    assert "session opened" not in auto.listener.output

    # And one that does not even try.
    auto.listener.stop()
    auto.listener = auto.listen("--no-e2e", env=home)
    sender = auto.connect("-L", "0:127.0.0.1:1", env=home)
    assert sender.wait() == 3
    assert "--mode sample" in sender.text("err")


def test_pin(auto, home, echo_server):
    name = identity_of(auto.listener)
    _, port = auto.tunnel(echo_server.port, "127.0.0.1", "--pin", name, env=home)
    with dial(port) as c:
        c.sendall(b"hello")
        assert receive_exactly(c, 5) == b"hello"
    wrong = name[:-2] + ("A" if name[-2] != "A" else "B") + name[-1]
    sender = auto.connect("-L", "0:127.0.0.1:1", "--pin", wrong, env=home)
    assert sender.wait() == 3
    assert "--pin" in sender.text("err")
    sender = auto.connect("-L", "0:127.0.0.1:1", "--pin", "sha256:short", env=home)
    assert sender.wait() == 2


@pytest.mark.parametrize("answer, status", [("yes", 0), ("no", 3)])
def test_question(auto, home, answer, status):
    """On a terminal the identity is asked about once."""
    main, side = pty.openpty()
    sender = subprocess.Popen(
        auto.connect_argv("-L", "0:127.0.0.1:1"), stdin=side, stdout=side,
        stderr=side, env={**os.environ, **home}, start_new_session=True)
    os.close(side)
    seen = b""

    def wait_text(text):
        nonlocal seen
        while text not in seen:
            try:
                data = os.read(main, 4096)
            except OSError:
                data = b""
            assert data, seen
            seen += data

    wait_text(b"(yes/no)")
    assert identity_of(auto.listener).encode() in seen
    os.write(main, answer.encode() + b"\n")
    if answer == "yes":
        wait_text(b"tunnel 1: ")
        sender.terminate()
    assert sender.wait(PATIENCE) == status
    os.close(main)


def test_fall_back(world, home, echo_server):
    """A listener that speaks only the sample way is spoken to in it, with one
    line about that."""
    world.mode = None
    world.relay()
    # A file where the folder should be: no identity can be kept.
    (world.folder / "nothing").write_text("")
    listen = world.listen(env={"XDG_STATE_HOME": str(world.folder / "nothing")})
    listen.wait_line(r"no identity can be kept")
    sender, port = world.tunnel(echo_server.port, env=home)
    for _ in range(3):
        with dial(port) as c:
            c.sendall(b"hello")
            assert receive_exactly(c, 5) == b"hello"
    assert sender.text("err").count("does not speak the hyco way") == 1
    sender = world.connect("--mode", "hyco", "-L", "0:127.0.0.1:1", env=home)
    assert sender.wait() != 0
    assert "does not speak the hyco way" in sender.text("err")


def test_listener_killed_and_back(auto, home, echo_server):
    """A session dies with its listener; new connections do not wait for it, and
    are refused clearly while nobody listens."""
    sender, port = auto.tunnel(echo_server.port, "127.0.0.1", "--accept-new", env=home)

    def works():
        try:
            with dial(port) as c:
                c.sendall(b"hello")
                return receive_exactly(c, 5) == b"hello"
        except (OSError, AssertionError):
            return False

    assert works()
    auto.listener.kill()
    sender.wait_line("carrier lost ")
    auto.relay_process.wait_line(r"connection refused .*action=connect")
    with pytest.raises(ConnectionResetError):
        with dial(port) as c:
            assert c.recv(1) != b"", "an orderly end instead of a reset"
    auto.listener = auto.listen(env=home)
    wait_until(works, "the tunnel works again")


def noise(seed):
    return random.Random(seed).randbytes(PIECE)


def transfer(port, seed, failures):
    """Sends 16 MiB and reads the same back, hashed."""
    try:
        data = noise(seed)
        with dial(port) as c:
            c.settimeout(PATIENCE)
            writer = threading.Thread(
                target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
            writer.start()
            got = hashlib.sha256()
            count = 0
            while piece := c.recv(1 << 18):
                got.update(piece)
                count += len(piece)
            writer.join()
        if count != len(data):
            failures.append(f"{seed}: {count} bytes came back")
        elif got.digest() != hashlib.sha256(data).digest():
            failures.append(f"{seed}: wrong bytes")
    except OSError as error:
        failures.append(f"{seed}: {error!r}")


def test_relay_killed_in_the_midst(auto, home, echo_server):
    """Twenty transfers both ways, 16 MiB each; the relay is killed again and
    again meanwhile: not one wrong byte, not one lost connection."""
    sender, port = auto.tunnel(echo_server.port, "127.0.0.1", "--accept-new", env=home)
    failures = []
    # Five at a time, so that every kill meets some in the midst.
    kills = 0
    for first in range(0, 20, 5):
        threads = [threading.Thread(target=transfer, args=(port, seed, failures))
                   for seed in range(first, first + 5)]
        before = echo_server.accepted
        for t in threads:
            t.start()
        wait_until(lambda: echo_server.accepted == before + 5, "all are connected")
        auto.relay_process.kill()
        auto.relay()
        kills += 1
        sender.wait_line(r"resumed ", count=kills)
        for t in threads:
            t.join(2 * PATIENCE)
            assert not t.is_alive()
    assert failures == []
    assert "session lost" not in sender.output
    assert auto.listener.output.count("session opened") == 1
