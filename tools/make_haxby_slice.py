"""Make the packaged Haxby slice from the source archive of pymvpa2 2.6.5.

Usage: ``python tools/make_haxby_slice.py pymvpa2-2.6.5.tar.gz [OUT.npz]``

The archive comes with ``pip download --no-deps --no-binary :all: pymvpa2==2.6.5``; pip prepares its metadata
only where Debian's swig, numpy < 2 and setuptools < 60 are installed (and with ``--no-build-isolation``).
Nothing of it is installed, unpacked or executed here: three members are read, checked and written as plain
arrays. The same archive gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np

ARCHIVE_SHA256 = "f98b18e15d012aaa68c0ef6ccf420662df05657673843ab368e7f0adfdda0758"
MEMBER_FOLDER = "pymvpa2-2.6.5/mvpa2/data/"
MEMBER_SHA256 = {
    "bold.nii.gz": "cbbd4d07803caaa9f77381af24e790cf77058664a128bd514a4c1668eefb92d7",
    "mask.nii.gz": "8d879d35aaeee3afddfb69a7e1b8dd2b3be446671452d7e841dc6588845f2877",
    "attributes_literal.txt": "7769f235e93d3157ef7bd1102abfaf3bc058ad9ca28e89dc60b8e47f473207c3",
}
DEFAULT_OUT = Path(__file__).parents[1] / "analyses/datasets/haxby_slice_data/haxby_slice.npz"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's own earliest date: the time of making must not change the bytes


def check_sha256(name: str, content: bytes, expected: str) -> None:
    """Stop unless `content` is what was checked when this script was written."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise SystemExit(f"{name} has sha256 {found}, expected {expected}: this is not the file from 2.6.5.")


def read_members(archive: Path) -> dict[str, bytes]:
    """Read the three members into memory; no path of the archive is ever written to."""
    check_sha256(str(archive), archive.read_bytes(), ARCHIVE_SHA256)
    members = {}
    with tarfile.open(archive, "r:gz") as tar:
        for name, sha256 in MEMBER_SHA256.items():
            stream = tar.extractfile(MEMBER_FOLDER + name)
            if stream is None:
                raise SystemExit(f"{MEMBER_FOLDER + name} in {archive} is not a regular file.")
            members[name] = stream.read()
            check_sha256(name, members[name], sha256)
    return members


def read_nifti(content: bytes) -> nib.Nifti1Image:
    """Read a gzipped NIfTI from memory."""
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def make_arrays(bold: bytes, mask: bytes, attributes: bytes) -> dict[str, np.ndarray]:
    """Keep the voxels of the mask, as voxels x volumes, in the order of the mask's indices."""
    image = read_nifti(bold)
    voxel_indices = np.argwhere(np.asarray(read_nifti(mask).dataobj) > 0)
    volumes = np.asarray(image.dataobj)
    if volumes.dtype != np.int16:
        raise SystemExit(f"bold.nii.gz holds {volumes.dtype}, expected unscaled int16.")
    rows = [line.split() for line in attributes.decode("ascii").splitlines() if line.strip()]
    if len(rows) != volumes.shape[3]:
        raise SystemExit(f"{len(rows)} labels for {volumes.shape[3]} volumes.")
    return {
        "bold": np.ascontiguousarray(volumes[tuple(voxel_indices.T)]),
        "labels": np.array([label for label, _ in rows], dtype=np.str_),
        "runs": np.array([int(run) for _, run in rows], dtype=np.int16),
        "voxel_indices": voxel_indices.astype(np.int16),
        "affine": image.affine.astype(np.float64),
        "volume_shape": np.array(volumes.shape[:3], dtype=np.int16),
        "tr_s": np.array(float(image.header.get_zooms()[3])),
    }


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz whose bytes depend on the arrays alone."""
    temporary = path.with_suffix(".partial")
    with zipfile.ZipFile(temporary, "w") as target:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            target.writestr(entry, buffer.getvalue(), compresslevel=9)
    os.replace(temporary, path)


def main() -> None:
    """Read the command line and make the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path, help="pymvpa2-2.6.5.tar.gz")
    parser.add_argument("out", type=Path, nargs="?", default=DEFAULT_OUT)
    arguments = parser.parse_args()
    members = read_members(arguments.archive)
    arrays = make_arrays(*(members[name] for name in MEMBER_SHA256))
    write_npz(arguments.out, arrays)
    content = arguments.out.read_bytes()
    print(f"{arguments.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    for name, array in arrays.items():
        print(f"  {name}: {array.dtype} {array.shape}")


if __name__ == "__main__":
    main()
