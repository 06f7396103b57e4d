"""Kubernetes: what the schemas cannot know. Whatever a manifest names is there, and pods are as confined as they are meant to be."""

import ipaddress
import pathlib
import re
import shutil
import subprocess

from . import DEPLOY, Failures, readme, schemas, secrets_of

HOME = DEPLOY / "kubernetes"
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}


def built():
    """What would be applied, by the directory that it is built from: without kubectl only what needs no building."""
    found = {}
    for file in sorted(HOME.glob("*/kustomization.yaml")):
        if shutil.which("kubectl"):
            said = subprocess.run(["kubectl", "kustomize", str(file.parent)], capture_output=True, text=True)
            if said.returncode:
                raise ValueError(f"kubectl kustomize: {said.stderr}")
            found[file.parent.name] = schemas.load(said.stdout)
        elif file.parent.name == "base":
            resources = schemas.load(file.read_text())[0]["resources"]
            found["base"] = [document for name in resources for document in schemas.load((file.parent / name).read_text())]
        else:
            print(f"left out: deploy/kubernetes/{file.parent.name} (kubectl is not here)")
    return found


def kustomizations():
    """Nothing is left lying about, and no name or pod gets a hash: another secret must end no host's pod."""
    failures = Failures()
    for file in HOME.glob("*/kustomization.yaml"):
        (said,) = schemas.load(file.read_text())
        others = set(said) - {"apiVersion", "kind", "namespace", "resources", "patches"}
        failures.check(not others, f"{file.parent.name}/kustomization.yaml: {others}")
        named = {name for name in said["resources"] if name.endswith(".yaml")} | {patch["path"] for patch in said.get("patches", [])}
        there = {path.name for path in file.parent.iterdir()} - {file.name}
        failures.check(named == there, f"{file.parent.name}/kustomization.yaml: lists {named}, and there are {there}")
    return failures


def secrets():
    """The Secrets that the README makes, each with its keys."""
    made = {}
    for block in readme("Kubernetes"):
        for name, rest in re.findall(r"create secret generic (\S+)((?: (?:\\\n +)?--from-file=\S+)+)", block):
            made[name] = set(re.findall(r"--from-file=([^=\s]+)=", rest))
    return made


def check(documents):
    """What is wrong with manifests that are applied together."""
    failures = Failures()
    for document in documents:
        failures += schemas.kubernetes(document)
    named = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    failures.check(len(named) == len(documents), "two things of one kind have one name")
    for (kind, name), document in named.items():
        failures.check(kind == "Namespace" or document["metadata"].get("namespace") == "workplane", f"{kind} {name}: says no namespace")
        failures.check(kind != "Secret", f"{name}: a Secret that is applied with all else takes the place of the true one")
    workloads = {name: document for (kind, name), document in named.items() if kind in ("Deployment", "DaemonSet")}
    for name, document in workloads.items():
        failures += workload(name, document["spec"], named)
    failures += selectors(named, workloads)
    return failures


def selectors(named, workloads):
    failures = Failures()
    labels = {name: w["spec"]["template"]["metadata"]["labels"] for name, w in workloads.items()}

    def ports(selector, where):
        """Of the only pod that is selected, by name."""
        chosen = [name for name, has in labels.items() if selector.items() <= has.items()]
        failures.check(len(chosen) == 1, f"{where}: selects {chosen}")
        containers = workloads[chosen[0]]["spec"]["template"]["spec"]["containers"] if chosen else []
        return {port["name"]: port["containerPort"] for container in containers for port in container["ports"]}

    for (kind, name), document in named.items():
        where, spec = f"{kind} {name}", document.get("spec", {})
        if kind == "Service":
            there = ports(spec["selector"], where)
            for port in spec["ports"]:
                failures.check(there.get(port["targetPort"]) == port["port"], f"{where}: port {port} is none of {there}")
        elif kind == "PodDisruptionBudget":
            ports(spec["selector"]["matchLabels"], where)
        elif kind == "NetworkPolicy":
            there = ports(spec["podSelector"]["matchLabels"], where)
            opened = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
            failures.check(sorted(opened) == sorted(there.values()), f"{where}: opens {opened} of {there}")
            for peer in (peer for rule in spec["ingress"] for peer in rule["from"]):
                if "podSelector" in peer:
                    ports(peer["podSelector"]["matchLabels"], where)
    # The control plane reaches its hosts: by addresses that may reach them.
    policy = named[("NetworkPolicy", "workplane-runtime")]["spec"]["ingress"]
    nodes = [peer["ipBlock"]["cidr"] for rule in policy for peer in rule["from"] if "ipBlock" in peer]
    text = named[("ConfigMap", "workplane-serve")]["data"]["serve.toml"]
    for node in re.findall(r'^endpoint = "https?://(.*):7500"', text, re.M):
        within = any(ipaddress.ip_address(node) in ipaddress.ip_network(block) for block in nodes)
        failures.check(within, f"the node {node} is in none of {nodes}, which may reach hosts")
    return failures


def workload(name, spec, named):
    failures, template = Failures(), spec["template"]
    failures.check(spec["selector"]["matchLabels"] == template["metadata"]["labels"], f"{name}: does not select its own pods")
    failures.check("annotations" not in template["metadata"], f"{name}: what changes there ends its pods")
    pod = template["spec"]
    failures.check(pod["securityContext"].items() >= POD.items(), f"{name}: {pod['securityContext']}")
    failures.check(pod["terminationGracePeriodSeconds"] == 40, f"{name}: a drain takes 30 s")
    failures.check(pod["automountServiceAccountToken"] is False, f"{name}: it asks nothing of the cluster")
    failures.check(not pod.get("initContainers"), f"{name}: what is copied once is not seen to change")
    (container,) = pod["containers"]
    failures.check(container["securityContext"] == CONFINED, f"{name}: {container['securityContext']}")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes.get(mount["name"]) for mount in container["volumeMounts"]}
    failures.check(None not in mounts.values(), f"{name}: mounts what is not there: {mounts}")
    unused = set(volumes) - {mount["name"] for mount in container["volumeMounts"]}
    failures.check(not unused, f"{name}: volumes that nobody mounts: {unused}")
    failures.check(not any("subPath" in mount for mount in container["volumeMounts"]), f"{name}: a subPath is never updated")
    if failures:
        return failures
    (key, text), failed = configuration(name, container["args"], mounts, named)
    failures += failed
    return failures + files(name, text, mounts) + reached(name, key, text, container)


def configuration(name, arguments, mounts, named):
    """The key and text of the file that the container is started with."""
    path = pathlib.PurePosixPath(arguments[arguments.index("--config") + 1])
    config = mounts[str(path.parent)]["configMap"]["name"]
    data = named.get(("ConfigMap", config), {}).get("data", {})
    failures = Failures()
    failures.check(path.name in data, f"{name}: there is no {path.name} in ConfigMap {config}")
    return (path.name, data.get(path.name, "")), failures


def files(name, text, mounts):
    """Every file that a configuration names comes out of a Secret that has it, and what is kept has a place."""
    failures, made = Failures(), secrets()
    for path in secrets_of(text):
        secret = (mounts.get(str(path.parent)) or {}).get("secret")
        failures.check(secret is not None, f"{name}: no Secret is mounted for {path}")
        if secret:
            keys = made.get(secret["secretName"], set())
            failures.check(path.name in keys, f"{name}: the README makes no {secret['secretName']} with {path.name}, but {keys}")
            failures.check(secret.get("defaultMode") == 0o440, f"{name}: {secret}")
    (data,) = re.findall(r'^data_dir = "([^"]+)"', text, re.M)
    kept = mounts.get(str(pathlib.PurePosixPath(data).parent)) or {}
    failures.check("persistentVolumeClaim" in kept or "hostPath" in kept, f"{name}: {data} is kept nowhere")
    return failures


def reached(name, key, text, container):
    """Ports and probes are those of the configuration; where it speaks TLS, no probe of Kubernetes' own is understood."""
    failures, ports = Failures(), {port["name"]: port["containerPort"] for port in container["ports"]}
    said = dict(re.findall(r'^(listen|metrics_listen) = ".*:(\d+)"', text, re.M))
    listens = {"grpc": int(said.get("listen", 0)), "metrics": int(said.get("metrics_listen", 0))}
    failures.check(listens == ports, f"{name}: {key} listens at {listens}, and its ports are {ports}")
    secured, env = "tls_cert" in text, {it["name"]: it.get("value", "") for it in container.get("env", [])}
    for probe in ("startupProbe", "readinessProbe"):
        how = {key: container[probe][key] for key in ("grpc", "exec") if key in container[probe]}
        fits = {"exec": {"command": ["workplane", "health"]}} if secured else {"grpc": {"port": ports["grpc"]}}
        failures.check(how == fits, f"{name}: {probe} is {how}, and not {fits}")
    knocks = container["livenessProbe"].get("tcpSocket", {}).get("port")
    failures.check(knocks == ports["metrics" if secured else "grpc"], f"{name}: livenessProbe knocks at {knocks}")
    if secured:
        failures.check(env.get("WORKPLANE_ENDPOINT") == f"https://127.0.0.1:{ports['grpc']}", f"{name}: asks elsewhere: {env}")
        asks = "tls_client_ca" in text
        failures.check(("WORKPLANE_CLIENT_CERT" in env) == asks, f"{name}: shows what it is asked for: {env}")
    return failures
