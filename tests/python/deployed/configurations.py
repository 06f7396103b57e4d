"""Every configuration, through the binary."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile

from . import DEPLOY, ROOT, SECRETS, Failures, readme, role_of


def loads(binary, role, text, where, certificates):
    """Loads a configuration as a start would. What lies elsewhere when it is put up lies in a directory here."""
    failures = Failures()
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)

        def secret(found):
            key, path = found.group(0).split(" = ")[0], pathlib.PurePosixPath(found.group(1))
            here = place / str(path).strip("/").replace("/", "-")
            if key == "token_file":
                here.write_text("name a-token\n")
            else:
                shutil.copy(certificates / path.name, here)
            here.chmod(0o600)
            return f'{key} = "{here}"'

        text = re.sub(SECRETS, secret, text, flags=re.M)
        text = re.sub(r'^data_dir = ".*"', f'data_dir = "{place}/data"', text, flags=re.M)
        text = re.sub(r'^endpoint = "(https?)://.*"', r'endpoint = "\1://127.0.0.1:9"', text, flags=re.M)
        (place / "config.toml").write_text(text)
        command = [binary, "doctor", role, "--config", str(place / "config.toml"), "--output", "json"]
        said = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, timeout=120)
        findings = json.loads(said.stdout)
        failures.check(findings[0]["what"] == "configuration" and findings[0]["verdict"] == "ok", f"{where}: {findings[0]}")
        # Hosts are not there, an address of another machine is not here, and ports may be taken.
        others = [f for f in findings if f["verdict"] == "fail" and not f["what"].startswith(("host ", "listen"))]
        failures.check(not others, f"{where}: {others}")
    return failures


def commented(text):
    """A sample with its commented keys of TLS and tokens in force."""
    return re.sub(r"^# ((?:token_file|tls_\w+|ca_file|server_name|client_\w+) = )", r"\1", text, flags=re.M).replace(
        'endpoint = "http:', 'endpoint = "https:'
    )


def check(binary, built):
    """Those of files, of the README, and within ConfigMaps."""
    failures, found = Failures(), [("README.md", text) for text in readme("systemd", "toml")]
    for file in sorted(DEPLOY.rglob("*.toml")):
        if file.name != "bundle.toml":
            found.append((file.relative_to(ROOT), file.read_text()))
            if file.parent.name == "samples":
                found.append((f"{file.relative_to(ROOT)} with TLS", commented(file.read_text())))
    for name, documents in built.items():
        for document in documents:
            if document["kind"] == "ConfigMap":
                found += [(f"{name}: {key}", text) for key, text in document["data"].items()]
    with tempfile.TemporaryDirectory() as directory:
        made = pathlib.Path(directory)
        subprocess.run([DEPLOY / "certificates.sh", directory, "one=DNS:one"], check=True)
        for path in (made / "one").iterdir():
            shutil.copy(path, made / path.name)
        # As the samples call them.
        for pem, path in [("serve", "tls"), ("runtime", "tls"), ("plane", "tls")]:
            shutil.copy(made / f"{path}.crt", made / f"{pem}.pem")
            shutil.copy(made / f"{path}.key", made / f"{pem}.key")
        for authority in ("clients.pem", "hosts-ca.pem"):
            shutil.copy(made / "ca.crt", made / authority)
        for where, text in found:
            failures += loads(binary, role_of(text), text, where, made)
    failures.check(len(found) >= 14, f"only {len(found)} configurations were found")
    return failures
