"""A real control plane and a real host for cross_check.py, on ports of their own, and stubs of the protos."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

EMBEDDED = "embedded-worker-runtime"
HOST = "host-a"
CONTROL_PLANE_TOKEN = "a-token-of-the-cross-check"
HOST_TOKEN = "a-token-of-the-host"
PROTO = Path(__file__).resolve().parents[2] / "proto"
PROFILE = """
[profiles."builtin:coder"]
protocol = "lines"
command = ["cat"]
input = "text"
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


@contextmanager
def servers(binary, directory):
    """A host, and a control plane that knows it; the control plane's address."""
    for name, token in [("host.tokens", HOST_TOKEN), ("plane.tokens", CONTROL_PLANE_TOKEN)]:
        file = directory / name
        file.touch(mode=0o600)
        file.write_text(f"check {token}\n")
    with ExitStack() as stack:
        host = f'runtime_id = "{HOST}"\nlisten = "127.0.0.1:0"\ntoken_file = "host.tokens"\n{PROFILE}'
        address = stack.enter_context(running(binary, "runtime", directory, host))
        remote = f'[[remote_runtimes]]\nruntime_id = "{HOST}"\nendpoint = "http://{address}"\ntoken_file = "host.tokens"\n'
        plane = f'listen = "127.0.0.1:0"\ntoken_file = "plane.tokens"\n{PROFILE}\n{remote}'
        yield stack.enter_context(running(binary, "serve", directory, plane))
