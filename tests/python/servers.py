"""A real control plane and a real host for cross_check.py, on ports of their own, in clear or over TLS, and stubs of the
protos."""

import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

EMBEDDED = "embedded-worker-runtime"
HOST = "host-a"
CONTROL_PLANE_TOKEN = "a-token-of-the-cross-check"
HOST_TOKEN = "a-token-of-the-host"
ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
OPERATIONS = ROOT / "docs" / "operations.md"
AGENT = ROOT / "tests" / "end_to_end" / "agents" / "acp.py"
PROFILE = f"""
[profiles."builtin:coder"]
protocol = "lines"
command = ["cat"]
input = "text"

[profiles."builtin:agent"]
protocol = "acp"
command = ["python3", "{AGENT}"]

[profiles."builtin:asking"]
protocol = "acp"
command = ["python3", "{AGENT}"]
permissions = "ask"
"""


def generate_stubs(directory):
    """The stubs of workplane.v1, as anybody would make them; the directory to import them from."""
    stubs = directory / "stubs"
    stubs.mkdir()
    sources = sorted(str(path) for path in (PROTO / "workplane" / "v1").glob("*.proto"))
    out = [f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", str(PROTO), *out, *sources], check=True)
    return str(stubs)


@contextmanager
def running(binary, role, directory, configuration):
    """One server, from its ready line to its end; the address it serves."""
    path = directory / f"{role}.toml"
    path.write_text(configuration)
    log = (directory / f"{role}.log").open("w+")
    process = subprocess.Popen([binary, role, "--config", str(path)], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        # It prints one line when it serves; at its end the pipe does.
        ready = process.stdout.readline().split()
        if ready[:2] != ["listening", "on"]:
            log.seek(0)
            sys.exit(f"workplane {role} does not serve:\n{log.read()}")
        yield ready[2]
        process.terminate()
        if process.wait(60) != 0:
            sys.exit(f"workplane {role} ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()
        log.close()


def told(name):
    """A block of docs/operations.md, as it stands there."""
    found = re.search(rf"<!-- commands: {name} -->\n```\w+\n(.*?)```", OPERATIONS.read_text(), re.S)
    return found.group(1)


@contextmanager
def servers(binary, directory, secured):
    """A host, and a control plane that knows it; the control plane's address. Over TLS, both ask for certificates, as
    docs/operations.md says."""
    for name, token in [("host.tokens", HOST_TOKEN), ("plane.tokens", CONTROL_PLANE_TOKEN)]:
        file = directory / name
        file.touch(mode=0o600)
        file.write_text(f"check {token}\n")
    if secured:
        made = subprocess.run(["bash", "-euc", told("certificates")], cwd=directory, capture_output=True, text=True)
        if made.returncode != 0:
            sys.exit(f"the certificates of docs/operations.md are not made:\n{made.stderr}")
    host, plane, entry = [told(f"{of}-over-tls") if secured else "" for of in ("host", "plane", "entry")]
    with ExitStack() as stack:
        host = f'runtime_id = "{HOST}"\nlisten = "127.0.0.1:0"\ntoken_file = "host.tokens"\n{host}{PROFILE}'
        address = stack.enter_context(running(binary, "runtime", directory, host))
        scheme = "https" if secured else "http"
        remote = f'[[remote_runtimes]]\nruntime_id = "{HOST}"\nendpoint = "{scheme}://{address}"\ntoken_file = "host.tokens"\n{entry}'
        plane = f'listen = "127.0.0.1:0"\ntoken_file = "plane.tokens"\n{plane}{PROFILE}\n{remote}'
        yield stack.enter_context(running(binary, "serve", directory, plane))
