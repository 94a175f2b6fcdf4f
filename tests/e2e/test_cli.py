# SPDX-License-Identifier: MIT
"""What the program does by itself, without a relay: help, usage errors, exit
statuses, passwd, token, pid files, and that manual pages and README tell of
every option."""

import base64
import hashlib
import hmac
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DONE, FAILURE, USAGE, AUTH, NETWORK = range(5)
COMMANDS = ["relay", "listen", "connect", "passwd", "token"]


@pytest.fixture(scope="session")
def program():
    return Path(os.environ.get("HYCO", ROOT / "build" / "src" / "cli" / "hyco"))


@pytest.fixture
def run(program, tmp_path):
    def run(*argv, status=DONE, env=None, stdin=""):
        clean = {k: v for k, v in os.environ.items()
                 if not k.startswith("HYCO_") and not k.startswith("XDG_")}
        clean["HOME"] = str(tmp_path)
        done = subprocess.run([str(program), *map(str, argv)], timeout=60,
                              capture_output=True, text=True, input=stdin,
                              env={**clean, **(env or {})})
        assert done.returncode == status, (argv, done)
        return done
    return run


# --- help ---

def test_overview(run):
    out = run("help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.M)
    assert run("--help").stdout == out
    assert run(status=USAGE).stderr == out
    assert re.fullmatch(r"hyco \d+\.\d+\.\d+\n", run("--version").stdout)


def options_of(run, command):
    """(letter or None, long name) of each option, from --help."""
    text = run(command, "--help").stdout
    assert run("help", command).stdout == text
    return re.findall(r"^  (?:-(\w), |    )--([\w-]+)", text, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal(run, command):
    for line in run(command, "--help").stdout.splitlines():
        assert len(line) <= 80 or "Endpoint=" in line, line


@pytest.mark.parametrize("command", COMMANDS)
def test_manual_page_has_every_option(run, command):
    page = (ROOT / "man" / f"hyco-{command}.1").read_text()
    options = options_of(run, command)
    assert options
    for letter, name in options:
        assert re.search(rf"^\.It .*Fl Fl {name}\b", page, re.M), name
        if letter:
            assert re.search(rf"^\.It Fl {letter} , Fl Fl {name}\b", page,
                             re.M), name


@pytest.mark.parametrize("command", COMMANDS)
def test_manual_page_has_no_other_option(run, command):
    page = (ROOT / "man" / f"hyco-{command}.1").read_text()
    known = {name for _, name in options_of(run, command)}
    listed = set(re.findall(r"^\.It Fl (?:\w , Fl )?Fl ([\w-]+)", page, re.M))
    assert listed == known or listed - {"keep", "end"} == known


def test_environment_variables_are_documented(run):
    page = (ROOT / "man" / "hyco.1").read_text()
    for command in COMMANDS:
        for name in re.findall(r"HYCO_\w+", run(command, "--help").stdout):
            assert f".It Ev {name}" in page, name


def test_readme_has_every_command(run):
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md in this tree")
    text = readme.read_text()
    for command in COMMANDS:
        assert f"hyco {command}" in text or f"hyco-{command}(1)" in text
    known = {name for c in [*COMMANDS, "completion"]
             for _, name in options_of(run, c)}
    for name in re.findall(r"hyco (?:%s)[^`\n]*?--([a-z][\w-]+)" %
                           "|".join(COMMANDS), text):
        assert name in known, f"README names --{name}"


def test_manual_pages_are_clean():
    mandoc = shutil.which("mandoc")
    if not mandoc:
        pytest.skip("mandoc is not installed")
    pages = sorted([*(ROOT / "man").glob("*.1"), *(ROOT / "man").glob("*.5")])
    assert len(pages) >= 9
    done = subprocess.run([mandoc, "-T", "lint", "-W", "warning", *pages],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_completion(run, tmp_path):
    script = tmp_path / "completion"
    script.write_text(run("completion", "bash").stdout)
    run("completion", "fish", status=USAGE)
    bash = shutil.which("bash")

    def complete(*words):
        quoted = " ".join(f"'{w}'" for w in words)
        done = subprocess.run(
            [bash, "-c", f". {script}; COMP_WORDS=({quoted}); "
             f"COMP_CWORD={len(words) - 1}; _hyco; "
             "printf '%s\\n' \"${COMPREPLY[@]}\""],
            capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout.split()
    assert complete("hyco", "li") == ["listen"]
    assert set(complete("hyco", "")) >= set(COMMANDS)
    assert complete("hyco", "connect", "--pass") == ["--password-file"]
    assert "--users" not in complete("hyco", "connect", "--")
    assert complete("hyco", "connect", "--mode", "s") == ["sample"]
    assert complete("hyco", "listen", "--users", "comp") == ["completion"]
    assert complete("hyco", "connect", "-x", "@comp") == ["@completion"]


# --- usage errors ---

@pytest.mark.parametrize("argv, patterns", [
    (["lisen"], ["did you mean `hyco listen`"]),
    (["qqqqqqqq"], ["hyco help"]),
    (["connect", "--pathh", "x"], ["hyco connect: ", "--path"]),
    (["connect", "-L"], ["--tunnel needs a value"]),
    (["connect", "-x", "nonsense"], ["--connection-string"]),
    (["connect"], ["HYCO_NAMESPACE"]),
    (["connect", "h", "p", "n", "k", "extra"], ["one word too many"]),
    (["connect", "h", "p", "n", "k", "-L", "99999"], ["-L 99999"]),
    (["connect", "h", "p", "n", "k", "-L", "1", "--user", "u"],
     ["--password-file", "HYCO_PASSWORD"]),
    (["connect", "h", "p", "n", "k", "-L", "1", "--console"], ["terminal"]),
    (["listen", "h", "p", "n", "k"], ["--users", "hyco passwd",
                                      "--allow-anonymous"]),
    (["relay"], ["--dev", "--config"]),
    (["relay", "--dev", "--config", "x"], ["either --dev"]),
    (["relay", "--config", "x", "--listen", "1.2.3.4:5"], ["go with --dev"]),
    (["relay", "--dev", "--listen", "nonsense"], ["--listen"]),
    (["passwd"], ["FILE USER"]),
    (["passwd", "f", "u"], ["--stdin"]),
    (["passwd", "f", "a:b", "--stdin"], ["hyco passwd: "]),
    (["passwd", "f", "u", "--stdin", "-D"], ["do not go together"]),
    (["token", "h", "p", "n", "k", "--ttl", "0"], ["--ttl"]),
    (["token", "h", "p"], ["key"]),
])
def test_usage_errors(run, argv, patterns):
    done = run(*argv, status=USAGE)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for pattern in patterns:
        assert pattern in done.stderr


def test_files_that_cannot_be_read(run, tmp_path):
    missing = tmp_path / "missing"
    for argv in (["connect", "-x", f"@{missing}"],
                 ["connect", "-c", missing],
                 ["relay", "--config", missing],
                 ["token", "-x", f"@{missing}"]):
        assert "no such file" in run(*argv, status=FAILURE).stderr
    secret = tmp_path / "secret"
    secret.write_text("Endpoint=sb://h/;SharedAccessKeyName=n;"
                      "SharedAccessKey=s3cret;EntityPath=p")
    secret.chmod(0o644)
    text = run("token", "-x", f"@{secret}", status=AUTH).stderr
    assert f"chmod 600 {secret}" in text and "s3cret" not in text


def test_relay_port_closed(run, tmp_path):
    """Nobody listens there: the relay is named, and what to look at."""
    done = run("connect", "127.0.0.1:1", "p", "n", "k", "-L",
               "0:127.0.0.1:1", status=NETWORK)
    assert re.match(r"hyco connect: .*127\.0\.0\.1:1.*refused", done.stderr)


# --- token ---

def sas(host, path, name, key, expiry):
    resource = urllib.parse.quote(f"http://{host}/{path}/", safe="")
    mac = hmac.new(key.encode(), f"{resource}\n{expiry}".encode(),
                   hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(mac), safe="")
    return (f"SharedAccessSignature sr={resource}&sig={signature}"
            f"&se={expiry}&skn={name}")


def test_token(run):
    for argv, life in (([], 3600), (["--ttl", "60"], 60)):
        before = int(time.time())
        text = run("token", "Relay.Example:8443", "demo", "send", "k3y", *argv
                   ).stdout.rstrip("\n")
        expiry = int(re.search(r"&se=(\d+)", text).group(1))
        assert before + life <= expiry <= int(time.time()) + life
        assert text == sas("relay.example", "demo", "send", "k3y", expiry)


def test_token_by_every_source(run, tmp_path):
    """The same token from words, string, options, environment and file."""
    config = tmp_path / "c.yaml"
    config.write_text("namespace: h\npath: p\nkey-name: n\nkey: \"@key\"\n")
    key = tmp_path / "key"
    key.write_text("k\n")
    key.chmod(0o600)
    string = ("Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=k;"
              "EntityPath=p")
    ways = [(["h", "p", "n", "k"], {}), (["-x", string], {}),
            (["-n", "h", "-p", "p", "-K", "n", "-k", f"@{key}"], {}),
            ([], {"HYCO_CONNECTION_STRING": string}),
            ([], {"HYCO_NAMESPACE": "h", "HYCO_PATH": "p",
                  "HYCO_KEY_NAME": "n", "HYCO_KEY": "k"}),
            (["-c", config], {})]
    for argv, env in ways:
        text = run("token", *argv, env=env).stdout.rstrip("\n")
        expiry = re.search(r"&se=(\d+)", text).group(1)
        assert text == sas("h", "p", "n", "k", expiry), (argv, env)


def test_token_url(run):
    url = run("token", "h:8443", "a/b", "n", "k", "--curl").stdout.strip()
    parts = urllib.parse.urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "h:8443", "/a/b")
    token = urllib.parse.parse_qs(parts.query)["sb-hc-token"][0]
    assert token == sas("h", "a/b", "n", "k", re.search(r"se=(\d+)", token)[1])


def test_token_of_a_token(run):
    run("token", "-x", "Endpoint=sb://h/;EntityPath=p;SharedAccessSignature="
        + sas("h", "p", "n", "k", 1), status=USAGE)


# --- passwd ---

def test_passwd(run, tmp_path):
    users = tmp_path / "users"
    assert run("passwd", users, "alice", "--stdin", stdin="one\n"
               ).stdout == "added user alice\n"
    assert users.stat().st_mode & 0o777 == 0o600
    first = users.read_text()
    assert re.fullmatch(r"alice:\$y\$\S+\n", first) and "one" not in first
    run("passwd", users, "bob", "--stdin", stdin="two\n")
    assert run("passwd", users, "alice", "--stdin", stdin="three\n"
               ).stdout == "changed user alice\n"
    assert users.read_text().count("alice:") == 1
    assert first.strip() not in users.read_text()
    run("passwd", users, "alice", "-D")
    assert "alice" not in users.read_text() and "bob" in users.read_text()
    run("passwd", users, "alice", "--delete", status=FAILURE)
    run("passwd", users, "carol", "--stdin", stdin="\n", status=USAGE)
    run("passwd", users, "carol", "--stdin", stdin="", status=USAGE)
    run("passwd", users, "carol", "--stdin", stdin="x" * 600, status=USAGE)
    assert "carol" not in users.read_text()


def test_passwd_import(run, tmp_path):
    users = tmp_path / "users.txt"
    users.write_text("foo:bar\r\nnothing here\na:b:c\nfoo:later")
    done = run("passwd", users, "--import")
    assert "3 left out" in done.stdout
    assert re.search(r"users\.txt:2: ", done.stderr)
    text = users.read_text()
    assert re.search(r"^foo:\$y\$", text, re.M)
    for clear in ("bar", "later", "b:c", "nothing here"):
        assert clear not in text
    again = users.read_text()
    assert "0 converted, 1 kept" in run("passwd", users, "--import").stdout
    assert users.read_text().count("foo:$y$") == again.count("foo:$y$")


def test_passwd_on_a_terminal(program, tmp_path):
    """Twice and unseen; when the two differ nothing is changed."""
    users = tmp_path / "users"
    for second, status in (("other", USAGE), ("secret", DONE)):
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(program, [str(program), "passwd", str(users), "alice"])
        shown = ""

        def expect(text):
            nonlocal shown
            end = time.monotonic() + 60
            while text not in shown:
                assert time.monotonic() < end, shown
                if select.select([fd], [], [], 0.2)[0]:
                    shown += os.read(fd, 1000).decode()
        expect("New password for alice: ")
        os.write(fd, b"secret\n")
        expect("The same again: ")
        os.write(fd, second.encode() + b"\n")
        expect("differ" if status else "added user alice")
        _, code = os.waitpid(pid, 0)
        os.close(fd)
        assert os.waitstatus_to_exitcode(code) == status
        assert "secret" not in shown
        assert users.exists() == (status == DONE)


# --- relay --dev ---

def ready(process):
    while True:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        match = re.fullmatch(r"relay ready on (.*):(\d+)\n", line)
        if match:
            return int(match.group(2))


@pytest.fixture
def relay(program, tmp_path):
    started = []

    def start(*argv, state=None):
        state = state or tmp_path / "state"
        process = subprocess.Popen(
            [program, "relay", "--dev", "--listen", "127.0.0.1:0", "--state",
             state, *argv], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_dev_state(relay, tmp_path):
    """Made once, private, and the same at the next start but for the port."""
    state = tmp_path / "deep" / "state"
    contents = []
    for _ in range(2):
        process = relay(state=state)
        port = ready(process)
        process.terminate()
        assert process.wait(60) == DONE
        files = {p.name: p.read_text() for p in state.iterdir()}
        assert set(files) == {"ca.pem", "relay.pem", "relay.key", "listen.conn",
                              "send.conn", "manage.conn"}
        assert state.stat().st_mode & 0o777 == 0o700
        for name in files:
            mode = state.joinpath(name).stat().st_mode & 0o777
            assert mode == (0o644 if name.endswith(".pem") else 0o600), name
        for name in ("listen.conn", "send.conn", "manage.conn"):
            assert f"Endpoint=sb://localhost:{port}/" in files[name]
            assert "EntityPath=demo" in files[name]
        contents.append({name: text.replace(str(port), "PORT")
                         for name, text in files.items()})
    assert contents[0] == contents[1]


def test_dev_state_is_one_relay_s(relay, tmp_path):
    ready(relay())
    second = relay()
    assert second.wait(60) == USAGE
    assert "--state" in second.stderr.read()


def test_pidfile_and_kill(relay, run, tmp_path):
    pidfile = tmp_path / "relay"
    process = relay("--pidfile", pidfile)
    ready(process)
    written = tmp_path / "relay.pid"
    assert int(written.read_text()) == process.pid
    done = relay("--pidfile", pidfile, state=tmp_path / "other")
    assert done.wait(60) == USAGE
    assert "running already" in done.stderr.read()
    # The child is reaped by us, so that it is really gone for --kill.
    assert str(process.pid) in run("relay", "--kill", pidfile).stdout
    assert process.wait(60) == DONE
    assert not written.exists()
    assert "no such file" in run(
        "relay", "--kill", pidfile, status=FAILURE).stderr


def test_kill_spares_strangers(run, tmp_path):
    """A stale number that belongs to another program by now, or to nobody."""
    stranger = subprocess.Popen(["sleep", "600"])
    pidfile = tmp_path / "x.pid"
    try:
        pidfile.write_text(f"{stranger.pid}\n")
        assert "not hyco" in run(
            "listen", "--kill", pidfile, status=FAILURE).stderr
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert "ended already" in run(
        "listen", "--kill", pidfile, status=FAILURE).stderr
    assert not pidfile.exists()
    pidfile.write_text("rubbish")
    run("listen", "--kill", pidfile, status=USAGE)


def test_pidfile_goes_with_a_failed_start(run, tmp_path):
    run("listen", "127.0.0.1:1", "p", "n", "k", "--allow-anonymous",
        "--pidfile", tmp_path / "listen.pid", status=NETWORK)
    assert not (tmp_path / "listen.pid").exists()


def test_reload_of_a_bad_file_keeps_the_good_one(program, tmp_path, relay):
    """SIGHUP with a broken relay.yaml: told, and nothing changes."""
    state = tmp_path / "state"
    process = relay()
    ready(process)
    process.terminate()
    assert process.wait(60) == DONE
    config = tmp_path / "relay.yaml"
    good = ("listen: 127.0.0.1:0\ntls: {cert: state/relay.pem, key: "
            "state/relay.key}\nnamespaces:\n  - name: localhost\n"
            "    hybrid-connections: [{path: demo}]\n")
    config.write_text(good)
    process = subprocess.Popen([program, "relay", "--config", config], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        ready(process)
        for text, said in (("listen: [", "kept as it was"),
                           (good, "configuration reloaded")):
            config.write_text(text)
            process.send_signal(signal.SIGHUP)
            for line in process.stderr:
                if said in line:
                    break
            else:
                raise AssertionError(f"never said {said!r}")
        process.terminate()
        assert process.wait(60) == DONE
    finally:
        process.kill()
        process.communicate()
    assert state.exists()
