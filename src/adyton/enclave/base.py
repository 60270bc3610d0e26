"""A Python root file system from this machine's own Python: no container engine, no download.

What lands in it: the interpreter as ``/usr/local/bin/python3``, its standard library, the shared libraries and the
dynamic loader it needs, certificate authorities, a minimal ``/etc``, and installed distributions. Byte code is made
reproducible (hash-based, never checked against the source, names as inside the image), so that equal inputs give equal
bytes and imports are quick. Every file is measured at every start of an enclave: the standard library, and packages
where told so, come as byte code in place of sources, which halves files and folders; tracebacks keep file and line.
The interpreter part is kept in a cache folder, keyed by what it was made from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from adyton.enclave.errors import BuildError
from adyton.enclave.interpreter import Interpreter, is_elf, shared_libraries
from adyton.enclave.packages import FileMap, distribution_files, module_files, needed_to_run

PREFIX: Final = "usr/local"
_CACHE_VERSION: Final = b"2"
_CACHE_KEPT: Final = 12  # trees of each kind; older ones are removed when a new one is made
# What wheels of older C libraries name, and what the C library opens by name: always there, whoever needs them.
_ALWAYS: Final = ("libpthread.so.0", "librt.so.1", "libdl.so.2", "libutil.so.1", "libresolv.so.2", "libgcc_s.so.1")
_CERTIFICATES: Final = "etc/ssl/certs/ca-certificates.crt"
_ETC: Final = {
    "etc/passwd": "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_COMPILE: Final = """
import compileall, os, py_compile, sys
folder, inside, keep = sys.argv[1:]
done = compileall.compile_dir(folder, quiet=2, force=True, workers=1, maxlevels=100, stripdir=folder,
                              prependdir=inside, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                              legacy=keep != "sources")
for parent, _, names in os.walk(folder if keep != "sources" else ""):
    for name in names:
        if name.endswith(".py") and name + "c" in names:
            os.unlink(os.path.join(parent, name))
sys.exit(0 if done else 1)
"""


def packages_tree(
    interpreter: Interpreter,
    distributions: Sequence[str],
    modules: Sequence[str],
    *,
    sources: bool = True,
    cache: Path | None = None,
) -> Path:
    """Packages, and the shared libraries they need beyond :func:`python_base`, at their places; do not change it.

    Args:
        interpreter: the Python they are for.
        distributions: installed distributions, with all they need.
        modules: importable packages.
        sources: False keeps only what it takes to run: byte code in place of sources, no headers, stubs or tests.
        cache: where built trees are kept.

    Raises:
        BuildError: something named is not installed here.
    """
    files = distribution_files(distributions) | module_files(modules)
    if not sources:
        files = needed_to_run(files)
    inside = site_path(interpreter)
    python = python_base(interpreter, cache=cache)

    def make(root: Path) -> None:
        install(files, root / inside)
        compile_folder(interpreter, root / inside, f"/{inside}", sources=sources)
        _add_libraries(root, interpreter, files.values(), present=python)

    return cached("packages", content_key(files, python.name.encode() + _CACHE_VERSION + bytes([sources])), make, cache)


def content_key(files: FileMap, salt: bytes) -> str:
    """A cache key over names and contents of files, and over the code that builds."""
    digest = hashlib.sha256(salt + b"\0" + Path(__file__).read_bytes())
    for name, source in sorted(files.items()):
        digest.update(f"{name}\0".encode() + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def site_path(interpreter: Interpreter) -> str:
    """Where packages are in the image, relative to its root."""
    return f"{PREFIX}/lib/{interpreter.name}/{interpreter.site_folder}"


def library_folder(interpreter: Interpreter) -> str:
    """Where shared libraries are in the image, relative to its root: where the loader looks without being told."""
    return str(shared_libraries([interpreter.executable])[0]["libc.so.6"].parent.relative_to("/"))


def python_base(interpreter: Interpreter, *, cache: Path | None = None) -> Path:
    """The root file system with the interpreter and nothing else, from the cache or made now; do not change it."""
    return cached("python", _base_key(interpreter), lambda folder: _make_base(interpreter, folder), cache)


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adyton"


def cached(kind: str, key: str, make: Callable[[Path], None], cache: Path | None = None) -> Path:
    """A folder made by ``make``, kept under ``key``; readers of one key see a whole folder or none.

    Raises:
        BuildError: ``enclave.build.cache``: others could put their files into the cache, and so into enclaves.
    """
    root = cache or cache_folder()
    target = root / f"{kind}-{key[:32]}"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _require_own(root)
    if not target.exists():
        partial = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=root))
        try:
            make(partial)
            partial.chmod(0o755)
            partial.rename(target)
        except OSError:
            if not target.exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        older = sorted(root.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime_ns)[:-_CACHE_KEPT]
        for path in older:
            shutil.rmtree(path, ignore_errors=True)
    return target


def _require_own(root: Path) -> None:
    status = root.stat()
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & stat.S_IWOTH:
        raise BuildError(
            f"others can write to the cache {root}",
            code="enclave.build.cache",
            hint="remove it, or name another folder in XDG_CACHE_HOME",
        )


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a folder with its links; files get the modes an image has."""
    shutil.copytree(source, destination, symlinks=True, dirs_exist_ok=True)


def install(files: FileMap, folder: Path) -> None:
    """Copy files to their places below ``folder``."""
    for name, source in sorted(files.items()):
        copy_file(source, folder / name)


def copy_file(source: Path, target: Path) -> None:
    """Copy content and executability of a file, and nothing else of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    except OSError as error:
        raise BuildError(f"cannot copy {source}: {error.strerror}", code="enclave.build.file") from error


def compile_folder(interpreter: Interpreter, folder: Path, inside: str, *, sources: bool) -> None:
    """Compile all modules below ``folder``, in one fresh process and in one order, for the same bytes each time.

    Args:
        interpreter: who compiles, and will run them.
        folder: where they are.
        inside: the folder's path inside the image.
        sources: whether they stay; else byte code takes their place.

    Raises:
        BuildError: a module does not compile.
    """
    if not folder.is_dir():
        return
    keep = "sources" if sources else "code"
    done = subprocess.run(
        [str(interpreter.executable), "-I", "-S", "-c", _COMPILE, str(folder), inside, keep],
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"cannot compile {inside}: {done.stdout.strip()[-300:]}", code="enclave.build.compile")


def _make_base(interpreter: Interpreter, root: Path) -> None:
    program = root / PREFIX / "bin" / interpreter.name
    copy_file(interpreter.executable, program)
    for name in ("python3", "python"):
        (program.parent / name).symlink_to(interpreter.name)
    library = root / PREFIX / "lib" / interpreter.name
    modules = list(interpreter.modules())
    install({str(module): interpreter.stdlib / module for module in modules}, library)
    compile_folder(interpreter, library, f"/{PREFIX}/lib/{interpreter.name}", sources=False)
    objects = [interpreter.executable, *(interpreter.stdlib / m for m in modules if m.suffix == ".so")]
    _add_libraries(root, interpreter, objects)
    for name, text in _ETC.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    _add_certificates(root)
    for name in ("tmp", "run", "proc", "dev", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)


def _add_libraries(
    root: Path, interpreter: Interpreter, objects: Iterable[Path], *, present: Path | None = None
) -> None:
    """Copy what ``objects`` need to where the loader looks without being told: the folder of the C library.

    Libraries that come along with the objects (``$ORIGIN`` of wheels), or are ``present`` already, are left.
    """
    elf = [path for path in objects if path.is_file() and not path.is_symlink() and is_elf(path)]
    libraries, loader = shared_libraries([interpreter.executable, *elf])
    home = libraries["libc.so.6"].parent
    libraries |= {name: home / name for name in _ALWAYS if (home / name).exists() and name not in libraries}
    brought = {path.resolve() for path in elf}
    places = [(path, home.relative_to("/") / name) for name, path in libraries.items() if path.resolve() not in brought]
    for path, place in [*places, (loader, loader.relative_to("/"))]:
        if not (root / place).exists() and not (present is not None and (present / place).exists()):
            copy_file(path.resolve(), root / place)


def _add_certificates(root: Path) -> None:
    source = Path("/") / _CERTIFICATES
    if not source.exists():
        return
    copy_file(source, root / _CERTIFICATES)
    expected = Path(ssl.get_default_verify_paths().openssl_cafile)
    if expected.is_absolute() and expected != source:
        link = root / expected.relative_to("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/{_CERTIFICATES}")


def _base_key(interpreter: Interpreter) -> str:
    """What the interpreter part depends on; file times stand for contents of this machine's own files."""
    digest = hashlib.sha256(
        _CACHE_VERSION + str(interpreter).encode() + _COMPILE.encode() + Path(__file__).read_bytes()
    )
    for module in (interpreter.executable, *(interpreter.stdlib / name for name in interpreter.modules())):
        status = module.stat()
        digest.update(f"{module}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
