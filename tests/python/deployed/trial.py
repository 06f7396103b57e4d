"""What is put up with TLS, tried: the README's commands make the secrets, which are laid out as compose and the kubelet lay
them out, the configurations are those of deploy/, and the probes those of the manifests. Then tokens and certificates
are exchanged, and nothing is restarted. A user of its own runs it where we are root, as in a container.
"""

import base64
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager

from . import DEPLOY, Failures, compose as files, readme, schemas

USER = 10001
PATIENCE = 120


def until(holds, what):
    """Waits until it holds: what other processes do tells itself in no other way."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise ValueError(f"in vain: {what()}")
        time.sleep(0.1)


class Server:
    """A role that runs, with secrets where its container has them."""

    def __init__(self, binary, role, text, mounts, env, place):
        self.binary, self.log = binary, place / f"{role}.log"
        text = re.sub(r'^(listen|metrics_listen) = ".*"', r'\1 = "127.0.0.1:0"', text, flags=re.M)
        text = re.sub(r'^data_dir = ".*"', f'data_dir = "{place}/data/{role}"', text, flags=re.M)
        self.mounts = mounts
        (place / f"{role}.toml").write_text(self.here(text))
        self.env = {"PATH": os.environ["PATH"], **{key: self.here(value) for key, value in env.items()}}
        command = [binary, role, "--config", str(place / f"{role}.toml")]
        with self.log.open("w") as log:
            self.process = self.run(subprocess.Popen, command, stdout=subprocess.PIPE, stderr=log, text=True)
        ready = self.process.stdout.readline().split()
        if ready[:2] != ["listening", "on"]:
            raise ValueError(f"workplane {role} does not serve: {self.said()}")
        self.address = ready[2]
        self.env["WORKPLANE_ENDPOINT"] = f"https://{self.address}"

    def here(self, text):
        for mounted, lies in self.mounts.items():
            text = text.replace(mounted, str(lies))
        return text

    def run(self, how, command, **more):
        if os.geteuid() == 0:
            more |= {"user": USER, "group": USER, "extra_groups": []}
        return how(command, env=self.env, **more)

    def client(self, *arguments):
        """What the command line says, as it is called in the container."""
        command = [self.binary, *(self.here(word) for word in arguments)]
        return self.run(subprocess.run, command, capture_output=True, text=True)

    def said(self):
        return self.log.read_text()

    def end(self):
        self.process.terminate()
        self.process.wait(60)


@contextmanager
def place_for(binary):
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        place.chmod(0o755)
        # Where its user may run it.
        shutil.copy(binary, place / "workplane")
        (place / "data").mkdir()
        own(place / "data")
        yield place


def own(path):
    if os.geteuid() == 0:
        for file in [path, *path.rglob("*")]:
            os.chown(file, USER, USER)


def serves(servers, probe, tokens, runtime_id):
    """Both are well by their probes, and the control plane reaches its host."""
    for server in servers:
        until(lambda: server.client(*probe).returncode == 0, lambda: f"{probe}: {server.client(*probe)}")

    def runtimes():
        return servers[1].client("runtimes", "--token-file", tokens)

    until(lambda: re.search(rf"^{runtime_id} .*\brunning\b", runtimes().stdout, re.M), runtimes)


def tried(servers, probe, tokens, runtime_id, exchange):
    failures = Failures()
    serves(servers, probe, tokens, runtime_id)
    for server in servers:
        until(lambda: "files are looked after" in server.said(), server.said)
    exchange()
    for server in servers:
        # Tokens, and certificates.
        until(lambda: server.said().count("was read again") >= 2, server.said)
    serves(servers, probe, tokens, runtime_id)
    failures.check(all(server.process.poll() is None for server in servers), "they have ended")
    return failures


def shell(commands, directory, path=""):
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    said = subprocess.run(["bash", "-euc", commands], cwd=directory, env=env, capture_output=True, text=True)
    if said.returncode:
        raise ValueError(f"{commands}: {said.stderr}")


# --- Compose ---


def compose(binary):
    """A host and the control plane of compose.tls.yaml."""
    whole = files.variants()["compose.yaml and tls"]
    with place_for(binary) as place, ExitStack() as stack:
        shutil.copytree(DEPLOY, place / "deploy")
        home = place / "deploy/compose"
        # Without what needs Docker, or is done as somebody else.
        made = "".join(readme("Compose")[:2])
        made = re.sub(r"^(?:cd|sudo|docker|curl) .*\n", "", made, flags=re.M)
        shell(made, home)
        own(home / "secrets")
        servers = []
        for name, role in [("host-a", "runtime"), ("serve", "serve")]:
            service = whole["services"][name]
            mounts = {v["target"]: home / v["source"] for v in service["volumes"] if v["type"] == "bind"}
            text = (home / whole["configs"][service["configs"][0]["source"]]["file"]).read_text()
            if servers:
                # By a name that only compose knows.
                named = f'endpoint = "https://{servers[0].address}"\nserver_name = "host-a"'
                text = text.replace('endpoint = "https://host-a:7500"', named)
            server = Server(str(place / "workplane"), role, text, mounts, service["environment"], place)
            stack.callback(server.end)
            servers.append(server)

        def exchange():
            shell(made, home)
            own(home / "secrets")

        probe = whole["services"]["serve"]["healthcheck"]["test"][2:]
        return tried(servers, probe, "/run/workplane/clients/tokens", "host-a", exchange)


# --- Kubernetes ---

# Secrets are made, and nothing is applied.
KUBECTL = """#!/bin/sh
case " $* " in
*" create secret "*) { echo ---; %s "$@" --dry-run=client -o yaml; } >>"$PWD/made.yaml" ;;
*" apply -f - "*) cat >/dev/null ;;
esac
"""


def mount(where, secret, generation):
    """As the kubelet does it: all of a Secret at once, root's, and for the pod's group to read."""
    made = where / f"..{generation}"
    made.mkdir(parents=True)
    for name, value in secret["data"].items():
        (made / name).write_bytes(base64.b64decode(value))
        (made / name).chmod(0o440 if os.geteuid() == 0 else 0o400)
        if os.geteuid() == 0:
            os.chown(made / name, 0, USER)
        if not (where / name).is_symlink():
            (where / name).symlink_to(f"..data/{name}")
    (where / "..data_tmp").symlink_to(made.name)
    (where / "..data_tmp").rename(where / "..data")


def kubernetes(binary, built):
    """A host and the control plane of deploy/kubernetes/tls."""
    if "tls" not in built:
        print("left out: Kubernetes with TLS (kubectl is not here)")
        return []
    named = {(document["kind"], document["metadata"]["name"]): document for document in built["tls"]}
    failures = Failures()
    with place_for(binary) as place, ExitStack() as stack:
        (place / "bin").mkdir()
        (place / "bin/kubectl").write_text(KUBECTL % shutil.which("kubectl"))
        (place / "bin/kubectl").chmod(0o755)
        (place / "deploy").symlink_to(DEPLOY)

        def put(generation):
            shell("".join(readme("Kubernetes")), place, place / "bin")
            # The last that was made under a name is what is there.
            made = {secret["metadata"]["name"]: secret for secret in schemas.load((place / "made.yaml").read_text())}
            for name, secret in made.items():
                failures.extend(schemas.kubernetes(secret))
                mount(place / "secrets-of-pods" / name, secret, generation)

        put(1)
        servers = []
        for kind, name, role in [("DaemonSet", "workplane-runtime", "runtime"), ("Deployment", "workplane-serve", "serve")]:
            pod = named[(kind, name)]["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            volumes = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
            mounts = {
                mounted["mountPath"]: place / "secrets-of-pods" / volumes[mounted["name"]]
                for mounted in container["volumeMounts"]
                if mounted["name"] in volumes
            }
            (text,) = named[("ConfigMap", name)]["data"].values()
            if servers:
                text = text.replace('"https://192.0.2.1:7500"', f'"https://{servers[0].address}"')
            env = {it["name"]: it.get("value", "node-1") for it in container["env"]}
            server = Server(str(place / "workplane"), role, text, mounts, env, place)
            stack.callback(server.end)
            servers.append(server)
        probe = container["readinessProbe"]["exec"]["command"][1:]
        return failures + tried(servers, probe, "/run/workplane/clients/tokens", "node-1", lambda: put(2))
