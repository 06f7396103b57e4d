"""Holds what stands in deploy/: every configuration in it is loaded by the binary, manifests are what the schemas of their kinds
and the checks here say, and what is put up with TLS serves. Usage: deploy.py WORKPLANE. It asks no cluster and no network; what
`systemd-analyze`, `kubectl` and `docker` can check by themselves they check where they are there.
"""

import pathlib
import sys

from deployed import broken, cluster, compose, configurations, machine, schemas, trial


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    built = cluster.built()
    checks = {
        "configurations": lambda: configurations.check(binary, built),
        "kubernetes": lambda: [problem for documents in built.values() for problem in cluster.check(documents)],
        "kustomize": cluster.kustomizations,
        "compose": compose.everything,
        "prometheus": schemas.prometheus,
        "image": machine.image,
        "units": lambda: machine.units(binary),
        "what is broken": lambda: broken.check(built),
        "compose with TLS": lambda: trial.compose(binary),
        "kubernetes with TLS": lambda: trial.kubernetes(binary, built),
    }
    failures = []
    for name, check in checks.items():
        try:
            failures += [f"{name}: {problem}" for problem in check()]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # What it was to look at is not there: why is told before, mostly.
            failures.append(f"{name}: not looked at to the end: {error!r}")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    if not failures:
        print("deploy/ is sound")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
