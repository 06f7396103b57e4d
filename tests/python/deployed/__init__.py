"""What deploy.py looks at, a module for each way of putting workplane up."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
# What a configuration names that lies in a secret of its own.
SECRETS = r'^(?:token_file|tls_cert|tls_key|tls_client_ca|ca_file|client_cert|client_key) = "([^"]+)"'


class Failures(list):
    """What does not hold, each as a line for people."""

    def check(self, holds, what):
        if not holds:
            self.append(what)


def secrets_of(text):
    """The files of tokens, certificates and keys that a configuration names."""
    return [pathlib.PurePosixPath(path) for path in re.findall(SECRETS, text, re.M)]


def role_of(text):
    """Whose configuration it is: that of a host names its address at a host's port."""
    return "runtime" if re.search(r'^listen = ".*:7500"', text, re.M) else "serve"


def readme(heading, language="sh"):
    """The blocks of commands, or of another language, that the README has under a heading."""
    section = (DEPLOY / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.M | re.S)
