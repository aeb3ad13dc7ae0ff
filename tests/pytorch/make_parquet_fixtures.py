"""Writes tests/fixtures/parquet: sets of images as Hugging Face's library and other programs write them.

Needs datasets 5, pyarrow 26 and Pillow. Run: python tests/pytorch/make_parquet_fixtures.py
Image i is of one colour: red = 10 * class, green = i, blue = 9.
"""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pillow

OUT = Path(__file__).parents[1] / "fixtures" / "parquet"
NAMES = ["ant", "bee", "cat"]


def picture(i, label):
    return Pillow.new("RGB", (8, 8), (10 * label, i, 9))


def png(i, label):
    out = io.BytesIO()
    picture(i, label).save(out, "PNG")
    return out.getvalue()


def hugging_face(path, first, n, batch_size=None):
    rows = [(i, i % 3) for i in range(first, first + n)]
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES), "note": Value("string")})
    table = {
        "image": [picture(i, label) for i, label in rows],
        "label": [label for _, label in rows],
        "note": [f"row {i}" for i, _ in rows],
    }
    Dataset.from_dict(table, features=features).to_parquet(path, batch_size=batch_size)


def plain(path, n, labels, compression="snappy", image="image", label="label", **options):
    rows = list(range(n))
    table = pa.table({
        "id": rows,
        image: pa.array([png(i, i % 3) for i in rows], pa.binary()),
        label: labels,
    })
    pq.write_table(table, path, compression=compression, **options)


(OUT / "parts" / "data").mkdir(parents=True, exist_ok=True)
(OUT / "kinds").mkdir(exist_ok=True)
# The rows of a row group are 5, so that images lie in several of them.
hugging_face(OUT / "parts" / "data" / "train-00000-of-00002.parquet", 0, 12, 5)
hugging_face(OUT / "parts" / "data" / "train-00001-of-00002.parquet", 12, 6)
hugging_face(OUT / "parts" / "data" / "validation-00000-of-00001.parquet", 100, 6)
hugging_face(OUT / "parts" / "data" / "test-00000-of-00001.parquet", 200, 9)
(OUT / "parts" / "README.md").write_text("A card.\n")

numbers = [i % 3 for i in range(15)]
plain(OUT / "kinds" / "numbers.parquet", 15, numbers, row_group_size=4, data_page_size=64, use_dictionary=False)
plain(OUT / "kinds" / "gzip.parquet", 15, numbers, "gzip", data_page_version="2.0")
plain(OUT / "kinds" / "lz4.parquet", 15, numbers, "lz4", image="img", label="fine_label")
plain(OUT / "kinds" / "none.parquet", 15, pa.array(numbers, pa.int32()), "none")
plain(OUT / "kinds" / "zstd.parquet", 15, numbers, "zstd")
plain(OUT / "kinds" / "names.parquet", 15, [["x", "z", "y"][i % 3] for i in range(15)])
plain(OUT / "kinds" / "nulls.parquet", 15, [None if i == 4 else i % 3 for i in range(15)])
plain(OUT / "kinds" / "unnamed.parquet", 15, numbers, label="what")
plain(OUT / "kinds" / "one.parquet", 15, [1] * 15)
rows = {"image": pa.array([None if i == 7 else png(i, i % 3) for i in range(15)], pa.binary()), "label": numbers}
pq.write_table(pa.table(rows), OUT / "kinds" / "hole.parquet")
