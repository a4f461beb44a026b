"""Known vulnerabilities of the packages that a release is tested with: ``python .ci/audit.py [REQUIREMENTS …]``.

Asks PyPI's own database through pip-audit. 1: a vulnerability that ``.ci/audit-exceptions.toml`` does not name, or an
exception that is not needed any more. 0, with a warning: the database does not answer here, so nothing is known.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXCEPTIONS = HERE / "audit-exceptions.toml"
SECONDS = 600


def main(arguments: list[str]) -> int:
    """Audit the requirements; print what was found."""
    files = [Path(given) for given in arguments] or [HERE.parent / "constraints.txt"]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    pins = sorted({pin for line in lines if (pin := pinned(line)) is not None})
    answered, problem = ask(pins)
    known = [each for each in answered if "skip_reason" not in each]
    if not known:
        reason = problem or next((each["skip_reason"] for each in answered), "it gave no answer")
        print(f"WARNING: no package of {len(pins)} could be audited: {reason}", file=sys.stderr)
        return 0
    return judged(known, unknown=len(pins) - len(known), exceptions=read_exceptions(EXCEPTIONS))


def judged(known: list[dict[str, Any]], *, unknown: int, exceptions: dict[str, str]) -> int:
    """Print each vulnerability with what is to be done about it; 1 where one has no exception."""
    wrong, met = 0, set()
    for package in known:
        for found in package["vulns"]:
            names = {found["id"], *found.get("aliases", [])}
            reason = next((exceptions[name] for name in sorted(names) if name in exceptions), None)
            met |= names
            wrong += reason is None
            fixed = ", ".join(found.get("fix_versions", [])) or "no version yet"
            print(
                f"{'FOUND' if reason is None else 'known'}: {package['name']} {package['version']}: {found['id']}, "
                f"mended in {fixed}" + (f"; an exception: {reason}" if reason else "")
            )
    for name in sorted(set(exceptions) - met):
        print(f"NOT NEEDED: the exception {name}: remove it from {EXCEPTIONS.name}")
        wrong += 1
    print(f"{len(known)} packages audited, {unknown} not known to the database, {wrong} to be mended")
    return 1 if wrong else 0


def read_exceptions(path: Path) -> dict[str, str]:
    """The reason of each exception by its name. Raises ValueError where one has none."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("exception", [])
    found = {entry["id"]: str(entry.get("reason", "")).strip() for entry in entries}
    bare = [name for name, reason in found.items() if not reason]
    if bare:
        raise ValueError(f"{path}: the exception {bare[0]} has no reason")
    return found


def pinned(line: str) -> str | None:
    """``name==version`` of a line of requirements, the newest one that pip would take where it is not pinned."""
    text = line.partition("#")[0].strip()
    if not text or text.startswith("-"):
        return None
    if "==" in text or " @ " in text:
        # A build of one's own, 2.13.0+cpu, is the release of that number to the database.
        return text.partition("+")[0] if "==" in text else None
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    done = subprocess.run(
        [*command, "--report", "-", text], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode != 0:
        return None
    about = json.loads(done.stdout)["install"][0]["metadata"]
    return f"{about['name']}=={about['version']}"


def ask(pins: list[str]) -> tuple[list[dict[str, Any]], str | None]:
    """What the database says of each package; and, where it says nothing, why."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "pins.txt"
        given.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
        command += ["--no-deps", "--disable-pip", "--requirement", str(given)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return [], f"no answer within {SECONDS} s"
    try:
        return json.loads(done.stdout)["dependencies"], None
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:300]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
