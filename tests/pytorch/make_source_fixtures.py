"""Writes tests/fixtures/sources: small image sets in published formats, and their images and labels as expected.safetensors.

The files are written by numpy, tarfile, pickle and gzip. The expected arrays are made without parsec: those of IDX files by the
steps of torchvision's read_sn3_pascalvincent_tensor, those of CIFAR by the steps of torchvision's CIFAR10.__init__.

Needs numpy and safetensors. Run: python tests/pytorch/make_source_fixtures.py
"""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

OUT = Path(__file__).parents[1] / "fixtures" / "sources"
expected = {}


def images(n, height, width, channels, salt):
    """Bytes [n][height][width][channels] that differ by every index and can be compressed."""
    i, y, x, c = np.indices((n, height, width, channels))
    return ((salt + 31 * i + 7 * y + 3 * x + 90 * c) // 4 % 64).astype(np.uint8)


def expect(name, pixels, labels):
    """pixels: [N][C][H][W]."""
    expected[f"{name}.images"] = np.ascontiguousarray(pixels)
    expected[f"{name}.labels"] = np.ascontiguousarray(labels).astype(np.int64)


# The arrays of MedMNIST: uint8, labels [N][1].

parts = {}
for salt, (part, n) in enumerate([("train", 12), ("val", 4), ("test", 5)]):
    parts[f"{part}_images"] = images(n, 5, 6, 3, 10 * salt)
    parts[f"{part}_labels"] = (np.arange(n, dtype=np.uint8) * 2 % 3)[:, None]
    expect(f"medmnist.{part}", parts[f"{part}_images"].transpose(0, 3, 1, 2), parts[f"{part}_labels"][:, 0])
np.savez_compressed(OUT / "medmnist.npz", **parts)

# The arrays of Keras's mnist.npz: no channels, labels [N]. Other types of labels, and not compressed.

x_train, x_test = images(9, 4, 6, 1, 1)[..., 0], images(3, 4, 6, 1, 2)[..., 0]
y_train, y_test = (np.arange(9) % 4).astype(">i2"), (np.arange(3) % 4).astype("<u8")
np.savez(OUT / "keras.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
expect("keras.train", x_train[:, None], y_train)
expect("keras.test", x_test[:, None], y_test)

# Versions 2 and 3 of the header.

for version in [(2, 0), (3, 0)]:
    path = OUT / f"header_{version[0]}.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in [("x_train", x_train), ("y_train", y_train), ("x_test", x_test), ("y_test", y_test)]:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                np.lib.format.write_array(entry, array, version=version)

# Arrays that are refused.

refused = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
np.savez_compressed(OUT / "objects.npz", **{**refused, "y_train": np.array([1, "a"], dtype=object)})
np.savez_compressed(OUT / "fortran.npz", **{**refused, "x_train": np.asfortranarray(x_train)})
np.savez_compressed(OUT / "floats.npz", **{**refused, "x_train": x_train / np.float32(255)})
np.savez_compressed(OUT / "multilabel.npz", **{**refused, "y_train": np.eye(9, 4, dtype=np.uint8)})
np.savez_compressed(OUT / "records.npz", **{**refused, "y_train": np.zeros(9, dtype=[("a", "<i4"), ("b", "<i4")])})


# torchvision's folders of EMNIST and QMNIST.

def idx(kind, array):
    return struct.pack(">BBBB", 0, 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def read_sn3_pascalvincent_tensor(data):
    """torchvision's function of that name, with numpy."""
    magic = int.from_bytes(data[0:4], "big")
    nd, ty = magic % 256, magic // 256
    kind = {8: np.uint8, 12: np.dtype(">i4")}[ty]
    shape = [int.from_bytes(data[4 * (i + 1):4 * (i + 2)], "big") for i in range(nd)]
    return np.frombuffer(data, dtype=kind, offset=4 * (nd + 1)).reshape(shape)


def write(path, content):
    path = OUT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return content


for part, n in [("train", 52), ("test", 26)]:
    pixels = images(n, 3, 5, 1, n)[..., 0]
    labels = (np.arange(n) * 5 % 26 + 1).astype(np.uint8)
    name = f"EMNIST/raw/emnist-letters-{part}"
    data = write(f"{name}-images-idx3-ubyte", idx(8, pixels))
    target = write(f"{name}-labels-idx1-ubyte", idx(8, labels))
    # torchvision has 27 classes, of which the first one, "N/A", has no image.
    classes = read_sn3_pascalvincent_tensor(target).astype(np.int64) - 1
    expect(f"letters.{part}", read_sn3_pascalvincent_tensor(data)[:, None], classes)

for part, n in [("train", 20), ("test", 10)]:
    pixels = images(n, 4, 4, 1, n + 1)[..., 0]
    rows = np.arange(n * 8).reshape(n, 8) * 70000
    rows[:, 0] = np.arange(n) * 3 % 10
    rows = rows.astype(">i4")
    name = f"QMNIST/raw/qmnist-{part}"
    data = write(f"{name}-images-idx3-ubyte.gz", idx(8, pixels))
    target = write(f"{name}-labels-idx2-int.gz", idx(12, rows))
    expect(f"qmnist.{part}", read_sn3_pascalvincent_tensor(data)[:, None], read_sn3_pascalvincent_tensor(target)[:, 0])


# The archives of CIFAR. The folder, links and files of other names must do no harm.

def tar(name, folder, members):
    with gzip.GzipFile(OUT / name, "wb", mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        head = tarfile.TarInfo(folder)
        head.type = tarfile.DIRTYPE
        archive.addfile(head)
        link = tarfile.TarInfo(f"{folder}/test")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for member, content in members:
            info = tarfile.TarInfo(f"{folder}/{member}")
            info.size = len(content)
            # A time with a fraction is written in a record of its own (PAX).
            info.mtime = 1234.5
            archive.addfile(info, io.BytesIO(content))


def cifar(n, salt):
    return images(n, 32, 32, 3, salt).transpose(0, 3, 1, 2).reshape(n, 3072)


members, pixels, labels = [("readme.html", b"<html>")], [], []
for batch in range(1, 6):
    data, target = cifar(2, batch), [(2 * batch + i) % 10 for i in range(2)]
    members.append((f"data_batch_{batch}.bin", b"".join(bytes([y]) + x.tobytes() for x, y in zip(data, target))))
    pixels.append(data)
    labels += target
data, target = cifar(3, 50), [9, 0, 4]
members.append(("test_batch.bin", b"".join(bytes([y]) + x.tobytes() for x, y in zip(data, target))))
members.append(("batches.meta.txt", "".join(f"class{i}\n" for i in range(10)).encode() + b"\n"))
# The order of the members does not matter.
tar("cifar-10-binary.tar.gz", "cifar-10-batches-bin", members[::-1])
expect("cifar10.train", np.vstack(pixels).reshape(-1, 3, 32, 32), labels)
expect("cifar10.test", data.reshape(-1, 3, 32, 32), target)

members = [("meta", pickle.dumps({b"fine_label_names": [f"fine{i}".encode() for i in range(100)],
                                  b"coarse_label_names": []}, 2))]
for member, n in [("train", 4), ("test", 2)]:
    data, target = cifar(n, 60 + n), [(37 * i + n) % 100 for i in range(n)]
    entry = {b"data": data, b"fine_labels": target, b"coarse_labels": [0] * n, b"filenames": [b"x.png"] * n,
             b"batch_label": b"testing"}
    members.append((member, pickle.dumps(entry, 2)))
    name = "cifar100." + member
    expect(name, np.vstack([data]).reshape(-1, 3, 32, 32), target)
tar("cifar-100-python.tar.gz", "cifar-100-python", members)

save_file(expected, OUT / "expected.safetensors")
