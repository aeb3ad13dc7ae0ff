#!/usr/bin/env python3
"""Fashion-MNIST (IDX, gzipped) -> the balanced subset that the program embeds.

    python3 assets/make_embedded.py [SOURCE [TARGET]]

SOURCE is a folder with the four files of Fashion-MNIST; its default is where Debian's package
`dataset-fashion-mnist` puts them. TARGET defaults to `fashion-mnist-subset` beside this script.

Of each of the ten classes the first 500 images of the training file and the first 100 of the test
file are taken, so nothing is chosen by content and the held-out images stay held out. They are then put
in the order of the SHA-256 of their position in the original file: in file order the last images
would belong to the few classes that reach their number late, and batches taken in file order (as
evaluation does) should hold a mixture of all.
The output is IDX again, gzipped without name or time: the same zlib gives the same bytes.
Only Python's standard library is needed.
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

CLASSES = 10
SIDE = 28
MAX_BYTES = 3_000_000  # of all four files together


def read_idx(path, magic):
    """The dimensions after the magic number, and the bytes after those."""
    data = gzip.decompress(path.read_bytes())
    found = struct.unpack_from(">I", data)[0]
    if found != magic:
        sys.exit(f"{path}: expected magic number {magic:#010x}, found {found:#010x}")
    n_dims = magic & 0xFF
    dims = struct.unpack_from(f">{n_dims}I", data, 4)
    return dims, data[4 + 4 * n_dims :]


def write_idx(path, magic, dims, data):
    raw = struct.pack(f">I{len(dims)}I", magic, *dims) + data
    with path.open("wb") as out, gzip.GzipFile("", "wb", 9, out, mtime=0) as packed:
        packed.write(raw)
    return path.stat().st_size


def subset(source, target, part, per_class):
    (n, height, width), pixels = read_idx(source / f"{part}-images-idx3-ubyte.gz", 0x803)
    (n_labels,), labels = read_idx(source / f"{part}-labels-idx1-ubyte.gz", 0x801)
    if n != n_labels or (height, width) != (SIDE, SIDE):
        sys.exit(f"{source}: {n} images of {height}x{width} and {n_labels} labels: not Fashion-MNIST")
    taken = [0] * CLASSES
    kept = []
    for i, label in enumerate(labels):
        if taken[label] < per_class:
            taken[label] += 1
            kept.append(i)
    if taken != [per_class] * CLASSES:
        sys.exit(f"{source}: too few images of a class in the {part} part: {taken}")
    kept.sort(key=lambda i: hashlib.sha256(str(i).encode()).digest())
    area = SIDE * SIDE
    images = b"".join(pixels[i * area : (i + 1) * area] for i in kept)
    return write_idx(target / f"{part}-images-idx3-ubyte.gz", 0x803, (len(kept), SIDE, SIDE), images) + write_idx(
        target / f"{part}-labels-idx1-ubyte.gz", 0x801, (len(kept),), bytes(labels[i] for i in kept)
    )


def main():
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist")
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "fashion-mnist-subset"
    target.mkdir(parents=True, exist_ok=True)
    size = subset(source, target, "train", 500) + subset(source, target, "t10k", 100)
    print(f"{target}: {size} bytes")
    if size > MAX_BYTES:
        sys.exit(f"more than {MAX_BYTES} bytes: take fewer images")


if __name__ == "__main__":
    main()
