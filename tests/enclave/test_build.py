"""Images from this machine's Python: native ones, enclaves of them, and the command that makes enclaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adyton.cli import sconify as command
from adyton.content.oci import ImageConfig, TarEntry, deterministic_tar, read_image_file, read_layout, write_layout
from adyton.enclave import base
from adyton.enclave.closure import closure
from adyton.enclave.errors import BuildError, ManifestError
from adyton.enclave.image import EnclaveImage
from adyton.enclave.interpreter import local_interpreter
from adyton.enclave.measure import scan
from adyton.enclave.native import build_image
from adyton.enclave.packages import distribution_files, module_files
from adyton.enclave.sconify import SconifyOptions, sconify
from adyton.enclave.sigstruct import load_signer, mrsigner, new_signer_pem

_CALL = ("--binary-fs", "--fs-dir=/app", "--binary=/usr/local/bin/python3", "--heap=64M", "--dlopen=1", "--mprotect=1")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "app.py").write_text("print('hello')\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/app.pyc").write_bytes(b"left behind")
    return folder


@pytest.fixture(scope="module")
def native(app: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = tmp_path_factory.mktemp("native") / "layout"
    build_image(app, layout, command="python3 /app/app.py")
    return layout


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("signer") / "key.pem"
    file.write_bytes(new_signer_pem())
    file.chmod(0o600)
    return file


def _python_rootfs(folder: Path) -> None:
    """Python with a distribution and a package of this one."""
    interpreter = local_interpreter()
    for tree in (base.python_base(interpreter), base.packages_tree(interpreter, ["cbor2"], ["adyton.base"])):
        base.copy_tree(tree, folder)


def test_a_root_file_system_runs_python_with_the_packages(tmp_path: Path) -> None:
    _python_rootfs(tmp_path / "root")
    script = (
        "import cbor2, sqlite3, ssl, adyton.base.canonical as c; print(c.canonical_json({'a': 1}), ssl.OPENSSL_VERSION)"
    )
    done = subprocess.run(
        ["bwrap", "--unshare-all", "--ro-bind", str(tmp_path / "root"), "/", "--proc", "/proc", "--dev", "/dev",
         "--clearenv", "--", "/usr/local/bin/python3", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith("b'{\"a\":1}' OpenSSL")
    listing = {path.name for path in (tmp_path / "root/usr/local/lib" / local_interpreter().name).iterdir()}
    assert not listing & {"test", "idlelib", "tkinter", "ensurepip", "lib2to3"}


def test_the_interpreter_part_is_the_same_from_an_empty_cache(tmp_path: Path) -> None:
    first = base.python_base(local_interpreter())
    second = base.python_base(local_interpreter(), cache=tmp_path)
    assert first != second
    assert scan(first) == scan(second)


def test_no_file_names_this_machine(tmp_path: Path) -> None:
    _python_rootfs(tmp_path / "root")
    home = os.fsencode(Path(__file__).parents[2])
    files = [path for path in (tmp_path / "root").rglob("*.py*") if path.is_file()]
    assert any("adyton/base/__pycache__" in str(path) for path in files)
    assert [path for path in files if home in path.read_bytes()] == []


def test_packages_without_sources_hold_what_runs_and_nothing_else() -> None:
    tree = base.packages_tree(local_interpreter(), ["pycryptodome"], ["adyton.base"], sources=False)
    site = tree / base.site_path(local_interpreter())
    names = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {"adyton/base/errors.pyc", "Crypto/Cipher/AES.pyc"} <= names
    assert any(name.endswith(".so") for name in names)
    assert any("LICENSE" in name for name in names)
    assert not [name for name in names if name.endswith((".py", ".pyi", ".h")) or "SelfTest" in name]
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import adyton.base.errors as e;"
        "from Crypto.Cipher import AES; print(e.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(site)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(site / "adyton/base/errors.pyc"), done.stderr


def test_an_editable_distribution_is_copied_from_its_folder() -> None:
    files = distribution_files(["adyton"])
    assert "adyton/base/errors.py" in files
    assert any(name.startswith("fastapi/") for name in files)
    assert not any("__pycache__" in name or "direct_url" in name for name in files)


def test_native_images_are_reproducible_and_leave_out_what_tools_leave_behind(
    app: Path, native: Path, tmp_path: Path
) -> None:
    shutil.copytree(app, tmp_path / "elsewhere")
    digest = build_image(tmp_path / "elsewhere", tmp_path / "layout", command="python3 /app/app.py")
    image = read_layout(native)
    assert digest == image.digest
    assert read_image_file(image, "/app/app.py") == b"print('hello')\n"
    assert read_image_file(image, "/app/__pycache__/app.pyc") is None


@pytest.mark.parametrize(
    ("requirement", "code"),
    [("no-such-distribution", "enclave.build.distribution"), ("!", "enclave.build.distribution")],
)
def test_unknown_distributions_are_named(requirement: str, code: str) -> None:
    with pytest.raises(BuildError) as caught:
        distribution_files([requirement])
    assert caught.value.code == code


def test_distributions_come_with_what_they_need_and_extras_when_asked() -> None:
    plain, extra = distribution_files(["eth-hash"]), distribution_files(["eth-hash[pycryptodome]"])
    assert "eth_hash/__init__.py" in plain
    assert any(name.startswith("Crypto/") for name in extra)
    assert not any(name.startswith("Crypto/") for name in plain)
    assert not any(name.endswith(("RECORD", "direct_url.json", ".pyc", ".pth")) for name in extra)


def test_modules_come_with_the_packages_they_are_in() -> None:
    files = set(module_files(["adyton.base.canonical"]))
    assert files == {"adyton/__init__.py", "adyton/base/__init__.py", "adyton/base/canonical.py"}
    with pytest.raises(BuildError):
        module_files(["adyton.nothing"])


def test_the_agent_needs_no_server_no_database_and_no_simulator() -> None:
    needs = closure("adyton.runtime.agent")
    assert {"adyton.runtime.volume", "adyton.cas.client.enclaves", "adyton.platform.client"} <= set(needs.modules)
    assert not any(name.startswith("adyton.platform.simulated") for name in needs.modules)
    assert not {"fastapi", "sqlalchemy", "uvicorn", "dcap-qvl", "pyopenssl"} & {d.lower() for d in needs.distributions}


def test_equal_inputs_give_an_equal_measurement(native: Path, signer: Path, tmp_path: Path) -> None:
    shutil.copytree(native, tmp_path / "copy")
    options = SconifyOptions(name="demo", signer=load_signer(signer), host_paths=("/etc/hosts", "/data/"))
    first = sconify(native, tmp_path / "one", options)
    assert sconify(tmp_path / "copy", tmp_path / "two", options) == first
    image = EnclaveImage.load(tmp_path / "one")
    assert image.mrenclave.hex() == first.mrenclave
    assert image.sigstruct.mrsigner == mrsigner(options.signer) if options.signer else False
    assert image.manifest.argv == ("python3", "/app/app.py")
    assert image.manifest.cwd == "/app"
    assert image.manifest.volumes == {"iexec_in": "/iexec_in", "iexec_out": "/iexec_out"}
    assert image.manifest.host_paths == ("/data", "/etc/hosts")
    assert not image.manifest.debug
    image.sigstruct.verify()


def test_the_agent_uses_the_image_s_python_where_it_is_the_same(native: Path, tmp_path: Path) -> None:
    sconify(native, tmp_path / "out", SconifyOptions(name="demo"))
    program = EnclaveImage.load(tmp_path / "out").manifest.runtime[0]
    assert program == f"/usr/local/bin/{local_interpreter().name}"
    size = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert size < 120 << 20


def _layout(folder: Path, *entries: TarEntry, **config: Any) -> Path:  # noqa: ANN401  # of ImageConfig
    write_layout(folder, [deterministic_tar(entries)], ImageConfig(**({"entrypoint": ("/bin/run",)} | config)))
    return folder


def test_an_image_without_python_gets_a_whole_interpreter(tmp_path: Path) -> None:
    source = _layout(tmp_path / "source", TarEntry("bin/run", content=b"#!", executable=True))
    sconify(source, tmp_path / "out", SconifyOptions(name="demo"))
    manifest = EnclaveImage.load(tmp_path / "out").manifest
    assert manifest.runtime[0].startswith("/.adyton/runtime/lib/ld-linux")
    assert all(path == "/bin/run" or path.startswith("/.adyton/runtime/") for path in manifest.trusted_files)


@pytest.mark.parametrize(
    ("entries", "options", "code"),
    [
        pytest.param([TarEntry(".adyton/runtime/agent.py")], {}, "enclave.build.sconified", id="an enclave already"),
        pytest.param([TarEntry(".adyton", "symlink", target="/")], {}, "enclave.build.sconified", id="a trap"),
        pytest.param([], {"binary": "/bin/none"}, "enclave.build.missing", id="missing binary"),
        pytest.param([], {"fs_dir": "/none"}, "enclave.build.missing", id="missing folder"),
        pytest.param([TarEntry("tmp")], {}, "enclave.build.mount", id="a file at a mount point"),
        pytest.param([TarEntry("tmp", "symlink", target="/x")], {}, "enclave.build.mount", id="a link at one"),
    ],
)
def test_images_that_cannot_be_enclaves(
    tmp_path: Path, entries: list[TarEntry], options: dict[str, str], code: str
) -> None:
    source = _layout(tmp_path / "source", TarEntry("bin/run", executable=True), *entries)
    with pytest.raises(BuildError) as caught:
        sconify(source, tmp_path / "out", replace(SconifyOptions(name="demo"), **options))  # type: ignore[arg-type]
    assert caught.value.code == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"host_environment": ("LD_PRELOAD",)}, id="loader variable"),
        pytest.param({"host_paths": ("/../{outside}",)}, id="host file outside"),
        pytest.param({"host_paths": ("/../{outside}/",)}, id="host folder outside"),
        pytest.param({"volumes": {"v": "/../{outside}"}}, id="volume outside"),
        pytest.param({"tmpfs": {"/../{outside}": 4096}}, id="tmpfs outside"),
        pytest.param({"host_paths": ("relative",)}, id="relative"),
        pytest.param({"host_paths": ("/bin",)}, id="host file in the place of a folder"),
    ],
)
def test_options_no_manifest_may_have_are_refused_before_anything_is_made(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that leads out of the image must not lead the build out of its folder."""
    source = _layout(tmp_path / "source", TarEntry("bin/run", executable=True))
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(drafts))
    wanted = json.loads(json.dumps(options).replace("{outside}", "../../outside"))
    with pytest.raises(ManifestError) as caught:
        sconify(source, tmp_path / "out", SconifyOptions(name="demo", **wanted))
    assert "change the option" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drafts", "source"]
    assert list(drafts.iterdir()) == []


def test_the_native_image_is_not_replaced(tmp_path: Path) -> None:
    source = _layout(tmp_path / "source", TarEntry("bin/run", executable=True))
    before = read_layout(source).digest
    with pytest.raises(BuildError) as caught:
        sconify(source, tmp_path / "." / "source" / ".." / "source", SconifyOptions(name="demo"))
    assert caught.value.code == "enclave.build.place"
    assert read_layout(source).digest == before


def test_a_cache_that_others_can_fill_is_refused(tmp_path: Path) -> None:
    """What lies there is measured and signed as the agent."""
    source = _layout(tmp_path / "source", TarEntry("bin/run", executable=True))
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(BuildError) as caught:
        sconify(source, tmp_path / "out", SconifyOptions(name="demo"), cache=cache)
    assert caught.value.code == "enclave.build.cache"
    assert list(cache.iterdir()) == []


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = command.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_prints_the_measurement(
    native: Path, signer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("--name=demo", f"--from={native}", f"--to=oci:{tmp_path}/out:1.0", *_CALL, "--no-color")
    code, out, err = _run(capsys, *call, f"--scone-signer={signer}")
    assert (code, err) == (0, "")
    image = EnclaveImage.load(tmp_path / "out", "1.0")
    assert f"mrenclave  {image.mrenclave.hex()}\n" in out
    assert "(production)" in out
    assert image.manifest.heap_bytes == 64 << 20


def test_without_a_signer_it_warns_of_the_debug_enclave(
    native: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCONE_HASH", "1")
    code, out, err = _run(capsys, "--name=demo", f"--from={native}", f"--to={tmp_path}/out", *_CALL)
    assert code == 0
    assert out == EnclaveImage.load(tmp_path / "out").mrenclave.hex() + "\n"
    assert "DEBUG ENCLAVE" in err
    assert EnclaveImage.load(tmp_path / "out").manifest.debug


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(("--heap=1X",), "sconify.size", id="size"),
        pytest.param(("--volume=x",), "sconify.pair", id="volume"),
        pytest.param(("--env=x",), "sconify.pair", id="variable"),
        pytest.param(("--from=oci:",), "sconify.image", id="image name"),
        pytest.param(("--from=/no/such/layout",), "content.oci.layout", id="no image"),
        pytest.param(("--scone-signer=/no/such/key",), "openssl genrsa -3 -out signer-key.pem 3072", id="no key"),
        pytest.param(("--isvsvn=70000",), "enclave.manifest.invalid", id="version"),
    ],
)
def test_wrong_options_are_named(
    native: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], text: str
) -> None:
    code, out, err = _run(capsys, "--name=demo", f"--from={native}", f"--to={tmp_path}/out", *options)
    assert (code, out) == (1, "")
    assert text in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/b", ("/a/b", "")), ("oci:/a/b", ("/a/b", "")), ("oci:/a/b:1.0", ("/a/b", "1.0")),
        ("oci:/a:b/c", ("/a:b/c", "")), ("image.tar", ("image.tar", "")),
    ],
)  # fmt: skip
def test_image_names(text: str, expected: tuple[str, str]) -> None:
    path, ref = command.parse_image_name(text)
    assert (str(path), ref) == expected


def test_help_is_quick_and_names_the_original_options() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "adyton.cli.sconify", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--name", "--from", "--to", "--binary-fs", "--fs-dir", "--host-path", "--scone-signer", "--dlopen"):
        assert option in done.stdout
