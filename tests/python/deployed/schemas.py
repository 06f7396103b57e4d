"""Schemas that others keep: Kubernetes' own (kubernetes-validate brings them along), that of compose (check-jsonschema
does), and promtool for what Prometheus reads. None of them asks a network.
"""

import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

from . import DEPLOY, ROOT, Failures

# The oldest that has what is used here, and the newest whose schemas are brought along.
KUBERNETES = ("1.29", "1.37")


class Loader(yaml.SafeLoader):
    """YAML as Kubernetes takes it; a key that is there twice, of which the parser drops one, is an error."""


def mapping(loader, node):
    keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    if len(keys) != len(set(keys)):
        raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node)


Loader.add_constructor("tag:yaml.org,2002:map", mapping)


def load(text):
    return [document for document in yaml.load_all(text, Loader) if document]


def kubernetes(document):
    """What is wrong with one manifest."""
    failures = Failures()
    where = f"{document.get('kind')} {document.get('metadata', {}).get('name')}"
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            failures.append(f"Kubernetes {version}: {where}: {path}: {error.message}")
        except (kubernetes_validate.SchemaNotFoundError, KeyError) as error:
            failures.append(f"Kubernetes {version}: {where}: is of no kind that is known: {error}")
    return failures


def compose(document, where):
    """What is wrong with one file of compose."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(document, file)
        file.flush()
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file.name]
        said = subprocess.run(command, capture_output=True, text=True)
        return [f"{where}: {said.stdout}{said.stderr}"] if said.returncode else []


def promtool(command, directory):
    said = subprocess.run([ROOT / ".ci/tool", "promtool", "check", *command], cwd=directory, capture_output=True, text=True)
    return [f"promtool check {command}: {said.stdout}{said.stderr}"] if said.returncode else []


def prometheus():
    """What is wrong with what Prometheus reads, and whether it would be noticed."""
    failures, home = Failures(), DEPLOY / "prometheus"
    with tempfile.TemporaryDirectory() as directory:
        for file in [*home.glob("*.yaml")]:
            text = file.read_text()
            # Debian's promtool is built without what finds pods: their place is taken by an address.
            text = re.sub(r"^    kubernetes_sd_configs:\n(?:      .*\n)+", "    static_configs: [{targets: [pods]}]\n", text, flags=re.M)
            with open(f"{directory}/{file.name}", "w") as copy:
                copy.write(text)
        for name in ("prometheus.yaml", "compose.yaml", "kubernetes.yaml"):
            failures += promtool(["config", name], directory)
        rules = (home / "alerts.yaml").read_text()
        for name, broken in [
            ("an expression that does not end", rules.replace("== 0'", "== '", 1)),
            ("an unknown field", rules.replace("severity:", "sevrity:", 1).replace("for: 1m", "fr: 1m", 1)),
        ]:
            with open(f"{directory}/broken.yaml", "w") as copy:
                copy.write(broken)
            failures.check(promtool(["rules", "broken.yaml"], directory), f"promtool does not notice {name}")
    return failures
