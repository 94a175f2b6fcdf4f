# SPDX-License-Identifier: MIT
"""The sandbox of the roles that run long: that they are in it, and that what
they have to do later still works from inside."""

import os
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import dial, wait_until
from test_console import Terminal, log_in, terminal  # noqa: F401


def status(pid, key):
    """The values of one line of /proc/PID/status, of all threads."""
    values = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        values.add(re.search(rf"^{key}:\s*(\d+)", text, re.M).group(1))
    return values


def has_seccomp():
    return "Seccomp:" in Path("/proc/self/status").read_text()


def is_shut_in(process):
    assert status(process.pid, "NoNewPrivs") == {"1"}, process.name
    if has_seccomp() and "leaves system calls open" not in process.output:
        assert status(process.pid, "Seccomp") == {"2"}, process.name
    limits = Path(f"/proc/{process.pid}/limits")
    if os.access(limits, os.R_OK):
        assert re.search(r"Max core file size\s+0\s+0", limits.read_text())


def test_roles_are_shut_in(world, echo_server):
    """All three, with the threads they started in it, and they work."""
    relay = world.relay("-v")
    listen = world.listen("-v")
    connect, port = world.tunnel(echo_server.port, "localhost", "-v", "-v")
    with dial(port) as c:
        c.sendall(b"hello")
        assert c.recv(5) == b"hello"
        for process in (relay, listen, connect):
            is_shut_in(process)
    # the listener resolved a name on a thread of the pool
    assert len(list(Path(f"/proc/{listen.pid}/task").iterdir())) > 1


def test_no_sandbox(world, echo_server):
    relay = world.relay("--no-sandbox")
    listen = world.listen("--no-sandbox")
    connect, port = world.tunnel(
        echo_server.port, "127.0.0.1", "--no-sandbox", "-v")
    with dial(port) as c:
        c.sendall(b"hello")
        assert c.recv(5) == b"hello"
    for process in (relay, listen, connect):
        process.wait_line(r"no sandbox.*reason=--no-sandbox")
        assert status(process.pid, "NoNewPrivs") == {"0"}
        assert status(process.pid, "Seccomp") == {"0"}


def test_reload_of_a_replaced_users_file(world):
    """hyco passwd puts a new file in the old one's place."""
    world.relay()
    listen = world.listen()
    world.add_user("bob", "secret of bob")
    listen.signal(signal.SIGHUP)
    listen.wait_line(r"users and policy reloaded.*users=2")
    world.password_file.write_text("secret of bob\n")
    connect = world.connect("-L", "127.0.0.1:0:127.0.0.1:1", user="bob")
    connect.wait_line(r"^tunnel 1: ")


def test_reload_of_a_linked_users_file(world):
    """The folder is swapped as a whole, as Kubernetes does."""
    world.relay()
    folder = world.folder / "mounted"
    for name in "v1", "v2":
        (folder / name).mkdir(parents=True)
    world.add_user()
    text = world.users.read_text()
    (folder / "v1" / "users").write_text(text)
    (folder / "v2" / "users").write_text(text + text.replace("alice", "bob"))
    for name in "v1", "v2":
        (folder / name / "users").chmod(0o600)
    (folder / "data").symlink_to("v1")
    world.users.unlink()
    world.users = folder / "users"
    world.users.symlink_to("data/users")
    listen = world.listen()
    (folder / "next").symlink_to("v2")
    (folder / "next").rename(folder / "data")
    listen.signal(signal.SIGHUP)
    listen.wait_line(r"users and policy reloaded.*users=2")


def write_relay(folder, source, key):
    folder.mkdir(exist_ok=True)
    for name in "relay.pem", "relay.key":
        temporary = folder / (name + ".new")
        temporary.write_bytes((source / name).read_bytes())
        temporary.chmod(0o600)
        temporary.rename(folder / name)
    (folder / "relay.yaml.new").write_text(f"""listen: 127.0.0.1:0
tls:
  cert: relay.pem
  key: relay.key
namespaces:
  - name: localhost
    hybrid-connections:
      - path: demo
    rules:
      - name: both
        key-file: {key}
        rights: [listen, send]
""")
    (folder / "relay.yaml.new").rename(folder / "relay.yaml")


@pytest.fixture
def configured(world):
    """A relay from a configuration file, not --dev."""
    world.relay().stop()
    folder = world.folder / "configured"
    key = folder / "secret.key"
    folder.mkdir()
    key.write_text("a key of the tests\n")
    key.chmod(0o600)
    write_relay(folder, world.state, "secret.key")
    relay = world.processes.start(
        [world.hyco, "relay", "--config", folder / "relay.yaml"], name="relay")
    relay.wait_line(r"^relay ready on ")
    return relay, folder


def test_relay_reloads_replaced_files(world, configured):
    relay, folder = configured
    write_relay(folder, world.state, "secret.key")
    relay.signal(signal.SIGHUP)
    relay.wait_line(r"configuration reloaded")


def test_relay_names_the_remedy(world, configured):
    """A file in a folder that nobody named at the start is out of reach."""
    relay, folder = configured
    if "leaves files open" in relay.output:
        pytest.skip("no Landlock")
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    key = elsewhere / "secret.key"
    key.write_text("another key\n")
    key.chmod(0o600)
    write_relay(folder, world.state, key)
    relay.signal(signal.SIGHUP)
    relay.wait_line(r"configuration kept as it was.*sandbox.*restart")


def test_console_keeps_its_history(world, terminal):  # noqa: F811
    world.relay()
    world.listen()
    t = terminal()
    log_in(t, world)
    t.expect(r"Type `help`")
    t.type("status\r")
    t.expect(r"relay +localhost")
    assert status(t.pid, "NoNewPrivs") == {"1"}
    t.type("exit\r")
    assert t.end() == 0
    files = list(world.folder.rglob("history"))
    assert len(files) == 1
    assert "status" in files[0].read_text()


def test_sockets_in_folders_of_tunnels(world, echo_server):
    """Made, used, and removed at the end; not beneath /tmp, which is open."""
    world.relay()
    world.listen()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder) / "in"
        connect = world.connect(
            "-L", f"unix:{path}=127.0.0.1:{echo_server.port}")
        connect.wait_line(r"^tunnel 1: ")
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(str(path))
            c.sendall(b"hello")
            assert c.recv(5) == b"hello"
        assert connect.stop() == 0
        assert not path.exists()


def test_sockets_elsewhere_need_a_word_first(world, echo_server):
    """The console cannot open what was not named at the start; it says so."""
    world.relay("-v")
    world.listen()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        batch = world.folder / "batch"
        batch.write_text(
            f"tunnel unix:{folder}/in 127.0.0.1:{echo_server.port}\n")
        connect = world.connect("--batch", batch, "-v")
        assert connect.wait() == 1
        if "leaves files open" not in connect.output:
            assert "inside the sandbox" in connect.output


def test_kill_of_a_process_in_its_sandbox(world):
    """Also for a user who may not look into it."""
    world.state.mkdir(mode=0o700)
    pidfile = world.folder / "relay.pid"
    relay = world.relay("--pidfile", pidfile)
    user = None
    if os.geteuid() == 0:
        # without root's right to look at other processes
        user = ["setpriv", "--bounding-set=-sys_ptrace"]
    done = subprocess.run(
        [*(user or []), world.hyco, "relay", "--kill", str(pidfile)],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: relay.process.poll() is not None, "the relay ended")
    assert not pidfile.exists()
    assert relay.wait() == 0
