"""Compose: what its schema cannot know. Whatever a service names is there, in each way in which the files are put together."""

import copy
import re
import shutil
import subprocess

from . import DEPLOY, ROOT, Failures, readme, schemas, secrets_of

HOME = DEPLOY / "compose"
VARIANTS = (["tls"], ["metrics"], ["tls", "metrics"])
CONFINED = {"read_only": True, "tmpfs": ["/tmp"], "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}


def file(name):
    (document,) = schemas.load((HOME / name).read_text())
    return document


def over(one, other, at=""):
    """What compose makes of a file and one that is put over it."""
    if isinstance(one, dict) and isinstance(other, dict):
        added = {key: over(one[key], value, key) if key in one else value for key, value in other.items()}
        return {**one, **added}
    if at in ("volumes", "configs"):
        return [*{entry["target"]: entry for entry in one + other}.values()]
    if at == "networks":
        return [*dict.fromkeys(one + other)]
    return other


def variants():
    """Each way, by the files that it takes."""
    base = file("compose.yaml")
    found = {"compose.yaml": base}
    for names in VARIANTS:
        whole = copy.deepcopy(base)
        for name in names:
            whole = over(whole, file(f"compose.{name}.yaml"))
        found[" and ".join(["compose.yaml", *names])] = whole
    return found


def check(whole, where):
    """What is wrong with a way."""
    failures = Failures(schemas.compose(whole, where))
    used = {kind: set() for kind in ("networks", "configs", "volumes")}
    for name, service in whole["services"].items():
        failures += of_service(f"{where}: {name}", name, service, whole)
        used["networks"] |= set(service["networks"])
        used["configs"] |= {config["source"] for config in service.get("configs", [])}
        used["volumes"] |= {volume["source"] for volume in service["volumes"] if volume["type"] == "volume"}
    for kind, names in used.items():
        lacking, idle = names - set(whole[kind]), set(whole[kind]) - names
        # Those of the plain way are still there, where others took their place.
        idle = {name for name in idle if f"{name}-tls" not in names}
        failures.check(not lacking and not idle, f"{where}: {kind} that are not there {lacking}, that nobody uses {idle}")
    for config in whole["configs"].values():
        failures.check((HOME / config["file"]).is_file(), f"{where}: there is no {config['file']}")
    build = whole["services"]["serve"]["build"]
    failures.check((HOME / build["context"]).resolve() == ROOT, f"{where}: builds from elsewhere")
    failures.check((ROOT / build["dockerfile"]).is_file(), f"{where}: builds from no file")
    return failures


def of_service(where, name, service, whole):
    failures = Failures()
    for key, value in CONFINED.items():
        failures.check(service.get(key) == value, f"{where}: {key} is {service.get(key)}")
    failures.check(all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{where}: open to the network")
    failures.check(set(service.get("depends_on", [])) <= set(whole["services"]), f"{where}: waits for nobody")
    mounted = {volume["target"]: volume for volume in service["volumes"]}
    for volume in mounted.values():
        if volume["type"] == "bind" and not volume["source"].startswith("secrets/"):
            failures.check((HOME / volume["source"]).is_dir(), f"{where}: there is no {volume['source']}")
    if "build" not in service:
        failures.check(re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"{where}: {service['image']} names no version")
        return failures
    failures.check(service["stop_grace_period"] == "40s" and service["init"], f"{where}: how it ends")
    (config,) = service["configs"]
    failures.check(config["target"] in service["command"], f"{where}: reads another file than it is given")
    text = (HOME / whole["configs"][config["source"]]["file"]).read_text()
    for path in secrets_of(text):
        secret = mounted.get(str(path.parent), {})
        source = HOME / secret.get("source", "")
        failures.check(source.is_relative_to(HOME / "secrets"), f"{where}: no secret is mounted for {path}")
    for scheme, host, port in re.findall(r'^endpoint = "(https?)://([^:"]+):(\d+)"', text, re.M):
        there = whole["services"].get(host)
        failures.check(there is not None and port == "7500", f"{where}: reaches no {host}:{port}")
        if there:
            failures.check(set(there["networks"]) & set(service["networks"]), f"{where}: no network to {host}")
            (its,) = [whole["configs"][config["source"]]["file"] for config in there["configs"]]
            secured = "tls_cert" in (HOME / its).read_text()
            failures.check(secured == (scheme == "https"), f"{where}: {scheme} to {host}")
    endpoint = service.get("environment", {}).get("WORKPLANE_ENDPOINT", "http://127.0.0.1:7400")
    failures.check(endpoint.startswith("https") == ("tls_cert" in text), f"{where}: its health is asked at {endpoint}")
    return failures


def scraped():
    """Prometheus reads what is there, at the ports that are served."""
    failures = Failures()
    whole = over(file("compose.yaml"), file("compose.metrics.yaml"))
    (job,) = schemas.load((DEPLOY / "prometheus/compose.yaml").read_text())[0]["scrape_configs"]
    targets = {target for static in job["static_configs"] for target in static["targets"]}
    served = {
        f"{name}:{service['environment']['WORKPLANE_METRICS_LISTEN'].split(':')[1]}"
        for name, service in whole["services"].items()
        if "WORKPLANE_METRICS_LISTEN" in service.get("environment", {})
    }
    failures.check(targets == served, f"Prometheus reads {targets}, and there are {served}")
    return failures


def everything():
    failures = scraped()
    for name in HOME.glob("compose*.yaml"):
        failures += schemas.compose(file(name.name), name.name)
    for where, whole in variants().items():
        failures += check(whole, where)
    said = "\n".join(readme("Compose"))
    for names in VARIANTS:
        failures.check(all(f"compose.{name}.yaml" in said for name in names), f"the README does not say how {names} is put up")
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        for names in ([], *VARIANTS):
            files = [word for name in ["compose", *(f"compose.{name}" for name in names)] for word in ("-f", f"{name}.yaml")]
            run = subprocess.run(["docker", "compose", *files, "config", "-q"], cwd=HOME, capture_output=True, text=True)
            failures.check(run.returncode == 0, f"docker compose {files} config: {run.stderr}")
    else:
        print("left out: docker compose config (it is not here)")
    return failures
