"""`parsec replay` against PyTorch in f64, on networks drawn at random.

    python tests/pytorch/check_replay.py target/release/parsec --cases 20 --final 10 --seed 1
    python tests/pytorch/check_replay.py target/release/parsec --space macro

Errors are relative to the norm of what PyTorch gives. The column `torch f32` is PyTorch's own f32 gradient: ReLU and max
pool flip between f32 and f64 on some cases, and no f32 program can do better there. Exit status 1 when a bound is broken.
"""

import argparse
import copy
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import chain
from darts import DARTS_V1, DARTS_V2, PC_DARTS_CIFAR, FinalNetwork, SearchParent, is_reduction, random_genotype, replay

FORWARD, GRADIENT, GRADIENT_WORST, TENSOR_WORST, GOOD_SHARE = 1e-4, 1e-4, 1e-2, 5e-2, 0.6
AFTER = 1e-4


def rounded(t):
    return t.to(torch.float32).to(torch.float64)


def prepare(network, g):
    """PyTorch's own initialisation, with BN's weights and statistics moved off 1 and 0; exact f32 numbers."""
    network.to(torch.float64)
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, nn.BatchNorm2d):
                if m.affine:
                    m.weight.copy_(1 + 0.2 * torch.randn(m.weight.shape, generator=g, dtype=torch.float64))
                    m.bias.copy_(0.2 * torch.randn(m.bias.shape, generator=g, dtype=torch.float64))
                m.running_mean.copy_(0.3 * torch.randn(m.running_mean.shape, generator=g, dtype=torch.float64))
                m.running_var.copy_(0.5 + torch.rand(m.running_var.shape, generator=g, dtype=torch.float64))
        for t in (*network.parameters(), *network.buffers()):
            if t.is_floating_point():
                t.copy_(rounded(t))
    return network


def calibrate(network, images, g):
    """Running statistics near those of `images`, as training leaves them: else the signal fades in deep networks and the
    logits say nothing about the layers before. Exact f32 numbers."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # the average over all batches, which is one
    network.train()
    with torch.no_grad():
        network(images.to(torch.float64))
        for m in norms:
            noise = torch.randn(m.running_mean.shape, generator=g, dtype=torch.float64)
            m.running_mean.add_(0.2 * m.running_var.sqrt() * noise)
            m.running_var.mul_(0.7 + 0.6 * torch.rand(m.running_var.shape, generator=g, dtype=torch.float64)).clamp_(min=1e-3)
            m.running_mean.copy_(rounded(m.running_mean))
            m.running_var.copy_(rounded(m.running_var))
    return network.eval()


def images_like(rng, g, n, c, h, w):
    """Noise, or smooth blobs on a flat background (flat parts make ties in the pools)."""
    x = torch.randn(n, c, h, w, generator=g, dtype=torch.float64)
    if rng.random() < 0.5:
        x = nn.functional.interpolate(x[:, :, :: 4, :: 4], size=(h, w), mode="bilinear").clamp(min=0.0) * 2 - 0.5
    return rounded(x)


def draw_search(rng, g):
    case = {"network": "search", "stem": "cifar", "auxiliary": False, "mode": "eval" if rng.random() < 0.15 else "train",
            "layers": rng.randint(1, 8), "channels": rng.choice(range(4, 17, 2)), "classes": rng.randint(2, 100),
            "n": rng.randint(3, 16), "c_in": rng.choice([1, 3]), "h": rng.choice(range(16, 45, 4))}
    case["w"] = case["h"] if rng.random() < 0.6 else rng.choice(range(16, 45, 4))
    genotype = random_genotype(rng, none_probability=0.08 if rng.random() < 0.25 else 0.0,
                               duplicate_probability=rng.choice([0.0, 0.25]))
    return case, genotype, SearchParent(case["layers"], case["channels"], case["classes"], case["c_in"]), None


def draw_final(rng, g, index):
    imagenet = index % 4 == 3
    case = {"network": "final", "stem": "imagenet" if imagenet else "cifar", "mode": "eval" if index % 5 == 4 else "train",
            "layers": rng.randint(3, 8), "channels": rng.choice([4, 6, 8]), "classes": rng.randint(2, 30),
            "n": rng.randint(4, 10), "c_in": rng.choice([1, 3]), "auxiliary": index % 3 == 1}
    case["h"] = case["w"] = rng.choice([64, 96]) if imagenet else rng.choice(range(16, 41, 4))
    if case["auxiliary"] and not imagenet:
        case["h"] = case["w"] = rng.choice([32, 32, 28])  # both pools
    genotype = rng.choice([DARTS_V1, DARTS_V2, PC_DARTS_CIFAR, random_genotype(rng), random_genotype(rng)])
    network = FinalNetwork(genotype, case["layers"], case["channels"], case["classes"], case["c_in"], case["stem"],
                           case["auxiliary"], (case["h"], case["w"]))
    masks, case["drop_path"] = {}, case["mode"] == "train" and index % 2 == 0
    if case["drop_path"]:
        keep = rng.choice([0.6, 0.8, 0.9])
        for cell in range(case["layers"]):
            reduction = is_reduction(cell, case["layers"])
            for op, (name, source) in enumerate(genotype.reduce if reduction else genotype.normal):
                if name != "skip_connect" or (reduction and source < 2):  # the identity is never dropped
                    masks[cell, op] = rounded((torch.rand(case["n"], generator=g, dtype=torch.float64) < keep) / keep)
    return case, genotype, network, masks


def draw_chain(rng):
    """Settings of a chain space, and image sides that leave maps of at least 2x2."""
    stages = rng.choice([(2, 3, 3), (2, 3, 3), (1,), (1, 2), (3, 1), (1, 2, 2), (2, 1, 1, 1)])
    choices = chain.CHOICES
    if rng.random() < 0.6:
        blocks = [f"mb{e}_k{k}" for e in range(1, 9) for k in (3, 5, 7)]
        choices = tuple(rng.sample(["identity", *blocks], rng.choice([2, 3, 4, 11])))
    settings = chain.Chain(rng.choice(range(4, 17, 2)), rng.randint(2, 30), stages, choices,
                           rng.choice([0, 8, 20, 52, 100]), rng.choice([1, 3]))
    side = lambda: rng.randint(max(8, (1 << len(stages)) + 1), 40)
    h = side()
    return settings, (h, h if rng.random() < 0.5 else side())


def draw_chain_case(rng, index, network):
    settings, (h, w) = draw_chain(rng)
    architecture = settings.random(rng)
    case = {"network": network, "stem": "cifar", "auxiliary": False, "mode": "eval" if index % 5 == 4 else "train",
            "layers": settings.layers, "channels": settings.channels, "classes": settings.classes, "n": rng.randint(4, 10),
            "c_in": settings.in_channels, "h": h, "w": w}
    module = chain.Parent(settings) if network == "search" else chain.Final(settings, architecture)
    return case, architecture, module, None


def chain_flags(settings, rng):
    """Flags that give these settings; where the default says the same they may be left out."""
    flags = ["--channels", settings.channels]
    for flag, value, default in (("--stages", ",".join(map(str, settings.stages)), "2,3,3"),
                                 ("--choices", ",".join(settings.choices), ",".join(chain.CHOICES)),
                                 ("--head", settings.head, 40 * settings.channels)):
        if value != default or rng.random() < 0.5:
            flags += [flag, value]
    return flags


def distance(found, expected):
    """Relative to the norm; sizes must agree and nothing may be missing or not finite."""
    if found is None or tuple(found.shape) != tuple(expected.shape) or not torch.isfinite(found).all():
        return float("inf")
    return ((found.to(torch.float64) - expected).norm() / expected.norm().clamp(min=1e-30)).item()


def compare(out, expected, train):
    """The errors of one case by name; `problems` are things that no tolerance excuses."""
    problems = []
    errors = {"logits": distance(out.get("logits"), expected["logits"]),
              "log_lik": distance(out.get("log_likelihood"), expected["log_likelihood"])}
    if "aux_logits" in expected:
        errors["aux"] = distance(out.get("aux_logits"), expected["aux_logits"])
    if not train:
        problems += [f"{k} in eval mode" for k in out if k.startswith("grad.")][:1]
        return errors, problems
    grads = {k: v for k, v in expected.items() if k.startswith("grad.")}
    found = {}
    for name, e in grads.items():
        if name in out:
            found[name] = out[name].to(torch.float64)
        elif not e.any():
            found[name] = torch.zeros_like(e)  # a parameter that cannot reach the loss may be left out
        else:
            problems.append(f"{name} is missing")
            found[name] = torch.zeros_like(e)
        if found[name].shape != e.shape:
            problems.append(f"{name} has shape {tuple(found[name].shape)}, expected {tuple(e.shape)}")
            found[name] = torch.zeros_like(e)
    problems += [f"{k} is not a parameter of the child" for k in out if k.startswith("grad.") and k not in grads]
    flat = lambda d: torch.cat([d[k].flatten() for k in grads])
    errors["gradient"] = distance(flat(found), flat(expected))
    # A tensor whose gradient is nothing but rounding (below 1e-6 of the whole) is measured against that floor.
    floor = 1e-6 * flat(expected).norm().item()
    per_tensor = {k: (found[k] - e).norm().item() / max(e.norm().item(), floor) for k, e in grads.items()}
    worst = max(per_tensor, key=per_tensor.get)
    errors["tensor"], errors["tensor_name"] = per_tensor[worst], worst[5:]
    after = {k: v for k, v in expected.items() if k.startswith("after.")}
    if after:
        errors["after"] = max(distance(out.get(k), e) for k, e in after.items())
    return errors, problems


def text_of(network, genotype):
    return network.chain.text(genotype) if isinstance(network, chain.Network) else genotype.text()


def run_case(binary, device, case, genotype, network, masks, g, rng, folder):
    prepare(network, g)
    images = images_like(rng, g, case["n"], case["c_in"], case["h"], case["w"])
    labels = torch.randint(case["classes"], (case["n"],), generator=g)
    search, train = case["network"] == "search", case["mode"] == "train"
    if isinstance(network, chain.Final) and not train:
        calibrate(network, images, g)
    weights = {k: v for k, v in (network.named_parameters() if search else network.state_dict().items())}
    to_file = lambda d: {k: (v.detach() if v.dtype == torch.int64 else v.detach().to(torch.float32)).contiguous().clone()
                         for k, v in d.items()}
    batch = {"images": images, "labels": labels}
    batch |= {f"drop_path.{cell}.{op}": mask for (cell, op), mask in (masks or {}).items()}
    paths = {k: folder / f"{k}.safetensors" for k in ("weights", "batch", "out")}
    save_file(to_file(weights), paths["weights"])
    save_file(to_file(batch), paths["batch"])
    paths["out"].unlink(missing_ok=True)

    single = copy.deepcopy(network).to(torch.float32)
    if isinstance(network, chain.Network):
        expected = chain.replay(network, images, labels, genotype, train)
        single_out = chain.replay(single, images.to(torch.float32), labels, genotype, train)
    else:
        expected = replay(network, images, labels, genotype, masks, train)
        single_out = replay(single, images.to(torch.float32), labels, genotype,
                            {k: v.to(torch.float32) for k, v in (masks or {}).items()}, train)
    single_error = compare(single_out, expected, train)[0].get("gradient", float("nan"))

    command = [binary, "replay", "--genotype", text_of(network, genotype), "--weights", paths["weights"], "--batch",
               paths["batch"], "--out", paths["out"]]
    if isinstance(network, chain.Network):
        command += ["--space", "macro", *chain_flags(network.chain, rng)]
    else:
        command += ["--layers", case["layers"], "--channels", case["channels"]]
    if not search or rng.random() < 0.5:  # the defaults are search and train
        command += ["--network", case["network"]]
    if not train or rng.random() < 0.5:
        command += ["--mode", case["mode"]]
    if case["stem"] == "imagenet":
        command += ["--stem", "imagenet"]
    if device:
        command += ["--device", device]
    start = time.time()
    done = subprocess.run([str(a) for a in command], capture_output=True, text=True, timeout=600)
    seconds = time.time() - start
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return {}, [f"exit {done.returncode}: {' / '.join(lines[-3:])[:300]}"], single_error, seconds
    try:
        out = load_file(paths["out"])
    except Exception as error:  # whatever the reader says is the finding
        return {}, [f"OUT cannot be read: {error}"], single_error, seconds
    return *compare(out, expected, train), single_error, seconds


def verdict(rows):
    """Lines that say which bounds hold; the second value is whether all do."""
    lines, fine = [], True

    def check(text, holds):
        nonlocal fine
        fine &= bool(holds)
        lines.append(f"{'pass' if holds else 'FAIL'}  {text}")
    broken = [i for i, (_, _, problems, *_) in enumerate(rows) if problems]
    check(f"every case ran and had the right names (broken: {broken or 'none'})", not broken)
    over = lambda key, bound: [i for i, r in enumerate(rows) if r[1].get(key, 0.0) > bound]
    for key, bound in (("logits", FORWARD), ("log_lik", FORWARD), ("aux", FORWARD), ("after", AFTER),
                       ("gradient", GRADIENT_WORST), ("tensor", TENSOR_WORST)):
        check(f"{key} within {bound:g} in all cases (beyond: {over(key, bound) or 'none'})", not over(key, bound))
    gradients = [r[1]["gradient"] for r in rows if "gradient" in r[1]]
    good = sum(e <= GRADIENT for e in gradients)
    check(f"gradient within {GRADIENT:g} in {good} of {len(gradients)} cases (at least {GOOD_SHARE:.0%})",
          good >= GOOD_SHARE * len(gradients))
    return lines, fine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--space", choices=("darts", "macro"), default="darts")
    parser.add_argument("--cases", type=int, default=20, help="search children")
    parser.add_argument("--final", type=int, default=10, help="final networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--only", type=int, help="index of one case to run again")
    parser.add_argument("--keep", type=Path, help="folder for the files of the last case")
    args = parser.parse_args()
    torch.set_num_threads(2)
    fine = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'':>3} {'network':7} {'mode':5} {'L':>2} {'C':>2} {'classes':>7} {'N':>3} {'images':>9}  "
              f"{'logits':>8} {'log_lik':>8} {'gradient':>8} {'tensor':>8} {'aux':>8} {'after':>8} {'torch f32':>9} {'s':>5}")
        for kind, count in (("search", args.cases), ("final", args.final)):
            rows = []
            for index in range(count):
                if args.only is not None and index != args.only:
                    continue
                seed = 1_000_000 * args.seed + 1000 * (kind == "final") * 500 + index
                rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
                torch.manual_seed(seed)
                if args.space == "macro":
                    case, genotype, network, masks = draw_chain_case(rng, index, kind)
                else:
                    case, genotype, network, masks = draw_search(rng, g) if kind == "search" else draw_final(rng, g, index)
                text = text_of(network, genotype)
                errors, problems, single, seconds = run_case(args.binary, args.device, case, genotype, network, masks, g, rng,
                                                             folder)
                rows.append((case, errors, problems, single))
                shown = " ".join(f"{errors[k]:8.1e}" if k in errors else f"{'-':>8}"
                                 for k in ("logits", "log_lik", "gradient", "tensor", "aux", "after"))
                extra = "".join(f" +{k}" for k in ("auxiliary", "drop_path") if case.get(k)) + (
                    " +imagenet" if case["stem"] == "imagenet" else "")
                print(f"{index:3} {kind:7} {case['mode']:5} {case['layers']:2} {case['channels']:2} {case['classes']:7} "
                      f"{case['n']:3} {case['c_in']}x{case['h']}x{case['w']:<4} {shown} {single:9.1e} {seconds:5.1f}{extra}",
                      flush=True)
                for problem in problems[:5]:
                    print(f"      {problem}\n      {text}")
                if errors.get("tensor", 0) > TENSOR_WORST:
                    print(f"      worst tensor {errors['tensor_name']}\n      {text}")
            if rows:
                lines, ok = verdict(rows)
                fine &= ok
                print(f"{kind}:", *lines, sep="\n  ")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
