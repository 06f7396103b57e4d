"""Holds what stands in deploy/: every configuration in it is loaded by the binary, manifests have no field that their kinds
do not have, and whatever one names is there. Usage: deploy.py WORKPLANE. It starts nothing and asks no cluster; what
`systemd-analyze` and `kubectl` can check by themselves they check where they are there.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


# --- Configurations, through the binary ---


def loads(binary, role, text, where):
    """Loads a configuration as a start would. What lies elsewhere when it is put up lies in a directory here."""
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)

        def secret(found):
            path = place / found.group(1).strip("/").replace("/", "-")
            path.write_text("name a-token\n")
            path.chmod(0o600)
            return f'token_file = "{path}"'

        text = re.sub(r'^token_file = "([^"]+)"', secret, text, flags=re.M)
        text = re.sub(r'^data_dir = ".*"', f'data_dir = "{place}/data"', text, flags=re.M)
        text = re.sub(r'^endpoint = ".*"', 'endpoint = "http://127.0.0.1:9"', text, flags=re.M)
        (place / "config.toml").write_text(text)
        command = [binary, "doctor", role, "--config", str(place / "config.toml"), "--output", "json"]
        said = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, timeout=120)
        findings = json.loads(said.stdout)
        check(findings[0]["what"] == "configuration" and findings[0]["verdict"] == "ok", f"{where}: {findings[0]}")
        # Hosts are not there, an address of another machine is not here, and ports may be taken.
        others = [f for f in findings if f["verdict"] == "fail" and not f["what"].startswith(("host ", "listen"))]
        check(not others, f"{where}: {others}")


def role_of(text):
    """Whose configuration it is: that of a host names its address at a host's port."""
    return "runtime" if re.search(r'^listen = ".*:7500"', text, re.M) else "serve"


def configurations(binary):
    found = 0
    for file in sorted(DEPLOY.rglob("*.toml")):
        if file.name == "bundle.toml":
            continue
        text = file.read_text()
        loads(binary, role_of(text), text, file.relative_to(ROOT))
        found += 1
    for name, document in documents():
        if document["kind"] == "ConfigMap":
            for key, text in document["data"].items():
                loads(binary, role_of(text), text, f"{name}: {key}")
                found += 1
    check(found >= 7, f"only {found} configurations were found")


# --- Kubernetes ---

# Which fields a kind may have. `...` is anything, a trailing `!` says that it must be there, `[x]` is a list, `*` any name.
SECURITY = {
    "allowPrivilegeEscalation!": False,
    "readOnlyRootFilesystem!": True,
    "capabilities!": {"drop!": ["ALL"]},
}
PROBE = {"grpc": {"port!": int}, "tcpSocket": {"port!": int}, "periodSeconds": int, "failureThreshold": int}
MOUNT = {"name!": str, "mountPath!": str, "readOnly": bool}
CONTAINER = {
    "name!": str,
    "image!": str,
    "command": [str],
    "args": [str],
    "env": [{"name!": str, "valueFrom": {"fieldRef!": {"fieldPath!": str}}, "value": str}],
    "ports": [{"name!": str, "containerPort!": int, "hostPort": int}],
    "startupProbe": PROBE,
    "readinessProbe": PROBE,
    "livenessProbe": PROBE,
    "resources": {"requests!": {"cpu!": str, "memory!": str}, "limits!": {"memory!": str}},
    "securityContext!": SECURITY,
    "volumeMounts!": [MOUNT],
}
VOLUME = {
    "name!": str,
    "configMap": {"name!": str},
    "secret": {"secretName!": str, "defaultMode": int},
    "emptyDir": {"medium": str, "sizeLimit!": str},
    "persistentVolumeClaim": {"claimName!": str},
    "hostPath": {"path!": str, "type!": str},
}
POD = {
    "terminationGracePeriodSeconds!": 40,
    "automountServiceAccountToken!": False,
    "enableServiceLinks": bool,
    "shareProcessNamespace": bool,
    "nodeSelector": {"*": str},
    "securityContext!": {
        "runAsNonRoot!": True,
        "runAsUser!": 10001,
        "runAsGroup!": 10001,
        "fsGroup": 10001,
        "fsGroupChangePolicy": str,
        "seccompProfile!": {"type!": "RuntimeDefault"},
    },
    "initContainers": [CONTAINER],
    "containers!": [CONTAINER],
    "volumes!": [VOLUME],
}
LABELS = {"*": str}
META = {"name!": str, "namespace": "workplane", "labels": LABELS}
SELECTOR = {"matchLabels!": LABELS}
TEMPLATE = {"metadata!": {"labels!": LABELS}, "spec!": POD}
PEERS = [{"podSelector": SELECTOR, "namespaceSelector": SELECTOR}]
POLICY_PORTS = [{"protocol!": "TCP", "port!": int}]
KINDS = {
    ("v1", "Namespace"): {"metadata!": META},
    ("v1", "ConfigMap"): {"metadata!": META, "data!": {"*": str}},
    ("v1", "Secret"): {"metadata!": META, "type!": "Opaque", "stringData!": {"*": str}},
    ("v1", "PersistentVolumeClaim"): {
        "metadata!": META,
        "spec!": {"accessModes!": [str], "resources!": {"requests!": {"storage!": str}}},
    },
    ("v1", "Service"): {
        "metadata!": META,
        "spec!": {
            "clusterIP": "None",
            "selector!": LABELS,
            "ports!": [{"name!": str, "port!": int, "targetPort!": str, "appProtocol": str}],
        },
    },
    ("apps/v1", "Deployment"): {
        "metadata!": META,
        "spec!": {"replicas!": 1, "strategy!": {"type!": "Recreate"}, "selector!": SELECTOR, "template!": TEMPLATE},
    },
    ("apps/v1", "DaemonSet"): {
        "metadata!": META,
        "spec!": {
            "updateStrategy": {"type!": str, "rollingUpdate": {"maxUnavailable!": int}},
            "selector!": SELECTOR,
            "template!": TEMPLATE,
        },
    },
    ("policy/v1", "PodDisruptionBudget"): {
        "metadata!": META,
        "spec!": {"maxUnavailable!": int, "selector!": SELECTOR},
    },
    ("networking.k8s.io/v1", "NetworkPolicy"): {
        "metadata!": META,
        "spec!": {
            "podSelector!": SELECTOR,
            "policyTypes!": ["Ingress"],
            "ingress!": [{"from!": PEERS, "ports!": POLICY_PORTS}],
        },
    },
    ("kustomize.config.k8s.io/v1beta1", "Kustomization"): {"namespace!": "workplane", "resources!": [str]},
}


def fits(value, schema, where):
    """Whether a value is what a schema has: a type, a constant, a list of either, or an object."""
    if schema is ...:
        return
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return check(False, f"{where}: must be an object")
        fields = {name.rstrip("!"): inner for name, inner in schema.items()}
        for name in (name[:-1] for name in schema if name.endswith("!")):
            check(name in value, f"{where}: lacks {name}")
        for name, inner in value.items():
            if name in fields or "*" in fields:
                fits(inner, fields.get(name, fields.get("*")), f"{where}.{name}")
            else:
                check(False, f"{where}: has no field {name}")
    elif isinstance(schema, list):
        if not isinstance(value, list) or not value:
            return check(False, f"{where}: must be a list with something in it")
        for at, inner in enumerate(value):
            fits(inner, schema[0], f"{where}[{at}]")
    elif isinstance(schema, type):
        check(type(value) is schema, f"{where}: {value!r} is no {schema.__name__}")
    else:
        check(value == schema and type(value) is type(schema), f"{where}: is {value!r}, and not {schema!r}")


def documents():
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield f"{file.name} {document.get('kind')} {document.get('metadata', {}).get('name', '')}", document


def kubernetes():
    every = list(documents())
    for where, document in every:
        schema = KINDS.get((document.get("apiVersion"), document.get("kind")))
        check(schema is not None, f"{where}: is of no kind that is known")
        fits(document, {"apiVersion!": str, "kind!": str, **(schema or {})}, where)
    if failures:
        return
    named = {(document["kind"], document["metadata"]["name"]): document for _, document in every if "metadata" in document}
    check(len(named) == len(every) - 1, "two things of one kind have one name")
    for (kind, name), document in named.items():
        check(kind == "Namespace" or "namespace" in document["metadata"], f"{kind} {name}: says no namespace")
    workloads = {name: document for (kind, name), document in named.items() if kind in ("Deployment", "DaemonSet")}
    for name, document in workloads.items():
        workload(name, document["spec"], named)
    labels = {name: w["spec"]["template"]["metadata"]["labels"] for name, w in workloads.items()}

    def selected(selector, where):
        chosen = [name for name, has in labels.items() if selector.items() <= has.items()]
        check(len(chosen) == 1, f"{where}: selects {chosen}")
        return workloads[chosen[0]]["spec"]["template"]["spec"] if chosen else None

    for (kind, name), document in named.items():
        where, spec = f"{kind} {name}", document.get("spec", {})
        if kind == "Service":
            pod = selected(spec["selector"], where)
            ports = {port["name"]: port["containerPort"] for c in pod["containers"] for port in c["ports"]}
            for port in spec["ports"]:
                check(ports.get(port["targetPort"]) == port["port"], f"{where}: port {port} is none of {ports}")
        elif kind == "PodDisruptionBudget":
            selected(spec["selector"]["matchLabels"], where)
        elif kind == "NetworkPolicy":
            pod = selected(spec["podSelector"]["matchLabels"], where)
            ports = [port["containerPort"] for c in pod["containers"] for port in c["ports"]]
            for rule in spec["ingress"]:
                check([port["port"] for port in rule["ports"]] == ports, f"{where}: opens {rule['ports']}")
                for peer in rule["from"]:
                    if "podSelector" in peer:
                        selected(peer["podSelector"]["matchLabels"], where)
    files = {file.name for file in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    listed = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]
    check(sorted(files) == sorted(listed), "kustomization.yaml lists other files than there are")


def workload(name, spec, named):
    template = spec["template"]
    check(spec["selector"]["matchLabels"] == template["metadata"]["labels"], f"{name}: does not select its own pods")
    pod, volumes = template["spec"], {}
    for volume in template["spec"]["volumes"]:
        volumes[volume["name"]] = volume
        check(len(volume) == 2, f"{name}: the volume {volume['name']} is of one kind")
        for kind, field, key in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")] + [
            ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName")
        ]:
            if field in volume:
                check((kind, volume[field][key]) in named, f"{name}: there is no {kind} {volume[field][key]}")
    used = set()
    for container in pod.get("initContainers", []) + pod["containers"]:
        paths = {}
        for mount in container["volumeMounts"]:
            check(mount["name"] in volumes, f"{name}: there is no volume {mount['name']}")
            used.add(mount["name"])
            paths[mount["mountPath"]] = volumes[mount["name"]]
        # Every file that is named comes out of a volume that has it.
        for word in container.get("command", []) + container.get("args", []):
            if not word.startswith("/"):
                continue
            path = pathlib.PurePosixPath(word)
            volume = paths.get(str(path.parent)) or paths.get(str(path))
            check(volume is not None, f"{name}: nothing is mounted at {word}")
            for kind, field, key, data in [("ConfigMap", "configMap", "name", "data"), ("Secret", "secret", "secretName", "stringData")]:
                if volume and field in volume:
                    check(path.name in named[(kind, volume[field][key])][data], f"{name}: {word} is not in its {kind}")
    check(used == set(volumes), f"{name}: volumes that nobody mounts: {set(volumes) - used}")
    (container,) = pod["containers"]
    ports = [port["containerPort"] for port in container["ports"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        how = container[probe].get("grpc") or container[probe].get("tcpSocket")
        check(how and how["port"] in ports, f"{name}: {probe} asks at none of {ports}")
    (config,) = [v for v in volumes.values() if "configMap" in v]
    (text,) = named[("ConfigMap", config["configMap"]["name"])]["data"].values()
    check(f':{ports[0]}"' in text, f"{name}: its configuration listens elsewhere than at {ports[0]}")
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in re.findall(r'^(?:token_file|data_dir) = "([^"]+)"', text, re.M):
        check(str(pathlib.PurePosixPath(path).parent) in mounts, f"{name}: nothing is mounted for {path}")


# --- Compose, the image, the units ---

SERVICE = {
    "image!": str,
    "build!": {"context!": str, "dockerfile!": str},
    "init!": True,
    "restart!": str,
    "stop_grace_period!": "40s",
    "read_only!": True,
    "tmpfs!": ["/tmp"],
    "cap_drop!": ["ALL"],
    "security_opt!": ["no-new-privileges:true"],
    "ulimits!": {"nofile!": {"soft!": int, "hard!": int}},
    "command!": [str],
    "ports": [str],
    "networks!": [str],
    "environment": {"*": str},
    "configs!": [{"source!": str, "target!": str}],
    "secrets!": [str],
    "volumes!": [str],
    "mem_limit": str,
    "healthcheck!": {"test!": [str], "interval!": str, "timeout!": str, "start_period!": str},
    "depends_on": [str],
}
COMPOSE = {
    "name!": str,
    "x-workplane": ...,
    "x-health": ...,
    "services!": {"*": SERVICE},
    "networks!": {"*": {"internal": bool}},
    "configs!": {"*": {"file!": str}},
    "secrets!": {"*": {"file!": str}},
    "volumes!": {"*": {}},
}


def compose():
    home = DEPLOY / "compose"
    whole = yaml.safe_load((home / "compose.yaml").read_text())
    before = len(failures)
    fits(whole, COMPOSE, "compose.yaml")
    if len(failures) > before:
        return
    used = {kind: set() for kind in ("networks", "configs", "secrets", "volumes")}
    for name, service in whole["services"].items():
        uses = {
            "networks": service["networks"],
            "configs": [config["source"] for config in service["configs"]],
            "secrets": service["secrets"],
            "volumes": [volume.split(":")[0] for volume in service["volumes"]],
        }
        for kind, names in uses.items():
            check(set(names) <= set(whole[kind]), f"compose.yaml: {name} uses {kind} that are not there: {names}")
            used[kind] |= set(names)
        check(set(service.get("depends_on", [])) <= set(whole["services"]), f"compose.yaml: {name} waits for nobody")
        (config,) = service["configs"]
        check(config["target"] in service["command"], f"compose.yaml: {name} reads another file than it is given")
        text = (home / whole["configs"][config["source"]]["file"]).read_text()
        for path in re.findall(r'^token_file = "/run/secrets/([^"]+)"', text, re.M):
            check(path in service["secrets"], f"compose.yaml: {name} has no secret {path}")
        for host, port in re.findall(r'^endpoint = "http://([^:"]+):(\d+)"', text, re.M):
            there = whole["services"].get(host)
            check(there is not None and port == "7500", f"compose.yaml: {name} reaches no {host}:{port}")
            check(there and set(there["networks"]) & set(service["networks"]), f"compose.yaml: no network to {host}")
    for kind, names in used.items():
        check(names == set(whole[kind]), f"compose.yaml: {kind} that nobody uses: {set(whole[kind]) - names}")
    for config in whole["configs"].values():
        check((home / config["file"]).is_file(), f"compose.yaml: there is no {config['file']}")
    build = whole["services"]["serve"]["build"]
    check((home / build["context"]).resolve() == ROOT, "compose.yaml: builds from elsewhere")
    check((ROOT / build["dockerfile"]).is_file(), "compose.yaml: builds from no file")
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        said = subprocess.run(["docker", "compose", "config", "-q"], cwd=home, capture_output=True, text=True)
        check(said.returncode == 0, f"docker compose config: {said.stderr}")
    else:
        print("left out: docker compose config (it is not here)")


def image():
    lines = (DEPLOY / "container/Containerfile").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith(("#", " "))]
    bases = [line[1] for line in words if line[0] == "FROM"]
    check(all(":" in base and not base.endswith(":latest") for base in bases), f"Containerfile: {bases} name no version")
    version = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    check(f"/rust:{version}-" in bases[0], f"Containerfile: {bases[0]} is not Rust {version}")
    users = [line[1] for line in words if line[0] == "USER"]
    check(users == ["10001:10001"], f"Containerfile: it runs as {users}")
    ignored = (DEPLOY / "container/Containerfile.dockerignore").read_text().split()
    sources = {source for line in words if line[0] == "COPY" and not line[1].startswith("--") for source in line[1:-1]}
    check("*" in ignored and sources == {it[1:] for it in ignored if it[0] == "!"}, "Containerfile: copies what is ignored")
    check(all((ROOT / source).exists() for source in sources), "Containerfile: copies what is not there")
    check(not any(line[0] in ("ADD", "ARG") for line in words), "Containerfile: nothing is fetched, and nothing is told")


def units(binary):
    for role in ("serve", "runtime"):
        text = (DEPLOY / f"systemd/workplane-{role}.service").read_text()
        said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
        for key, value in [("Type", "exec"), ("KillMode", "mixed"), ("TimeoutStopSec", "40"), ("OOMPolicy", "continue")]:
            check(said.get(key) == value, f"workplane-{role}.service: {key} is {said.get(key)}")
        check("Delegate" in said and "LimitNOFILE" in said, f"workplane-{role}.service: Delegate, LimitNOFILE")
        program, *arguments = said["ExecStart"].split()
        check(program == "/usr/local/bin/workplane" and arguments[0] == role, f"workplane-{role}.service: {program}")
        with tempfile.TemporaryDirectory() as directory:
            arguments = [word.replace("%S", directory) for word in arguments[1:]]
            arguments = [str(DEPLOY / "samples" / f"{role}.toml") if word.startswith("/etc/") else word for word in arguments]
            command = [binary, "doctor", role, *arguments, "--output", "json"]
            looked = subprocess.run(command, capture_output=True, text=True, timeout=120)
            check(looked.returncode != 2, f"workplane-{role}.service: {looked.stderr}")
            if shutil.which("systemd-analyze"):
                unit = pathlib.Path(directory) / f"workplane-{role}.service"
                unit.write_text(text.replace(program, binary))
                verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
                ours = [line for line in verified.stderr.splitlines() if unit.name in line]
                check(verified.returncode == 0 and not ours, f"systemd-analyze verify: {verified.stderr}")
            else:
                print("left out: systemd-analyze verify (it is not here)")


def kustomize():
    if not shutil.which("kubectl"):
        print("left out: kubectl kustomize (it is not here)")
        return
    built = subprocess.run(["kubectl", "kustomize", str(DEPLOY / "kubernetes")], capture_output=True, text=True)
    check(built.returncode == 0, f"kubectl kustomize: {built.stderr}")
    count = len([document for document in yaml.safe_load_all(built.stdout) if document])
    check(count == len(list(documents())) - 1, f"kubectl kustomize: {count} documents")


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    checks = [lambda: configurations(binary), kubernetes, compose, image, lambda: units(binary), kustomize]
    for one in checks:
        try:
            one()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # What it was to look at is not there: why is told before, mostly.
            failures.append(f"not looked at to the end: {error!r}")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    if not failures:
        print("deploy/ is sound")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
