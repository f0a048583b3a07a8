"""Programs from Debian packages of any suite, unpacked into a folder of this checkout and installed nowhere.

apt works with a configuration of its own below `.venv/debian`, so it needs no root and leaves the machine's as it is.
"""

import fcntl
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tools import lack, require_tools

CACHE = Path(__file__).parent.parent / ".venv" / "debian"
KEYRINGS = Path("/usr/share/keyrings")
APT_TIMEOUT_S = 100.0

MOVING = ("forky", "sid")
PROMETHEUS = "3.5.*"
ALERTMANAGER = "0.33.*"
"""No released suite has a Prometheus 3: these series were seen to pass all tests, and are taken while there are any."""


def unpack(package: str, *suites: str, version: str = "*") -> Path:
    """The folder that holds the package's files, without those of its dependencies. Instant the second time.

    Of the first suite that has the version, or of the first one whatever it has by now: a suite that moves on fails no
    test by that alone. Skips the test on a machine that can't (no apt, mirror out of reach), and fails it in CI.
    """
    folder = CACHE / f"{package}-{suites[0]}{version.rstrip('*')}"
    if folder.is_dir():
        return folder
    require_tools("apt-get", "dpkg")
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "apt.lock"):
        errors: list[str] = []
        for suite, wanted in [*((suite, version) for suite in suites), (suites[0], "*")]:
            if folder.is_dir():
                return folder
            try:
                fetch(f"{package}={wanted}", suite, folder)
            except (subprocess.SubprocessError, LookupError, OSError) as error:
                errors.append(f"no {package}={wanted} from {suite}: {error} {getattr(error, 'stderr', None) or ''}")
    return folder if folder.is_dir() else lack("; ".join(errors))


def promtool() -> Path:
    """Prometheus' own checker of configurations, rules and expressions."""
    return unpack("promtool", *MOVING, version=PROMETHEUS) / "usr/bin/promtool"


def prometheus() -> Path:
    """A Prometheus 3 server, as the stack's is."""
    return unpack("prometheus", *MOVING, version=PROMETHEUS) / "usr/bin/prometheus"


def alertmanager() -> Path:
    """An Alertmanager; amtool lies beside it."""
    return unpack("prometheus-alertmanager", *MOVING, version=ALERTMANAGER) / "usr/bin/prometheus-alertmanager"


def amtool() -> Path:
    """Alertmanager's own checker of configurations and routes."""
    return alertmanager().with_name("amtool")


def fetch(package: str, suite: str, folder: Path) -> None:
    """Download `name=version` and unpack it; the folder appears when it is complete."""
    apt = CACHE / f"apt-{suite}"
    downloads = folder.with_name(f"{folder.name}.download")
    half = folder.with_name(f"{folder.name}.half")
    for directory in (downloads, half):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    options = prepare_apt(apt, suite)
    if not any((apt / "lists").glob("*_Packages*")):
        run("apt-get", *options, "update")
    try:
        run("apt-get", *options, "download", package, cwd=downloads)
    except subprocess.CalledProcessError:
        run("apt-get", *options, "update")  # the index is old: a mirror keeps only the newest version
        run("apt-get", *options, "download", package, cwd=downloads)
    (archive,) = downloads.glob("*.deb")
    run("dpkg", "-x", str(archive), str(half))
    shutil.rmtree(downloads)
    half.rename(folder)


def prepare_apt(apt: Path, suite: str) -> list[str]:
    """apt's options for directories below `apt`; the machine's own apt.conf (a proxy, say) holds, its sources don't."""
    for directory in (apt / "lists/partial", apt / "cache/archives/partial"):
        directory.mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    keys = KEYRINGS / "debian-archive-keyring.gpg"
    sources = apt / "debian.list"
    sources.write_text(f"deb [signed-by={keys}] {mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": apt,
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
        # A mirror may be some weeks behind; what it has is signed all the same.
        "Acquire::Check-Valid-Until": "false",
        "APT::Update::Post-Invoke-Success::": "true",
        # The sandbox user can't write below another user's checkout.
        "APT::Sandbox::User": "root",
    }
    return [f"--option={name}={value}" for name, value in settings.items()]


def mirror() -> str:
    """The archive that the machine's own sources name for its own release, whether or not its lists were ever fetched.

    LookupError where they name none, as on another system than Debian.
    """
    indexes = run("apt-get", "update", "--print-uris")
    uris = re.findall(rf"^'(\S*debian\S*)/dists/{codename()}/main/binary-", indexes, re.MULTILINE)
    if not uris:
        raise LookupError("apt's sources name no archive of Debian for this machine's release")
    return str(uris[0])


def codename() -> str:
    release = dict(line.partition("=")[::2] for line in read_lines("/etc/os-release"))
    return release.get("VERSION_CODENAME", "").strip('"') if release.get("ID") == "debian" else ""


def read_lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def run(*command: str, cwd: Path | None = None) -> str:
    """Its output; a SubprocessError with what it said otherwise."""
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=APT_TIMEOUT_S)
    return done.stdout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
