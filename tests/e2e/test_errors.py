# SPDX-License-Identifier: MIT
"""Every error a person can meet names the hop and the remedy, and the exit
status tells its kind: 1 failure, 2 usage, 3 authentication, 4 network."""

import base64
import hashlib
import hmac
import os
import re
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest
from conftest import PATIENCE, dial, free_port, need, tunnel_port

DONE, FAILURE, USAGE, AUTH, NETWORK = range(5)


def run(argv, status, *patterns, env=None, stdin=None):
    """Runs to the end: exit status and what standard error must hold."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HYCO_")}
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True,
                          timeout=PATIENCE, env={**clean, **(env or {})},
                          input=stdin,
                          stdin=subprocess.DEVNULL if stdin is None else None)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    for pattern in patterns:
        assert re.search(pattern, done.stderr), (pattern, done.stderr)
    return done.stderr


def connection_string(world, name, **changes):
    """A connection string of the relay with fields changed."""
    text = (world.state / name).read_text().strip()
    fields = dict(part.split("=", 1) for part in text.split(";") if part)
    fields.update(changes)
    return ";".join(f"{k}={v}" for k, v in fields.items() if v is not None)


BATCH = ("-L", "127.0.0.1:0:127.0.0.1:1")


def both_roles(world):
    """argv of listen and connect up to the connection string."""
    if not world.users.exists():
        world.add_user()
    return [[world.hyco, "listen", "--users", world.users, "--ca", world.ca],
            [world.hyco, "connect", "--ca", world.ca, "--user", "alice",
             "--password-file", world.password_file, *BATCH]]


def test_relay_name_unknown(world):
    world.relay()
    for argv in both_roles(world):
        run([*argv, "-x", connection_string(
            world, "manage.conn", Endpoint="sb://no-such-relay.invalid/")],
            NETWORK, r"no-such-relay\.invalid", r"unknown|not.*known|resolve")


def test_relay_port_closed(world):
    world.relay()
    port = free_port()
    for argv in both_roles(world):
        run([*argv, "-x", connection_string(
            world, "manage.conn", Endpoint=f"sb://localhost:{port}/")],
            NETWORK, rf"localhost:{port}", r"refused")


def test_relay_that_does_not_speak_tls(world, server):
    world.relay()
    plain = server(lambda c: (c.recv(1000),
                              c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
    for argv in both_roles(world):
        run([*argv, "-x", connection_string(
            world, "manage.conn", Endpoint=f"sb://localhost:{plain.port}/")],
            NETWORK, rf"localhost", r"TLS")


def test_relay_certificate_not_trusted(world):
    """Without --ca the relay's own CA is unknown: the remedy is said."""
    world.relay()
    for argv in both_roles(world):
        argv.remove("--ca")
        argv.remove(world.ca)
        run([*argv, "-x", f"@{world.state}/manage.conn"], NETWORK,
            r"certificate", r"--ca")


def test_relay_certificate_for_another_name(world):
    """Trusted, but issued for localhost only."""
    world.relay(address="127.0.0.2")
    for argv in both_roles(world):
        run([*argv, "-x", connection_string(
            world, "manage.conn", Endpoint=f"sb://127.0.0.2:{world.port}/")],
            NETWORK, r"127\.0\.0\.2", r"certificate")


def test_wrong_key_name(world):
    world.relay()
    for argv in both_roles(world):
        run([*argv, "-x", connection_string(
            world, "manage.conn", SharedAccessKeyName="nobody")],
            AUTH, r"401", r"nobody|rule|key name")


def test_wrong_key(world):
    world.relay()
    for argv in both_roles(world):
        run([*argv, "-x", connection_string(
            world, "manage.conn", SharedAccessKey="d3Jvbmc=")],
            AUTH, r"401", r"signature", r"key")


def sas(audience, key_name, key, expiry):
    resource = urllib.parse.quote(audience, safe="")
    signature = base64.b64encode(hmac.new(
        key.encode(), f"{resource}\n{expiry}".encode(),
        hashlib.sha256).digest()).decode()
    return (f"SharedAccessSignature sr={resource}&sig="
            f"{urllib.parse.quote(signature, safe='')}&se={expiry}&skn={key_name}")


def test_expired_token(world):
    """A token of yesterday."""
    world.relay()
    text = connection_string(world, "manage.conn")
    fields = dict(part.split("=", 1) for part in text.split(";") if part)
    token = sas("http://localhost/demo", fields["SharedAccessKeyName"],
                fields["SharedAccessKey"], int(time.time()) - 86400)
    for argv in both_roles(world):
        run([*argv, "-n", f"localhost:{world.port}", "-p", "demo", "--token",
             token], AUTH, r"expired", r"hyco token")


def test_right_missing(world):
    """A key that may only send cannot listen, and the reverse."""
    world.relay()
    listen, connect = both_roles(world)
    run([*listen, "-x", f"@{world.state}/send.conn"], AUTH, r"403", r"Listen")
    run([*connect, "-x", f"@{world.state}/listen.conn"], AUTH, r"403", r"Send")


def test_unknown_path(world):
    world.relay()
    for argv in both_roles(world):
        run([*argv, "-x", connection_string(
            world, "manage.conn", EntityPath="elsewhere")],
            FAILURE, r"elsewhere", r"404|does not exist")


def test_no_listener(world):
    """The relay is there, the path is right, nobody listens."""
    world.relay()
    run(world.connect_argv(*BATCH), NETWORK, r"no listener|listener",
        r"hyco listen")


def test_wrong_password(world, echo_server):
    world.relay()
    world.listen()
    wrong = world.folder / "wrong"
    wrong.write_text("guess\n")
    wrong.chmod(0o600)
    argv = world.connect_argv(*BATCH, user=None)
    for user in ("alice", "nobody", "__proto__"):
        run([*argv, "--password-file", wrong, "--user", user], AUTH,
            r"listener of localhost", r"--password-file")
    run(argv, AUTH, r"user or password wrong", r"--user")


def test_policy_refusal(world, echo_server):
    """The destination is not allowed: said on the sender's side, connection
    broken, and audited by the listener."""
    policy = world.folder / "policy"
    policy.write_text("user alice\nallow tcp 127.0.0.1 1\n")
    world.relay()
    listen = world.listen("--policy", policy)
    connect, port = world.tunnel(echo_server.port)
    with pytest.raises(ConnectionError):
        with dial(port) as c:
            assert c.recv(1) != b""
    connect.wait_line(r"listener .*policy: user alice may not.*can allow it")
    listen.wait_line(rf"{echo_server.port}")
    assert echo_server.accepted == 0


def test_policy_holds_for_every_spelling(world, server):
    """Loopback denied: no spelling of it gets through."""
    policy = world.folder / "policy"
    policy.write_text("user *\nallow tcp * *\ndeny tcp 127.0.0.0/8 *\n"
                      "deny tcp ::1 *\n")
    one = server(lambda c: c.sendall(b"reached"))
    world.relay()
    world.listen("--policy", policy)
    spellings = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]",
                 "0.0.0.0", "[::]", "127.1.2.3"]
    argv = []
    for spelling in spellings:
        argv += ["-L", f"127.0.0.1:0:{spelling}:{one.port}"]
    connect = world.connect(*argv)
    for number in range(1, len(spellings) + 1):
        with pytest.raises(ConnectionError):
            with dial(tunnel_port(connect, number)) as c:
                assert c.recv(1) != b"", spellings[number - 1]
    assert one.accepted == 0


def test_metadata_addresses_need_to_be_named(world):
    """Without a policy link-local addresses stay closed."""
    world.relay()
    world.listen()
    connect, port = world.tunnel(80, "169.254.169.254")
    with pytest.raises(ConnectionError):
        with dial(port) as c:
            assert c.recv(1) != b""
    connect.wait_line(r"169\.254\.169\.254")


def test_destination_refused(world):
    world.relay()
    world.listen()
    connect, port = world.tunnel(free_port())
    with pytest.raises(ConnectionError):
        with dial(port) as c:
            assert c.recv(1) != b""
    connect.wait_line(r"listener .*destination .*refused; does the service run")


def test_destination_name_unknown(world):
    world.relay()
    world.listen()
    connect, port = world.tunnel(80, "no-such-host.invalid")
    with pytest.raises(ConnectionError):
        with dial(port) as c:
            assert c.recv(1) != b""
    connect.wait_line(r"no-such-host\.invalid.*(unknown|not known|resolve)")


def test_local_port_in_use(world, echo_server):
    world.relay()
    world.listen()
    run(world.connect_argv("-L", f"127.0.0.1:{echo_server.port}:127.0.0.1:1"),
        USAGE, rf"127\.0\.0\.1:{echo_server.port}", r"in use")
    run([world.hyco, "relay", "--dev", "--listen",
         f"127.0.0.1:{echo_server.port}", "--state", world.folder / "other"],
        USAGE, r"in use")


def test_files_missing_unreadable_or_open_to_all(world):
    world.relay()
    world.add_user()
    listen = [world.hyco, "listen", "--ca", world.ca]
    secret = world.state / "listen.conn"
    run([*listen, "-x", f"@{world.folder}/nothing", "--users", world.users],
        FAILURE, r"nothing", r"[Nn]o such file")
    run([*listen, "-x", f"@{secret}", "--users", world.folder / "none"],
        FAILURE, r"none", r"hyco passwd \S*none")
    run([world.hyco, "listen", "-x", f"@{secret}", "--ca", world.folder / "noca",
         "--users", world.users], FAILURE, r"noca")
    run([world.hyco, "listen", "-x", f"@{secret}", "--ca", world.users,
         "--users", world.users], USAGE, r"CA file .*users")
    text = run([*listen, "-x", f"@{world.users}", "--users", world.users], USAGE,
               r"--connection-string: part 1 ")
    assert text.lower().count("connection") == 1
    open_to_all = world.folder / "open.conn"
    open_to_all.write_text(secret.read_text())
    open_to_all.chmod(0o644)
    text = run([*listen, "-x", f"@{open_to_all}", "--users", world.users],
               AUTH, r"open\.conn", r"chmod")
    assert connection_string(world, "listen.conn").split("SharedAccessKey=")[1][
        :20] not in text
    world.users.chmod(0o644)
    run([*listen, "-x", f"@{secret}", "--users", world.users], AUTH,
        r"users", r"chmod")


def test_no_listener_without_users(world):
    world.relay()
    run([world.hyco, "listen", "-x", f"@{world.state}/listen.conn", "--ca",
         world.ca], USAGE, r"--users", r"hyco passwd")


def test_an_empty_users_file_is_told(world):
    world.relay()
    world.users.write_text("# nobody yet\n")
    world.users.chmod(0o600)
    world.listen().wait_line(r"warn.*users file names nobody.*users")


def test_clear_text_users_are_refused_with_the_remedy(world):
    world.relay()
    world.users.write_text("foo:bar\n")
    world.users.chmod(0o600)
    text = run([world.hyco, "listen", "-x", f"@{world.state}/listen.conn",
                "--ca", world.ca, "--users", world.users], USAGE,
               r"hyco passwd .*--import")
    assert "bar" not in text
    run([world.hyco, "passwd", world.users, "--import"], DONE)
    world.listen()


def test_malformed_files_name_the_line(world):
    world.relay()
    world.add_user()
    listen = [world.hyco, "listen", "-x", f"@{world.state}/listen.conn", "--ca",
              world.ca]
    policy = world.folder / "policy"
    policy.write_text("user alice\nallow tcp * *\npermit everything\n")
    run([*listen, "--users", world.users, "--policy", policy], USAGE,
        r"policy:3")
    with open(world.users, "a") as users:
        users.write("no colon here\n")
    run([*listen, "--users", world.users], USAGE, r"users:2")
    config = world.folder / "relay.yaml"
    config.write_text("listen: 127.0.0.1:0\nnamespaces:\n  - nme: x\n")
    config.chmod(0o600)
    run([world.hyco, "relay", "--config", config], USAGE, r"relay\.yaml", r"3")


def test_secrets_in_arguments_are_wiped(world):
    """A key on the command line is not in the process list afterwards."""
    world.relay()
    fields = dict(part.split("=", 1) for part in
                  connection_string(world, "listen.conn").split(";"))
    key = fields["SharedAccessKey"]
    world.add_user()
    listen = world.processes.start(
        [world.hyco, "listen", f"localhost:{world.port}", "demo",
         fields["SharedAccessKeyName"], key, "--ca", world.ca, "--users",
         world.users], name="listen")
    listen.wait_line(r"^listening on localhost:\d+/demo$")
    with open(f"/proc/{listen.pid}/cmdline") as line:
        assert key not in line.read()


def test_nothing_secret_is_logged(world, echo_server):
    """At the loudest level no log holds key, token or password."""
    world.relay("-vv")
    world.listen("-vv")
    _, port = world.tunnel(echo_server.port, "127.0.0.1", "-vv")
    with dial(port) as c:
        c.sendall(b"payload-marker-1234")
        assert c.recv(100)
    for process in world.processes.all:
        process.stop()
    keys = [connection_string(world, n).split("SharedAccessKey=")[1].split(";")[0]
            for n in ("listen.conn", "send.conn", "manage.conn")]
    for process in world.processes.all:
        for secret in [*keys, world.PASSWORD, "sig=", "payload-marker",
                       base64.b64encode(f"alice:{world.PASSWORD}".encode()).decode()]:
            assert secret not in process.output, (process.name, secret)


def test_a_peer_that_says_nothing_is_ended_by_a_deadline(world):
    """A half-open TLS client does not stay for ever."""
    world.relay()
    silent = socket.create_connection(("127.0.0.1", world.port))
    silent.settimeout(PATIENCE)
    assert silent.recv(1) == b""
    silent.close()


def test_out_of_descriptors(world, echo_server):
    """EMFILE in the sender: accepting pauses with one log line; what was open
    goes on; when some end, the rest come through."""
    prlimit = need("prlimit")
    world.relay()
    world.listen()
    connect, port = world.tunnel(echo_server.port)
    with dial(port) as c:
        c.sendall(b"1")
        assert c.recv(1) == b"1"
    subprocess.run([prlimit, "--pid", str(connect.pid), "--nofile=60:"],
                   check=True)
    results = []

    def one(number):
        try:
            with dial(port) as c:
                c.sendall(b"%03d" % number)
                results.append(c.recv(3) == b"%03d" % number)
        except OSError:
            results.append(None)
    threads = [threading.Thread(target=one, args=(n,)) for n in range(120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(results) == 120 and False not in results
    subprocess.run([prlimit, "--pid", str(connect.pid), "--nofile=1024:"],
                   check=True)
    with dial(port) as c:
        c.sendall(b"after")
        assert c.recv(5) == b"after"
