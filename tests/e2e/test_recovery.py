# SPDX-License-Identifier: MIT
"""kill -9 of any of the three: the other two recover by themselves when it is
back."""

import signal

import pytest
from conftest import dial, tunnel_port, wait_until


def works(port):
    try:
        with dial(port) as c:
            c.sendall(b"still here?")
            got = b""
            while len(got) < 11:
                data = c.recv(100)
                if not data:
                    return False
                got += data
            return got == b"still here?"
    except OSError:
        return False


def test_relay_killed_and_back(world, echo_server):
    """Listener and sender keep trying and find the new relay."""
    relay = world.relay()
    listen = world.listen()
    _, port = world.tunnel(echo_server.port)
    assert works(port)
    relay.kill()
    assert not works(port)
    world.relay()  # the same port and keys
    listen.wait_line(r"^listening on ", count=2)
    wait_until(lambda: works(port), "the tunnel works again")


def test_listener_killed_and_back(world, echo_server):
    """The sender's tunnel is refused meanwhile, then goes on."""
    world.relay()
    listen = world.listen()
    _, port = world.tunnel(echo_server.port)
    assert works(port)
    listen.kill()
    assert not works(port)
    world.listen()
    wait_until(lambda: works(port), "the tunnel works again")


def test_sender_killed_and_back(world, server):
    """What the service behind the listener sees of it is a reset; a new sender
    finds the listener as before."""
    seen = []

    def watch(c):
        c.sendall(b"hello")
        try:
            while data := c.recv(10):
                c.sendall(data)
            seen.append("end")
        except ConnectionError:
            seen.append("reset")
    one = server(watch)
    world.relay()
    listen = world.listen()
    connect, port = world.tunnel(one.port)
    with dial(port) as held:
        assert held.recv(5) == b"hello"
        connect.kill()
        wait_until(lambda: seen, "the server saw the end")
    assert seen == ["reset"]
    _, port = world.tunnel(one.port)
    with dial(port) as c:
        assert c.recv(5) == b"hello"
    assert listen.process.poll() is None


def test_live_connections_of_a_killed_listener_break(world, echo_server):
    """The local application learns of it: a reset, not silence and not an
    orderly end."""
    world.relay()
    listen = world.listen()
    _, port = world.tunnel(echo_server.port)
    with dial(port) as c:
        c.sendall(b"x")
        assert c.recv(1) == b"x"
        listen.kill()
        with pytest.raises(ConnectionError):
            assert c.recv(1) != b"", "an orderly end"


def test_live_connections_of_a_killed_relay_break_both_ends(world, server):
    """The service behind the listener learns of it too."""
    seen = []

    def watch(c):
        c.sendall(b"hello")
        try:
            seen.append(c.recv(10))
        except ConnectionError:
            seen.append("reset")
    relay = world.relay()
    world.listen()
    _, port = world.tunnel(server(watch).port)
    with dial(port) as c:
        assert c.recv(5) == b"hello"
        relay.kill()
        with pytest.raises(ConnectionError):
            assert c.recv(1) != b"", "an orderly end"
    wait_until(lambda: seen, "the server saw the end")
    assert seen == ["reset"]


def test_users_and_policy_are_reloaded(world, echo_server):
    """SIGHUP: a new user may come, a removed one may not, live connections of
    the removed one end; a broken file changes nothing and is reported."""
    world.relay()
    listen = world.listen()
    _, port = world.tunnel(echo_server.port)
    with dial(port) as c:
        c.sendall(b"x")
        assert c.recv(1) == b"x"
        good = world.users.read_text()
        world.users.write_text("broken\n")
        listen.signal(signal.SIGHUP)
        listen.wait_line(r"users:1")
        c.sendall(b"y")
        assert c.recv(1) == b"y"
        world.users.write_text(good.replace("alice:", "bob:"))
        listen.signal(signal.SIGHUP)
        with pytest.raises(ConnectionError):
            assert c.recv(1) != b"", "an orderly end"
    bob = world.connect("--user", "bob", "--password-file", world.password_file,
                        "-L", f"127.0.0.1:0:127.0.0.1:{echo_server.port}",
                        user=None)
    assert works(tunnel_port(bob))
    assert not works(port)
