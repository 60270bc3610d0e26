"""Signing an image that exists: only the SIGSTRUCT changes, and never what is measured without being told to."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.enclave.handmade import DAY, FILES, layout, manifest, signature, signer, trusted
from tests.platform.world import World

from adyton.attestation.formats.sgx import Flag
from adyton.content.errors import ContentError
from adyton.content.oci import (
    Image,
    ImageConfig,
    TarEntry,
    add_layers,
    build_image,
    deterministic_tar,
    read_image_file,
    read_layout,
    unpack,
    write_archive,
    write_image,
)
from adyton.enclave.description import check
from adyton.enclave.errors import BuildError, ManifestError, SignerKeyError, TrustedFileError
from adyton.enclave.image import EnclaveImage, read_files
from adyton.enclave.manifest import MANIFEST_PATH, SIGSTRUCT_PATH, Manifest
from adyton.enclave.measure import measure
from adyton.enclave.resign import SignedImage, SignOptions, sign_image, store_in_place
from adyton.enclave.sigstruct import SigStruct, mrsigner, sign
from adyton.platform.protocol import SgxError
from adyton.platform.simulated.einit import EnclaveIdentity
from adyton.platform.simulated.store import measure_image


def _sign(folder: Path, number: int = 1, **options: Any) -> SignedImage:  # noqa: ANN401  # of SignOptions
    return sign_image(read_layout(folder), signer(number), SignOptions(**({"signed_on": DAY} | options)))


def _names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs/sha256").iterdir()}


def test_another_key_changes_signer_and_digest_and_not_the_measurement(tmp_path: Path) -> None:
    signed = _sign(layout(tmp_path / "image"))
    assert signed.enclave.mrenclave == signed.before.mrenclave
    assert signed.enclave.manifest == signed.before.manifest
    assert signed.enclave.sigstruct.mrsigner == mrsigner(signer(1)) != signed.before.sigstruct.mrsigner
    assert signed.enclave.digest == signed.image.digest != signed.before.digest
    write_image(signed.image, tmp_path / "out")
    again = read_layout(tmp_path / "out")
    assert EnclaveImage.of(again) == signed.enclave
    assert check(signed.enclave, read_files(again)).problems == ()


def test_the_outcome_is_what_building_with_that_key_gives(tmp_path: Path) -> None:
    built = read_layout(layout(tmp_path / "built", key=signer(1)))
    signed = _sign(layout(tmp_path / "image", key=signer(0)))
    assert (signed.image.digest, signed.image.manifest) == (built.digest, built.manifest)


def test_an_image_of_many_files_is_signed_like_a_small_one(tmp_path: Path) -> None:
    """Its manifest is longer than the 1 MiB that a layer gives at once."""
    files = {**FILES, **{f"/data/{'d' * 60}/{number:05}": b"" for number in range(8000)}}
    of = manifest(trusted_files=trusted(files))
    assert len(of.to_json()) > 1 << 20
    signed = _sign(layout(tmp_path / "image", of, files=files))
    assert signed.image.digest == read_layout(layout(tmp_path / "built", of, files=files, key=signer(1))).digest


def test_a_document_that_is_there_twice_makes_another_layer(tmp_path: Path) -> None:
    of = manifest()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, content in ((MANIFEST_PATH, of.to_json()),) * 2 + ((SIGSTRUCT_PATH, signature(of).to_bytes()),):
            info = tarfile.TarInfo(path[1:])
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    system = read_layout(layout(tmp_path / "image", of)).layers[0]
    image = build_image([system, stream.getvalue()], ImageConfig())
    signed = sign_image(image, signer(1), SignOptions(signed_on=DAY))
    assert len(signed.image.layers) == 3
    assert EnclaveImage.of(signed.image).sigstruct.mrsigner == mrsigner(signer(1))


def test_signing_twice_is_signing_once(tmp_path: Path) -> None:
    first = _sign(layout(tmp_path / "image"))
    write_image(first.image, tmp_path / "first")
    assert _sign(tmp_path / "first").image.digest == first.image.digest


def test_the_day_is_in_the_signature_only(tmp_path: Path) -> None:
    signed = _sign(layout(tmp_path / "image"), 0, signed_on=date(2027, 1, 2))
    assert signed.enclave.sigstruct.signed_on == date(2027, 1, 2)
    assert signed.enclave.mrenclave == signed.before.mrenclave


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        pytest.param({"debug": True}, {"debug": False}, "debug is True, not False", id="production of debug"),
        pytest.param({"debug": False}, {"debug": True}, "debug is False, not True", id="debug of production"),
        pytest.param({}, {"isvsvn": 3}, "isvsvn is 0, not 3", id="version"),
        pytest.param({"isvprodid": 2}, {"isvprodid": 1}, "isvprodid is 2, not 1", id="product"),
    ],
)
def test_what_is_measured_changes_only_when_told_to(
    tmp_path: Path, image: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    folder = layout(tmp_path / "image", manifest(**image))
    with pytest.raises(BuildError) as caught:
        _sign(folder, **options)
    assert caught.value.code == "enclave.sign.measured"
    assert said in caught.value.message
    signed = _sign(folder, **options, remeasure=True)
    assert signed.before.mrenclave.hex() in caught.value.hint
    assert signed.enclave.mrenclave.hex() in caught.value.hint
    assert signed.enclave.mrenclave != signed.before.mrenclave
    whole = read_layout(layout(tmp_path / "built", manifest(**(image | options)), key=signer(1)))
    assert signed.image.digest == whole.digest
    assert check(signed.enclave, read_files(signed.image)).problems == ()


@pytest.mark.parametrize("debug", [True, False])
def test_asking_for_what_it_is_changes_nothing(tmp_path: Path, debug: bool) -> None:
    folder = layout(tmp_path / "image", manifest(debug=debug, isvsvn=5))
    signed = _sign(folder, debug=debug, isvsvn=5, isvprodid=0, remeasure=True)
    assert signed.enclave.mrenclave == signed.before.mrenclave
    assert signed.enclave.sigstruct.debug is debug
    assert signed.enclave.sigstruct.isvsvn == 5


def test_a_broken_signature_is_mended(tmp_path: Path) -> None:
    other = signature(manifest(name="other"))
    signed = _sign(layout(tmp_path / "image", sigstruct=other))
    signed.enclave.sigstruct.verify()
    assert signed.enclave.sigstruct.enclavehash == signed.enclave.mrenclave


def test_an_image_with_other_files_is_not_signed(tmp_path: Path) -> None:
    folder = layout(tmp_path / "image", files={**FILES, "/app/app.py": b"print('evil')\n"})
    with pytest.raises(TrustedFileError, match=r"/app/app\.py"):
        _sign(folder)


def test_a_squashed_image_gets_one_more_layer_and_keeps_its_files(tmp_path: Path) -> None:
    folder = layout(tmp_path / "image", squashed=True)
    signed = _sign(folder)
    assert len(signed.image.layers) == len(read_layout(folder).layers) + 1
    assert read_image_file(signed.image, "/app/app.py") == FILES["/app/app.py"]
    assert check(EnclaveImage.of(signed.image), read_files(signed.image)).problems == ()
    write_image(signed.image, tmp_path / "signed")
    assert len(_sign(tmp_path / "signed", 0).image.layers) == len(signed.image.layers)


def test_a_whiteout_on_top_is_kept(tmp_path: Path) -> None:
    image = read_layout(layout(tmp_path / "image", files={**FILES, "/unlisted": b"x"}))
    write_image(add_layers(image, [deterministic_tar([TarEntry(".wh.unlisted")])]), tmp_path / "hidden")
    signed = _sign(tmp_path / "hidden")
    assert check(EnclaveImage.of(signed.image), read_files(signed.image)).problems == ()


def test_in_place_it_keeps_its_name_and_leaves_nothing_old(tmp_path: Path) -> None:
    folder = layout(tmp_path / "image", ref="1.0")
    old, before = read_layout(folder), _names(folder)
    signed = _sign(folder)
    store_in_place(folder, old, signed.image)
    assert read_layout(folder, "1.0").digest == signed.image.digest
    assert len(_names(folder)) == len(before)
    assert len(_names(folder) & before) == 1  # the layer with the files
    for layer in read_layout(folder).layers:
        assert b"".join(layer.blob.chunks())


def test_an_archive_and_a_layout_of_several_images_are_not_changed_in_place(tmp_path: Path) -> None:
    folder = layout(tmp_path / "image")
    write_archive(folder, tmp_path / "image.tar")
    signed = sign_image(read_layout(tmp_path / "image.tar"), signer(1), SignOptions(signed_on=DAY))
    with pytest.raises(BuildError) as archive:
        store_in_place(tmp_path / "image.tar", read_layout(folder), signed.image)
    layout(folder, manifest(name="second"))  # now the index names another image than the one that was read
    with pytest.raises(BuildError) as several:
        store_in_place(folder, signed.image, signed.image)
    assert archive.value.code == several.value.code == "enclave.sign.place"
    assert "--out" in archive.value.hint


def test_a_native_image_a_bad_key_and_bad_numbers_are_refused(tmp_path: Path) -> None:
    write_image(read_layout(layout(tmp_path / "image")), tmp_path / "copy")
    native = add_layers(read_layout(tmp_path / "copy"), [deterministic_tar([TarEntry(".wh..adyton")])])
    with pytest.raises(ManifestError) as caught:
        sign_image(native, signer(), SignOptions(signed_on=DAY))
    assert caught.value.code == "enclave.manifest.missing"
    with pytest.raises(ManifestError, match="65536"):
        _sign(tmp_path / "image", isvsvn=65536, remeasure=True)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    signed = _sign(layout(tmp_path / "image"))
    (tmp_path / "file").touch()
    with pytest.raises(ContentError, match="cannot write"):
        write_image(signed.image, tmp_path / "file" / "out")


def test_a_key_that_no_cpu_takes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415  # for this case only

    folder = layout(tmp_path / "image")
    before = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")}  # noqa: PTH116
    with pytest.raises(SignerKeyError):
        sign_image(read_layout(folder), rsa.generate_private_key(65537, 3072), SignOptions(signed_on=DAY))
    assert {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")} == before  # noqa: PTH116


def test_the_manifest_of_the_options_is_the_image_s_own_by_default() -> None:
    own: Manifest = manifest(debug=True, isvprodid=4, isvsvn=9)
    assert SignOptions(signed_on=DAY).manifest(own) == own


def _start(image: Image, folder: Path) -> EnclaveIdentity:
    """What the platform does: unpack, measure every file, then EINIT with the attributes of the measured manifest."""
    unpack(image, folder)
    loaded = measure_image(folder, image.digest)
    return World().cpu.einit(loaded.mrenclave, loaded.sigstruct, loaded.attributes)


@pytest.mark.parametrize("debug", [False, True])
def test_a_platform_starts_what_was_signed_under_the_new_signer(tmp_path: Path, debug: bool) -> None:
    signed = _sign(layout(tmp_path / "image", manifest(debug=debug, isvsvn=3)))
    identity = _start(signed.image, tmp_path / "rootfs")
    assert identity.mrenclave == signed.before.mrenclave
    assert (identity.mrsigner, identity.isvsvn) == (mrsigner(signer(1)), 3)
    assert identity.attributes.has(Flag.DEBUG) is debug


@pytest.mark.parametrize(
    ("sigstruct", "code"),
    [
        pytest.param(signature(manifest(debug=True)), 4, id="signature of the debug build"),
        pytest.param(signature(manifest(name="other")), 4, id="signature of another enclave"),
        pytest.param(
            sign(measure(manifest()), signer(), debug=True, isvprodid=0, isvsvn=0, signed_on=DAY), 2,
            id="debug signature over a production measurement",
        ),
        pytest.param(replace(signature(manifest()), q1=bytes(384)), 8, id="wrong Q1"),
        pytest.param(replace(signature(manifest()), reserved1=b"\1" * 84), 1, id="reserved bytes"),
    ],
)  # fmt: skip
def test_what_a_platform_refuses_inspection_names(tmp_path: Path, sigstruct: SigStruct, code: int) -> None:
    image = read_layout(layout(tmp_path / "image", sigstruct=sigstruct))
    with pytest.raises(SgxError) as caught:
        _start(image, tmp_path / "rootfs")
    assert caught.value.sgx_code == code
    assert check(EnclaveImage.of(image), read_files(image)).problems
