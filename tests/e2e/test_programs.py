# SPDX-License-Identifier: MIT
"""Real programs through a tunnel: PostgreSQL, curl, ssh and scp, redis."""

import getpass
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import free_port, need, tunnel_port, wait_until


def run(argv, **kwargs):
    done = subprocess.run([str(a) for a in argv], capture_output=True,
                          timeout=120, **kwargs)
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


class Postgres:
    """A server in a folder of the test's own, run by an ordinary user."""

    def __init__(self, folder):
        homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"),
                       key=lambda p: float(p.parent.name))
        assert homes, "PostgreSQL is missing: run script/test"
        self.bin = homes[-1]
        self.folder = Path(folder)
        self.port = free_port()
        self.prefix = []
        (self.folder / "db").mkdir()
        if os.getuid() == 0:
            self.prefix = ["runuser", "-u", "postgres", "--"]
            shutil.chown(self.folder / "db", "postgres")
            # the folders above must let that user through
            path = self.folder
            while str(path) != "/" and path.owner() == getpass.getuser():
                path.chmod(path.stat().st_mode | 0o011)
                path = path.parent
        self.do("initdb", "-D", self.folder / "db", "-U", "demo", "-A", "trust",
                "--no-sync")
        self.do("pg_ctl", "-D", self.folder / "db", "-w", "-l",
                self.folder / "db" / "log", "-o",
                f"-c listen_addresses=127.0.0.1 -p {self.port} "
                f"-k {self.folder}/db -c fsync=off", "start")

    def do(self, tool, *args):
        subprocess.run([*self.prefix, str(self.bin / tool), *map(str, args)],
                       check=True, cwd="/", timeout=120,
                       stdout=subprocess.DEVNULL)

    def stop(self):
        self.do("pg_ctl", "-D", self.folder / "db", "-m", "fast", "-w", "stop")


@pytest.fixture
def postgres(tmp_path_factory):
    one = Postgres(tmp_path_factory.mktemp("postgres"))
    yield one
    one.stop()


def test_psql_and_pgbench(world, postgres):
    """Queries, COPY both ways, an error, and a short pgbench with 8 clients."""
    port = world.all(postgres.port)
    psql = [postgres.bin / "psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1",
            "-h", "127.0.0.1", "-p", port, "-U", "demo", "-d", "postgres"]
    assert run([*psql, "-c", "SELECT 6 * 7"]) == b"42\n"
    rows = b"".join(b"%d\t%s\n" % (n, b"x" * 500) for n in range(5000))
    run([*psql, "-c", "CREATE TABLE t (n int, s text)"])
    run([*psql, "-c", "COPY t FROM STDIN"], input=rows)
    assert run([*psql, "-c", "COPY (SELECT * FROM t ORDER BY n) TO STDOUT"]) == rows
    done = subprocess.run([str(a) for a in [*psql, "-c", "SELECT nonsense"]],
                          capture_output=True, timeout=60)
    assert done.returncode != 0 and b"nonsense" in done.stderr
    bench = [postgres.bin / "pgbench", "-h", "127.0.0.1", "-p", port, "-U",
             "demo", "postgres"]
    run([*bench, "-i", "-q"])
    out = run([*bench, "-c", "8", "-j", "2", "-t", "50"])
    assert b"number of transactions actually processed: 400/400" in out
    # -C: a connection for each transaction
    out = run([*bench, "-S", "-C", "-c", "4", "-t", "25"])
    assert b"number of transactions actually processed: 100/100" in out


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "small").write_bytes(b"small enough\n")
    (folder / "large").write_bytes(os.urandom(20 << 20))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0),
        lambda *a: Files(*a, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.folder = folder
    yield server
    server.shutdown()
    server.server_close()


def test_curl_fetches_and_keeps_alive(world, web, tmp_path):
    """Small and large files, several on one connection."""
    port = world.all(web.server_port)
    url = f"http://127.0.0.1:{port}"
    assert run([need("curl"), "-sf", f"{url}/small"]) == b"small enough\n"
    out = tmp_path / "out"
    run([need("curl"), "-sf", "-o", out, f"{url}/large"])
    assert out.read_bytes() == (web.folder / "large").read_bytes()
    many = []
    for _ in range(200):
        many += [f"{url}/small"]
    assert run([need("curl"), "-sf", *many]) == b"small enough\n" * 200


@pytest.fixture
def sshd(tmp_path, processes):
    """An OpenSSH server for the current user with a key of the test's own."""
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f",
             folder / name])
    (folder / "authorized_keys").write_bytes((folder / "user.pub").read_bytes())
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n"
        f"UsePAM no\nPasswordAuthentication no\nPidFile none\n"
        f"Subsystem sftp internal-sftp\nPermitRootLogin prohibit-password\n")
    if os.getuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    process = processes.start([need("sshd"), "-D", "-e", "-f", config],
                              name="sshd")
    process.wait_line(r"Server listening on")
    return port, folder


def test_ssh_and_scp(world, sshd, tmp_path):
    """A command, its exit status, and a file there and back."""
    ssh_port, folder = sshd
    port = world.all(ssh_port)
    options = ["-i", folder / "user", "-o", "StrictHostKeyChecking=no", "-o",
               f"UserKnownHostsFile={tmp_path}/known", "-o", "BatchMode=yes",
               "-F", "none", "-o", "LogLevel=ERROR"]
    me = f"{getpass.getuser()}@127.0.0.1"
    ssh = [need("ssh"), *options, "-p", port, me]
    assert run([*ssh, "echo through the tunnel"]) == b"through the tunnel\n"
    status = subprocess.run([str(a) for a in [*ssh, "exit 7"]], timeout=60)
    assert status.returncode == 7
    data = os.urandom(10 << 20)
    source, there, back = (tmp_path / n for n in ("source", "there", "back"))
    source.write_bytes(data)
    scp = [need("scp"), "-q", *options, "-P", port]
    run([*scp, source, f"{me}:{there}"])
    run([*scp, f"{me}:{there}", back])
    assert there.read_bytes() == data and back.read_bytes() == data
    # a filter: half-close matters here
    assert run([*ssh, "sort"], input=b"c\na\nb\n") == b"a\nb\nc\n"


def test_redis(world, processes, tmp_path):
    """A pipelining client."""
    real = free_port()
    server = processes.start(
        [need("redis-server"), "--port", real, "--bind", "127.0.0.1", "--save",
         "", "--dir", tmp_path], name="redis-server")
    server.wait_line(r"[Rr]eady to accept connections")
    port = world.all(real)
    cli = [need("redis-cli"), "-h", "127.0.0.1", "-p", port]
    assert run([*cli, "set", "key", "value"]) == b"OK\n"
    assert run([*cli, "get", "key"]) == b"value\n"
    script = b"".join(b"SET k%d v%d\r\n" % (n, n) for n in range(10000))
    out = run([*cli, "--pipe"], input=script)
    assert b"errors: 0, replies: 10000" in out


def test_netcat_half_close(world, server):
    """nc -N: FIN after standard input ends, the answer comes afterwards."""
    def count(c):
        total = 0
        while data := c.recv(65536):
            total += len(data)
        c.sendall(b"%d" % total)
    port = world.all(server(count).port)
    out = run([need("nc"), "-N", "127.0.0.1", port], input=b"z" * 100_000)
    assert out == b"100000"


def test_tunnel_survives_the_service_behind_it(world, server):
    """A service that is not there yet is refused, then reached."""
    late = free_port()
    world.relay()
    world.listen()
    connect, port = world.tunnel(late)
    curl = subprocess.run([need("curl"), "-s", f"http://127.0.0.1:{port}/"],
                          timeout=60)
    assert curl.returncode != 0
    connect.wait_line(r"refused")

    def answer(c):
        c.recv(65536)
        c.sendall(b"HTTP/1.0 200 OK\r\n\r\nhere")
    one = server(answer, address=("127.0.0.1", late))
    assert run([need("curl"), "-s", f"http://127.0.0.1:{port}/"]) == b"here"
    wait_until(lambda: one.accepted == 1, "one connection")
    assert tunnel_port(connect) == port
