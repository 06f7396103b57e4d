"""That what looks at manifests can fail: each is broken in one place, and must be found wrong."""

import copy

from . import Failures, cluster, compose, schemas


def pod(named, kind="DaemonSet", name="workplane-runtime"):
    return named[(kind, name)]["spec"]["template"]["spec"]


def container(named):
    return pod(named)["containers"][0]


def policy(named):
    return named[("NetworkPolicy", "workplane-runtime")]["spec"]["ingress"]


# What a schema of Kubernetes finds by itself.
BY_SCHEMA = {
    "an unknown field": lambda named: container(named).update(redinessProbe={}),
    "a word for a number": lambda named: container(named)["ports"][0].update(containerPort="7500"),
    "no image's name": lambda named: container(named).pop("name"),
    "no selector": lambda named: named[("DaemonSet", "workplane-runtime")]["spec"].pop("selector"),
    "a list for an object": lambda named: pod(named).update(securityContext=[]),
    "an unknown version": lambda named: named[("PodDisruptionBudget", "workplane-serve")].update(apiVersion="policy/v1beta1"),
    "another type of strategy": lambda named: named[("Deployment", "workplane-serve")]["spec"].update(strategy={"type": 1}),
    "a policy with an unknown peer": lambda named: policy(named)[0]["from"].append({"podSelektor": {}}),
}
# What only we know.
BY_MEANING = {
    "a service that selects nobody": lambda named: named[("Service", "workplane-serve")]["spec"]["selector"].update(a="b"),
    "a pod that may write its image": lambda named: container(named)["securityContext"].update(readOnlyRootFilesystem=False),
    "a Secret that nobody makes": lambda named: pod(named)["volumes"][1]["secret"].update(secretName="workplane-host"),
    "a Secret's single file": lambda named: container(named)["volumeMounts"][1].update(subPath="tokens"),
    "a hash that ends pods": lambda named: named[("DaemonSet", "workplane-runtime")]["spec"]["template"]["metadata"].update(
        annotations={"checksum/secret": "1"}
    ),
    "a probe at another port": lambda named: container(named)["livenessProbe"]["tcpSocket"].update(port=7501),
    "nodes that are let in nowhere": lambda named: policy(named)[0]["from"].pop(),
    "metrics that nobody may read": lambda named: policy(named).pop(),
    "a Secret that is applied": lambda named: named.update(
        secret={"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "workplane-hosts", "namespace": "workplane"}}
    ),
}
COMPOSE_BY_SCHEMA = {
    "an unknown field": lambda whole: whole["services"]["serve"].update(restarts="always"),
    "a number for a list": lambda whole: whole["services"]["serve"].update(networks=1),
    "a volume of no kind": lambda whole: whole["services"]["host-a"]["volumes"][0].pop("type"),
}
COMPOSE_BY_MEANING = {
    "a network that is not there": lambda whole: whole["services"]["serve"]["networks"].append("other"),
    "a service open to all": lambda whole: whole["services"]["serve"].update(ports=["7400:7400"]),
    "a secret that is not mounted": lambda whole: whole["services"]["host-a"]["volumes"].pop(1),
    "a host that may write": lambda whole: whole["services"]["host-a"].update(read_only=False),
}


def check(built):
    failures = Failures()
    for name, change in {**BY_SCHEMA, **BY_MEANING}.items():
        documents = copy.deepcopy(built["base"])
        named = {(document["kind"], document["metadata"]["name"]): document for document in documents}
        change(named)
        if name in BY_SCHEMA:
            found = [problem for document in named.values() for problem in schemas.kubernetes(document)]
        else:
            found = cluster.check([*named.values()])
        failures.check(found, f"nobody notices {name}")
    for name, change in {**COMPOSE_BY_SCHEMA, **COMPOSE_BY_MEANING}.items():
        whole = copy.deepcopy(compose.file("compose.yaml"))
        change(whole)
        found = schemas.compose(whole, name) if name in COMPOSE_BY_SCHEMA else compose.check(whole, name)
        failures.check(found, f"nobody notices {name} in compose.yaml")
    try:
        schemas.load("a: 1\na: 2\n")
        failures.append("nobody notices a key that is there twice")
    except schemas.yaml.YAMLError:
        pass
    return failures
