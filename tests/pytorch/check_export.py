"""`parsec export` against PyTorch, ONNX's checker and onnxruntime, on networks drawn at random.

    python tests/pytorch/check_export.py target/release/parsec --cases 12 --seed 1
    python tests/pytorch/check_export.py target/release/parsec --space macro

Each case writes the weights of a network of `darts.py` or `chain.py` to a file, exports it in every form, and compares
on random images: the safetensors load strictly into a fresh network and give its very logits, the generated Python file
(in a process of its own, without `darts.py`) and the ONNX model, with batch norms folded and not, give the same logits.
Errors are the largest difference of a logit divided by the largest logit. Exit status 1 when a bound is broken.
"""

import argparse
import ast
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import load_file, save_file

from chain import Chain, Final, Parent
from check_replay import calibrate, chain_flags, draw_chain, prepare
from darts import DARTS_V2, PC_DARTS_CIFAR, FinalNetwork, SearchParent, random_genotype

BOUND = 1e-4
RUN_PYTHON = """
import importlib.util, sys, torch
from safetensors.torch import load_file, save_file
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
network = module.load(sys.argv[2])
with torch.no_grad():
    save_file({"logits": network(load_file(sys.argv[3])["images"])}, sys.argv[4])
"""


def distance(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return np.abs(found - expected).max() / np.abs(expected).max()


def draw(rng, index):
    """Sides are multiples of what the reductions halve, so that the last maps may be odd (5x5, 7x7)."""
    stem = "imagenet" if index % 3 == 2 else "cifar"
    layers = 3 + index % 6
    n_reductions = len({layers // 3, 2 * layers // 3})
    unit = (8 if stem == "imagenet" else 1) << n_reductions
    case = {"stem": stem, "layers": layers, "channels": rng.choice([4, 6, 8, 10]), "classes": rng.randint(2, 40),
            "c_in": [3, 1][index % 2], "auxiliary": index % 4 == 1,
            "size": unit * rng.choice([1, 2, 3] if stem == "imagenet" else [3, 4, 5, 7, 8])}
    if index == 9:  # the auxiliary head's pool at the reference's size
        case |= {"stem": "cifar", "size": 32}
    if index == 0:
        case["genotype"] = DARTS_V2
    elif index == 1:
        case["genotype"] = PC_DARTS_CIFAR
    else:
        case["genotype"] = random_genotype(rng, none_probability=0.2 if index % 4 == 3 else 0.0)
    side = case["size"]
    case["make"] = lambda: FinalNetwork(case["genotype"], case["layers"], case["channels"], case["classes"], case["c_in"],
                                        case["stem"], case["auxiliary"], (side, side)).eval()
    case["text"] = case["genotype"].text()
    case["flags"] = ["--layers", case["layers"], "--channels", case["channels"], "--stem", case["stem"]]
    return case


def draw_macro(rng):
    settings, (side, _) = draw_chain(rng)
    architecture = settings.random(rng)
    return {"stem": "chain", "layers": settings.layers, "channels": settings.channels, "classes": settings.classes,
            "c_in": settings.in_channels, "auxiliary": False, "size": side,
            "make": lambda: Final(settings, architecture).eval(), "text": settings.text(architecture),
            "flags": chain_flags(settings, rng)}


def export(binary, *arguments, fails=False):
    done = subprocess.run([binary, "export", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if (done.returncode != 0) != fails:
        raise RuntimeError(f"exit {done.returncode}: {(done.stderr or done.stdout).strip()[:400]}")
    return done


def logits_of(network, images):
    with torch.no_grad():
        logits = network.to(torch.float64)(images.to(torch.float64))
    return (logits[0] if isinstance(logits, tuple) else logits).numpy()


def state_of(network):
    return {k: (v if v.dtype == torch.int64 else v.to(torch.float32)).detach().contiguous().clone()
            for k, v in network.state_dict().items()}


def run_onnx(path, images):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8 and [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert model.graph.input[0].name == "images" and model.graph.output[0].name == "logits" and batch.dim_param
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2  # warnings of unused constants and the like would be seen
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"images": images.numpy()})[0]
    one = session.run(["logits"], {"images": images[:1].numpy()})[0]  # another batch size
    assert distance(one, logits[:1]) < 1e-5
    return model, logits


def run_case(binary, case, seed, folder):
    """Errors by name; raises for what no tolerance excuses."""
    make, text, size = case["make"], case["text"], case["size"]
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    draw_images = lambda n: torch.randn(n, case["c_in"], size, size, generator=g)
    network = calibrate(prepare(make(), g), draw_images(16), g)
    images = draw_images(5)
    expected = logits_of(network, images)
    spread = expected.std(axis=0).max() / np.abs(expected).max()
    assert spread > 0.02, f"the logits hardly depend on the images ({spread:.0e}): the case shows little"
    paths = {k: folder / k for k in ("w.safetensors", "out.safetensors", "n.py", "folded.onnx", "plain.onnx", "g.txt",
                                     "images.safetensors", "logits.safetensors", "labels.txt", "run.py")}
    for path in paths.values():
        path.unlink(missing_ok=True)
    state = state_of(network)
    save_file(state, paths["w.safetensors"])
    names = [f"klasse {i} \"ü\\n\"" for i in range(case["classes"])]
    paths["labels.txt"].write_text("\n".join(names), encoding="utf-8")
    mean, std = [0.1 * (i + 1) for i in range(case["c_in"])], [0.25] * case["c_in"]
    common = ["--weights", paths["w.safetensors"], "--genotype-in", text, *case["flags"], "--size", size, "--labels",
              paths["labels.txt"], "--mean", ",".join(map(str, mean)), "--std", ",".join(map(str, std))]
    export(binary, *common, "--safetensors", paths["out.safetensors"], "--onnx", paths["folded.onnx"], "--python",
           paths["n.py"], "--genotype", paths["g.txt"])
    export(binary, *common, "--onnx", paths["plain.onnx"], "--no-fold")
    export(binary, *common, "--onnx", paths["plain.onnx"], fails=True)  # is there already

    # Strict load, the same numbers, the same types.
    again = load_file(paths["out.safetensors"])
    loaded = make()
    loaded.load_state_dict(again, strict=True)
    assert (logits_of(loaded, images) == expected).all()
    assert again.keys() == state.keys()
    assert all(again[k].dtype == state[k].dtype and torch.equal(again[k], state[k]) for k in state)
    assert paths["g.txt"].read_text().strip() == text

    save_file({"images": images}, paths["images.safetensors"])
    subprocess.run([sys.executable, "-W", "error", "-c", RUN_PYTHON, paths["n.py"], paths["out.safetensors"],
                    paths["images.safetensors"], paths["logits.safetensors"]], check=True, cwd=folder)
    example = subprocess.run([sys.executable, paths["n.py"], paths["out.safetensors"]], check=True, cwd=folder,
                             capture_output=True, text=True, encoding="utf-8", env={"PYTHONIOENCODING": "utf-8"})
    assert len(example.stdout.splitlines()) == 2 and "klasse" in example.stdout, example.stdout
    errors = {"python": distance(load_file(paths["logits.safetensors"])["logits"], expected)}
    for form in ("folded", "plain"):
        model, logits = run_onnx(str(paths[f"{form}.onnx"]), images)
        errors[form] = distance(logits, expected)
        meta = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(meta["class_names"]) == names and meta["genotype"] == text
        assert np.allclose(json.loads(meta["mean"]), mean) and np.allclose(json.loads(meta["std"]), std)
        has_norms = any(node.op_type == "BatchNormalization" for node in model.graph.node)
        assert has_norms == (form == "plain")
    ast.parse(paths["n.py"].read_text(encoding="utf-8"))
    return errors


def check_search(binary, space, folder):
    """The shared weights: the parent's parameters, loaded as its module loads them."""
    if space == "macro":
        make = lambda: Parent(Chain(6, 10, (1, 2), in_channels=1, head=16))
        flags = ["--genotype-in", "120", "--channels", 6, "--stages", "1,2", "--head", 16]
    else:
        make = lambda: SearchParent(4, 6, 10, 1)
        flags = ["--genotype-in", "DARTS_V1", "--layers", 4, "--channels", 6]
    weights = {k: v.detach().clone() for k, v in make().named_parameters()}
    source, out = folder / "search.safetensors", folder / "search-out.safetensors"
    save_file(weights, source)
    common = ["--weights", source, *flags, "--size", 16, "--network", "search"]
    export(binary, *common, "--safetensors", out)
    again = load_file(out)
    missing, unexpected = make().load_state_dict(again, strict=False)
    assert not unexpected and all("running_" in k or "num_batches" in k for k in missing)
    assert again.keys() == weights.keys() and all(torch.equal(again[k], weights[k]) for k in weights)
    export(binary, *common, "--onnx", folder / "search.onnx", fails=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--space", choices=("darts", "macro"), default="darts")
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one case by its number")
    args = parser.parse_args()
    args.binary = str(Path(args.binary).resolve())
    worst, fine = {}, True
    print("  i stem     layers channels classes images       python   folded    plain")
    with tempfile.TemporaryDirectory() as folder:
        for index in range(args.cases):
            if args.only is not None and index != args.only:
                continue
            seed = 1_000_000 * args.seed + index
            case = draw_macro(random.Random(seed)) if args.space == "macro" else draw(random.Random(seed), index)
            side = case["size"]
            head = (f"{index:3} {case['stem']:8} {case['layers']:6} {case['channels']:8} {case['classes']:7} "
                    f"{case['c_in']}x{side}x{side:<5}")
            try:
                errors = run_case(args.binary, case, seed, Path(folder))
            except Exception as error:  # whatever it is, it is the finding
                print(f"{head} {type(error).__name__}: {error}\n      {case['text']}")
                fine = False
                continue
            print(head, *(f"{errors[k]:8.1e}" for k in ("python", "folded", "plain")),
                  "+auxiliary" if case["auxiliary"] else "", flush=True)
            for form, error in errors.items():
                worst[form] = max(worst.get(form, 0.0), error)
                fine &= error <= BOUND
        check_search(args.binary, args.space, Path(folder))
    print("worst:", ", ".join(f"{form} {error:.1e}" for form, error in worst.items()))
    print("pass" if fine else "FAIL", f"every export as it should be, logits within {BOUND:g}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
