"""Stand-ins for the images that the stack's files name, made of Debian's packages: same tag, paths, user, entry point.

These tests run on them wherever they run, so that they need no image registry; users pull the real ones.
Python's is a minimal Debian of the suite in its tag, with that suite's Python; Prometheus' and Alertmanager's hold
the static busybox (as the real ones do), Debian's binaries and the C library that they are linked with.
"""

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests import debian
from tests.stack.engine import Engine

TOOLS = ("mmdebstrap", "ldd")
CACHE = debian.CACHE.parent / "stack"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_SETTINGS = ("index-url", "trusted-host")
NOBODY = 65534
BUSYBOX_COMMANDS = ("sh", "wget", "kill", "cat")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
GROUP = "root:x:0:\nnobody:x:65534:\n"


def python_tag(dockerfile: Path) -> str:
    """The base image that the Dockerfile names."""
    (tag,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile.read_text(), re.MULTILINE)
    return str(tag)


def prepare_python(tag: str) -> Path:
    """The root file system as a tar, made once per checkout: half a minute."""
    suite = tag.rpartition("-")[2]
    archive = CACHE / f"python-{suite}.tar"
    if archive.exists():
        return archive
    CACHE.mkdir(parents=True, exist_ok=True)
    pip_conf = CACHE / "pip.conf"
    pip_conf.write_text(pip_configuration())
    half = archive.with_suffix(".half.tar")
    hooks = [
        'ln -s ../../bin/python3 "$1/usr/local/bin/python"',
        f"copy-in {pip_conf} /etc",
        f"copy-in {CA_BUNDLE} {CA_BUNDLE.parent}",
    ]
    command = [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
        "--include=python3,python3-venv,python3-pip,ca-certificates",
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "locale")),
        *(f"--customize-hook={hook}" for hook in hooks),
        suite, str(half), debian.mirror(),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    half.rename(archive)
    return archive


def pip_configuration() -> str:
    """How this machine reaches a package index, for pip inside the stand-in."""
    listed = debian.run("python3", "-m", "pip", "config", "list")
    found = dict(re.findall(r"^\S*\.([a-z-]+)='(.*)'$", listed, re.MULTILINE))
    lines = [f"{name} = {found[name]}" for name in PIP_SETTINGS if name in found]
    return "\n".join(["[global]", f"cert = {CA_BUNDLE}", *lines, ""])


def load_python(engine: Engine, tag: str, archive: Path) -> None:
    engine.docker("import", "--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                  "--change", 'CMD ["python3"]', str(archive), tag)  # fmt: skip
    expected = tag.partition(":")[2].rpartition(".")[0]
    found = engine.docker("run", "--rm", tag, "python", "-c", "import platform; print(platform.python_version())")
    if found.rpartition(".")[0] != expected:
        raise RuntimeError(f"the Dockerfile names Python {expected}, the stand-in has {found.strip()}")


def load_prometheus(engine: Engine, tag: str) -> None:
    files = {"bin/prometheus": debian.prometheus(), "bin/promtool": debian.promtool()}
    load_server(engine, tag, files, "prometheus", ["--config.file=/etc/prometheus/prometheus.yml"])


def load_alertmanager(engine: Engine, tag: str) -> None:
    package = debian.alertmanager().parent.parent.parent
    files = {"bin/alertmanager": debian.alertmanager(), "bin/amtool": debian.amtool()}
    templates = package / "usr/share/prometheus/alertmanager"  # Debian's build reads them from there
    files |= {str(path.relative_to(package)): path for path in templates.glob("*.tmpl")}
    load_server(engine, tag, files, "alertmanager", ["--config.file=/etc/alertmanager/alertmanager.yml"])


def load_server(engine: Engine, tag: str, files: dict[str, Path], name: str, command: list[str]) -> None:
    """An image with `/bin/NAME` as its entry point, run by nobody in its volume `/NAME`."""
    archive = engine.directory / f"{name}.tar"
    with tarfile.open(archive, "w") as tar:
        for path, source in {**files, **libraries(files.values().__iter__()), "bin/busybox": busybox()}.items():
            tar.add(source.resolve(), path, filter=as_root)
        for link in BUSYBOX_COMMANDS:
            add(tar, f"bin/{link}", link_to="busybox")
        for path, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
            add(tar, path, text=text)
        for path in (f"etc/{name}", "tmp"):
            add(tar, path, owner=0)
        add(tar, name, owner=NOBODY)
    quoted = ", ".join(f'"{part}"' for part in command)
    changes = (f'ENTRYPOINT ["/bin/{name}"]', f"CMD [{quoted}]", "USER nobody", f"WORKDIR /{name}",
               f"VOLUME /{name}", "ENV PATH=/bin")  # fmt: skip
    engine.docker("import", *(part for change in changes for part in ("--change", change)), str(archive), tag)


def busybox() -> Path:
    return debian.unpack("busybox-static", "trixie") / "usr/bin/busybox"


def libraries(binaries: Iterator[Path]) -> dict[str, Path]:
    """The C library and loader that the binaries need, at the paths where they look for them."""
    paths = {path for binary in binaries if binary.suffix != ".tmpl"
             for path in re.findall(r"(/\S+) \(0x", debian.run("ldd", str(binary)))}  # fmt: skip
    return {path.lstrip("/"): Path(path) for path in paths}


def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def add(tar: tarfile.TarFile, path: str, text: str | None = None, link_to: str = "", owner: int = 0) -> None:
    """A file with that text, a symbolic link, or else a directory."""
    member = tarfile.TarInfo(path)
    member.uid = member.gid = owner
    if link_to:
        member.type, member.linkname = tarfile.SYMTYPE, link_to
        tar.addfile(member)
    elif text is not None:
        content = text.encode()
        member.size, member.mode = len(content), 0o644
        tar.addfile(member, io.BytesIO(content))
    else:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
