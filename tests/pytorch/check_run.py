"""The exports of a training run against parsec itself, logit by logit, on the held-out images it was trained for.

    python tests/pytorch/check_run.py target/release/parsec runs/trained [--images 10000]

The run's data must be `idx:DIR`. Its best checkpoint is exported in every form; `parsec replay --network final --mode eval`
gives parsec's logits of the normalised images on the adapter, onnxruntime and the generated Python file (PyTorch, f32) theirs.
Errors are the largest difference of a logit divided by the largest logit. Exit status 1 when a bound is broken.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from check_export import BOUND, RUN_PYTHON, distance, export, run_onnx

PART = 500


def held_out(folder):
    """(images U8 [N, 1, H, W], labels [N]) of the MNIST family's files."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        header = np.frombuffer(file.read(16), ">u4")
        images = np.frombuffer(file.read(), np.uint8).reshape(header[1], 1, header[2], header[3])
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read()[8:], np.uint8).astype(np.int64)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    args = parser.parse_args()
    binary = str(Path(args.binary).resolve())
    config = tomllib.loads((args.run / "config.toml").read_text())
    manifest = json.loads((args.run / "manifest.json").read_text())
    kind, _, folder = config["data"].partition(":")
    if kind != "idx":
        sys.exit(f"{args.run}: expected a run on idx:DIR, found {config['data']}")
    pixels, labels = (part[: args.images] for part in held_out(Path(folder)))
    mean, std = (manifest["normalisation"][key][0] for key in ("mean", "std"))
    images = torch.from_numpy(((pixels / 255.0 - mean) / std).astype(np.float32))
    worst = {"onnx": 0.0, "python": 0.0}
    right = {"parsec": 0, "onnx": 0, "python": 0}
    with tempfile.TemporaryDirectory() as scratch:
        at = lambda name: str(Path(scratch) / name)
        export(binary, args.run, "--safetensors", at("w"), "--onnx", at("n.onnx"), "--python", at("n.py"))
        for first in range(0, len(images), PART):
            part, truth = images[first : first + PART].contiguous(), labels[first : first + PART]
            save_file({"images": part, "labels": torch.from_numpy(truth.copy())}, at("batch"))
            subprocess.run([binary, "replay", "--genotype", config["genotype"], "--weights", at("w"), "--batch", at("batch"),
                            "--out", at("out"), "--layers", str(config["layers"]), "--channels", str(config["channels"]),
                            "--network", "final", "--mode", "eval", "--stem", config["stem"], "-q"],
                           check=True, stdout=subprocess.DEVNULL)
            subprocess.run([sys.executable, "-c", RUN_PYTHON, at("n.py"), at("w"), at("batch"), at("logits")], check=True)
            logits = {"parsec": load_file(at("out"))["logits"].numpy(), "onnx": run_onnx(at("n.onnx"), part)[1],
                      "python": load_file(at("logits"))["logits"].numpy()}
            for form in worst:
                worst[form] = max(worst[form], distance(logits[form], logits["parsec"]))
            for form, found in logits.items():
                right[form] += int((found.argmax(axis=1) == truth).sum())
    print(f"{len(images)} images; right:", ", ".join(f"{form} {n}" for form, n in right.items()))
    print("worst logit against parsec's:", ", ".join(f"{form} {error:.1e}" for form, error in worst.items()))
    fine = all(error <= BOUND for error in worst.values()) and len(set(right.values())) == 1
    print("pass" if fine else "FAIL", f"logits within {BOUND:g}, as many classified rightly")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
