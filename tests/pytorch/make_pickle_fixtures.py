"""Writes tests/fixtures/pickle: pickles and files of torch.save, whose contents the tests know.

Needs numpy 2 and torch 2. Run: python tests/pytorch/make_pickle_fixtures.py
"""

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

OUT = Path(__file__).parents[1] / "fixtures" / "pickle"


def write(name, content):
    (OUT / name).write_bytes(content)


# Plain values.

def plain():
    shared = [1, 2]
    return OrderedDict([
        ("none", None), ("yes", True), ("no", False), ("small", 7), ("zero", 0), ("negative", -70000),
        ("long", -(2**40)), ("seed", 2**64 - 1), ("float", -0.1), ("inf", float("inf")), ("bytes", b"\x00\xffab\\\n'"),
        ("text", "Gr\u00fc\u00dfe\n\\u0041 \U0001f600"), ("list", [1, [2, []]]),
        ("tuples", ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))), ("dict", {"a": {}, 1: 2.5}),
        ("shared", [shared, shared, {"again": shared}]), ("many", list(range(1500))),
    ])


for p in range(6):
    write(f"plain_p{p}.pkl", pickle.dumps(plain(), p))


# Arrays, under both spellings of numpy's module.

def arrays(contiguous):
    def a(x):
        # Protocol 5 writes contiguous arrays by another function than the rest, numpy._core.numeric._frombuffer.
        return x if contiguous else np.repeat(x, 2, axis=-1)[..., ::2]

    matrix = np.arange(6).reshape(2, 3)
    d = {
        "f4": a((matrix * 0.5 - 1).astype("<f4")), "f8": a((matrix * 0.5 - 1).astype("<f8")),
        "f2": a((matrix * 0.5 - 1).astype("<f2")),
        "u1": a(matrix.astype("u1")), "i8": a(-matrix.astype("<i8")), "i4": a(-matrix.astype("<i4")),
        "u2": a((matrix + 65000).astype("<u2")), "b1": a(matrix % 2 == 1), "big": a(-matrix.astype(">i2")),
        "cube": np.arange(24, dtype="i1").reshape(2, 3, 4),
        "fortran": np.asfortranarray(np.arange(24, dtype=">i2").reshape(2, 3, 4)),
        "float32": np.float32(1.5), "float64": np.float64(-0.1), "float16": np.float16(2**-24),
        "int64": np.int64(-3), "uint8": np.uint8(255), "bool": np.bool_(True), "uint64": np.uint64(2**64 - 1),
        "big_scalar": np.array(-2, dtype=">i4")[()],
    }
    if not contiguous:
        d["cube"] = a(d["cube"])
        del d["fortran"]
    return d


def old_spelling(raw, p):
    if p < 4:
        return raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    old, new = b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    n = raw.count(old)
    assert raw[2] == 0x95 and n > 0
    (frame,) = struct.unpack("<Q", raw[3:11])
    assert frame == len(raw) - 11
    return raw[:3] + struct.pack("<Q", frame - n) + raw[11:].replace(old, new)


for p in range(6):
    raw = pickle.dumps(arrays(contiguous=p < 5), p)
    write(f"arrays_new_p{p}.pkl", raw)
    write(f"arrays_old_p{p}.pkl", old_spelling(raw, p))
    assert all(np.array_equal(v, arrays(p < 5)[k]) for k, v in pickle.loads(raw).items())
write("empty_array_p4.pkl", pickle.dumps(np.zeros((0, 3), "f4"), 4))
write("frombuffer_p5.pkl", pickle.dumps(np.zeros(3), 5))
write("strings.pkl", pickle.dumps(np.array(["a", "b"]), 4))
write("objects.pkl", pickle.dumps(np.array([1, "b"], dtype=object), 4))
write("records.pkl", pickle.dumps(np.zeros(2, dtype=[("a", "f4")]), 4))


# CIFAR as Python 2 wrote it: `str` of bytes, protocol 2, and numpy's old spelling.

class Python2(pickle._Pickler):
    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        raw = text if isinstance(text, bytes) else text.encode()
        short = len(raw) < 256
        self.write((b"U" + bytes([len(raw)]) if short else b"T" + struct.pack("<i", len(raw))) + raw)
        self.memoize(text)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


def python2(value, p=2):
    out = io.BytesIO()
    Python2(out, p).dump(value)
    raw = out.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    # Python 2's numpy wrote integers where numpy 2 writes truth values.
    return raw.replace(b"\x89\x88\x87", b"K\x00K\x01\x87", 1)


pixels = (np.arange(2 * 3072) % 251).astype("u1").reshape(2, 3072)
cifar10 = {"batch_label": "training batch 1 of 5", "labels": [6, 9], "data": pixels, "filenames": ["leptodactylus.png", "camion.png"]}
write("cifar10_batch", python2(cifar10))
assert (pickle.loads((OUT / "cifar10_batch").read_bytes(), encoding="bytes")[b"data"] == pixels).all()
cifar100 = {"filenames": ["bos.png", "fox.png"], "batch_label": "training batch 1 of 1", "fine_labels": [19, 99],
            "coarse_labels": [11, 0], "data": pixels[:, ::-1]}
write("cifar100_train", python2(cifar100))
write("cifar10_meta", python2({"num_cases_per_batch": 10000, "label_names": ["airplane", "automobile"], "num_vis": 3072}))
write("python2_p0.pkl", b"(dp0\nS'data'\np1\nS'\\x00\\xff\\'\\n'\np2\nsS'u'\nVGr\xfc\\u20ac\np3\nsS'n'\nL123456789012345L\ns.")
write("ordered_python2.pkl", b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01(]q\x02(U\x01aK\x01e]q\x03(U\x01bK\x02ee\x85q\x04Rq\x05.")


# Pickles that would run code.

class Attack:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


for p in range(6):
    write(f"attack_system_p{p}.pkl", pickle.dumps(Attack(os.system, "touch /tmp/pwned"), p))
write("attack_eval_in_list.pkl", pickle.dumps([1, [2, {"a": Attack(eval, "1")}]], 2))
twice = Attack(exec, "1")
write("attack_memo.pkl", pickle.dumps([twice, twice], 4))
write("attack_bare_name.pkl", pickle.dumps({"f": os.system}, 2))


# Files of torch.save.

def mixed():
    m = torch.arange(6).reshape(2, 3)
    f = m * 0.25 - 0.5
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    d = OrderedDict([
        ("f32", f.float()), ("f16", f.half()), ("bf16", f.bfloat16()), ("f64", f.double() / 3), ("i64", -m.long()),
        ("i32", -m.int()), ("i16", -m.short()), ("i8", -m.to(torch.int8)), ("u8", m.byte()), ("bool", m % 2 == 1),
        ("transposed", base.t()), ("part", base[1:3, 1:6:2]), ("scalar", torch.tensor(7)), ("empty", torch.zeros(0, 3)),
    ])
    d._metadata = OrderedDict([("", {"version": 1})])
    return d


def net():
    torch.manual_seed(0)
    m = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    for i, p in enumerate(m.parameters()):
        p.data = torch.arange(p.numel(), dtype=torch.float32).reshape(p.shape) + 100 * i
    return m


def checkpoint():
    m = net()
    o = torch.optim.Adam(m.parameters())
    m(torch.ones(1, 1, 5, 5)).sum().backward()
    o.step()
    return {"epoch": 3, "best": torch.tensor(0.5), "state_dict": net().state_dict(), "optimizer": o.state_dict()}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))


def saved(value, **how):
    out = io.BytesIO()
    torch.save(value, out, **how)
    return out.getvalue()


LEGACY = {"_use_new_zipfile_serialization": False}
for name, value in [("mixed", mixed()), ("net", net().state_dict()), ("checkpoint", checkpoint()), ("module", Net())]:
    write(f"{name}_zip.pt", saved(value))
    write(f"{name}_legacy.pt", saved(value, **LEGACY))
for p in (3, 4, 5):
    write(f"net_zip_p{p}.pt", saved(net().state_dict(), pickle_protocol=p))
    write(f"net_legacy_p{p}.pt", saved(net().state_dict(), pickle_protocol=p, **LEGACY))
with zipfile.ZipFile(io.BytesIO(saved(net().state_dict()))) as archive:
    # Only the pickle, for archives that the tests write.
    write("net.data", archive.read("archive/data.pkl"))
parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
write("parameters.pt", saved({"a": parameter, "tied": parameter, "size": torch.Size([2, 3]), "n": 1}))
for key in ("model", "model_state_dict", "net"):
    write(f"under_{key}.pt", saved({key: {"w": torch.tensor([1.0])}, "epoch": 1, "w": torch.tensor([2.0])}))
write("no_tensors.pt", saved({"epoch": 1, "lr": [0.1]}))
write("single.pt", saved(torch.ones(2)))
write("complex.pt", saved({"a": torch.ones(2, dtype=torch.complex64)}))
write("uint16.pt", saved({"a": torch.ones(2, dtype=torch.uint16)}))
write("expanded.pt", saved({"a": torch.ones(1).expand(1000)}))
write("attack.pt", saved({"a": torch.ones(2), "b": Attack(os.system, "touch /tmp/pwned")}))


def rezipped(raw, change=lambda name, content: content, method=zipfile.ZIP_STORED, zip64=False):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with new.open(info, "w", force_zip64=zip64) as entry:
                entry.write(change(name, old.read(name)))
    return out.getvalue()


mixed_zip = saved(mixed())
write("mixed_deflated.pt", rezipped(mixed_zip, method=zipfile.ZIP_DEFLATED))


def zip64(raw):
    """Moves all lengths and offsets of the directory to ZIP64 fields and adds the ZIP64 end record."""
    raw = rezipped(raw, zip64=True)
    end = len(raw) - 22
    n, size, start = struct.unpack("<HII", raw[end + 10:end + 20])
    at, directory = start, b""
    for _ in range(n):
        fields = list(struct.unpack("<4s6H3L5H2L", raw[at:at + 46]))
        name_len, extra_len = fields[10], fields[11]
        name = raw[at + 46:at + 46 + name_len]
        packed, unpacked, header = fields[8], fields[9], fields[16]
        extra = struct.pack("<HHQQQ", 1, 24, unpacked, packed, header)
        fields[8] = fields[9] = fields[16] = 0xFFFFFFFF
        fields[11] = len(extra) + 5
        directory += struct.pack("<4s6H3L5H2L", *fields) + name + struct.pack("<HHB", 0x9999, 1, 0) + extra
        at += 46 + name_len + extra_len
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, n, n, len(directory), start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start + len(directory), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 7) + b"comment"
    return raw[:start] + directory + end64 + locator + last


write("mixed_zip64.pt", zip64(mixed_zip))
assert zipfile.ZipFile(OUT / "mixed_zip64.pt").testzip() is None


def big_endian(name, content):
    if name.endswith("/byteorder"):
        return b"big"
    if "/data/" in name:
        # The storages of `mixed`, in the order of its tensors; views share theirs.
        item = [4, 2, 2, 8, 8, 4, 2, 1, 1, 1, 4, 8, 4][int(name.rsplit("/", 1)[1])]
        return b"".join(content[i:i + item][::-1] for i in range(0, len(content), item))
    return content


write("mixed_big_endian.pt", rezipped(mixed_zip, big_endian))

total = sum(f.stat().st_size for f in OUT.iterdir())
print(len(list(OUT.iterdir())), "files,", total, "bytes", file=sys.stderr)
assert total < 200_000
