"""The image, and the units of systemd."""

import pathlib
import re
import shutil
import subprocess
import tempfile

from . import DEPLOY, ROOT, Failures


def image():
    failures = Failures()
    check = failures.check
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
    return failures


def units(binary):
    failures = Failures()
    check = failures.check
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
    return failures
