"""Writes tests/fixtures/*.safetensors: PyTorch's numbers, computed in f64, for the Rust tests to compare with.

    python tests/pytorch/make_fixtures.py [op child_3 trajectory ...]

(without names: all of them; with names: the fixtures whose name begins so).
Seeds are fixed. Inputs and weights are rounded to f32 before anything is computed, so that both sides start from the
same numbers. ReLU and max pool have kinks where f32 and f64 may take different branches: of several seeds the one whose
branches have the widest margin is taken, and a fixture on which PyTorch's own f32 is off by more than 2e-5 is refused.
tests/fixtures/README.md describes the files.
"""

import json
import math
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from darts import (DARTS_V2, N_NODES, PRIMITIVES, FactorizedReduce, FinalNetwork, Genotype, ReLUConvBN, SearchCell,
                   SearchParent, genotype_from_alpha, primitive, random_genotype, replay)

OUT = Path(__file__).resolve().parent.parent / "fixtures"
F64 = torch.float64


# ---- shared ----------------------------------------------------------------------------------------------------------

def wanted(name):
    return not sys.argv[1:] or any(name.startswith(prefix) for prefix in sys.argv[1:])


def save(name, tensors, info):
    store = {}
    for key, t in tensors.items():
        t = t.detach()
        keep = t.dtype == torch.int64 or key.split(".")[0] in KEEP_F64
        store[key] = (t if keep else t.to(torch.float32)).contiguous().clone()
    save_file(store, OUT / f"{name}.safetensors", metadata={"info": json.dumps(info, sort_keys=True)})


KEEP_F64 = ("log_likelihood_sum", "weights", "pi", "alpha", "factors", "adam_m", "adam_v", "gradient_norm", "clip_factor")


def rounded(t):
    """The same numbers as f32 holds, in f64."""
    return t.to(torch.float32).to(F64)


def randn(g, *shape):
    return rounded(torch.randn(*shape, generator=g, dtype=F64))


def round_weights(network, g):
    """Affine BN gets weights that are not 1 and 0; everything is rounded to f32."""
    network.to(F64)
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, nn.BatchNorm2d) and m.affine:
                m.weight.copy_(1 + 0.2 * torch.randn(m.weight.shape, generator=g, dtype=F64))
                m.bias.copy_(0.2 * torch.randn(m.bias.shape, generator=g, dtype=F64))
                m.running_mean.copy_(0.3 * torch.randn(m.bias.shape, generator=g, dtype=F64))
                m.running_var.copy_(0.5 + torch.rand(m.bias.shape, generator=g, dtype=F64))
        for t in (*network.parameters(), *network.buffers()):
            if t.is_floating_point():
                t.copy_(rounded(t))
    return network


class Margin:
    """Smallest distance of any ReLU input from 0, and of any max pool's winner from the second, exact ties aside."""

    def __init__(self, network):
        self.value = math.inf
        self.handles = [m.register_forward_pre_hook(self.look) for m in network.modules()
                        if isinstance(m, (nn.ReLU, nn.MaxPool2d))]

    def look(self, module, args):
        x = args[0].detach()
        if isinstance(module, nn.ReLU):
            gaps = x.abs()
        else:
            n, c, h, w = x.shape
            padded = F.pad(x, (1, 1, 1, 1), value=-1e9).reshape(n * c, 1, h + 2, w + 2)
            top = F.unfold(padded, 3, stride=module.stride).topk(2, dim=1).values
            gaps = top[:, 0] - top[:, 1]
        gaps = gaps[gaps > 0]
        if gaps.numel():
            self.value = min(self.value, gaps.min().item())

    def close(self):
        for h in self.handles:
            h.remove()
        return self.value


def f32_error(network, expected, *args):
    """How far PyTorch's own f32 is from `expected`, over the whole gradient (or the logits in eval mode)."""
    state = {k: v.clone() for k, v in network.state_dict().items()}
    network.to(torch.float32)
    args = [a.to(torch.float32) if torch.is_tensor(a) and a.is_floating_point() else a for a in args]
    images, labels, genotype, masks, train, class_weights = args
    masks = masks and {k: v.to(torch.float32) for k, v in masks.items()}
    found = replay(network, images, labels, genotype, masks, train, class_weights)
    network.to(F64).load_state_dict(state)
    keys = [k for k in expected if k.startswith("grad.")] or ["logits"]
    cat = lambda d: torch.cat([d[k].to(F64).flatten() for k in keys])
    return ((cat(found) - cat(expected)).norm() / cat(expected).norm()).item()


# ---- (a) primitives and cells ----------------------------------------------------------------------------------------

def op_case(name, module, make_inputs, info, seed):
    """One module on one or two inputs: x (x1), y, dy, dx (dx1), w.<name>, dw.<name>."""
    if not wanted(name):
        return
    best = None
    for attempt in range(8):
        g = torch.Generator().manual_seed(1000 * seed + attempt)
        torch.manual_seed(1000 * seed + attempt)
        network = round_weights(module(), g)
        inputs = [t.requires_grad_() for t in make_inputs(g)]
        margin = Margin(network)
        y = network(*inputs)
        value = margin.close()
        if best is None or value > best[0]:
            best = value, network, inputs, y, randn(g, *y.shape)
    value, network, inputs, y, dy = best
    params = dict(network.named_parameters())
    leaves = [*inputs, *params.values()]
    grads = torch.autograd.grad(y, leaves, dy, allow_unused=True) if y.requires_grad else [None] * len(leaves)
    grads = [torch.zeros_like(leaf) if d is None else d for leaf, d in zip(leaves, grads)]
    suffix = [""] if len(inputs) == 1 else ["0", "1"]
    tensors = {"y": y, "dy": dy}
    for s, x, dx in zip(suffix, inputs, grads):
        tensors["x" + s], tensors["dx" + s] = x, dx
    for (n, p), d in zip(params.items(), grads[len(inputs):]):
        tensors["w." + n], tensors["dw." + n] = p, d
    save(name, tensors, {**info, "smallest_kink_margin": value if value < math.inf else None})
    assert value > 2e-5, (name, value)


SIZES = {  # primitive: (N, C, H, W) at stride 1, at stride 2
    "none": ((2, 4, 7, 7), (2, 4, 7, 7)),
    "max_pool_3x3": ((3, 4, 7, 7), (2, 6, 7, 9)),
    "avg_pool_3x3": ((2, 6, 6, 10), (3, 4, 7, 7)),
    "skip_connect": ((2, 4, 5, 7), (3, 6, 6, 10)),
    "sep_conv_3x3": ((2, 6, 7, 7), (3, 4, 6, 10)),
    "sep_conv_5x5": ((3, 4, 6, 10), (2, 6, 7, 7)),
    "dil_conv_3x3": ((2, 8, 7, 7), (2, 4, 14, 14)),
    "dil_conv_5x5": ((2, 4, 14, 14), (3, 6, 7, 9)),
}


def make_ops():
    for p, name in enumerate(PRIMITIVES):
        for stride in (1, 2):
            shape = SIZES[name][stride - 1]

            def inputs(g):
                x = randn(g, *shape)
                if name == "max_pool_3x3":
                    x = torch.round(2 * x) / 2  # many exact ties: the first maximum in row-major order gets the gradient
                elif "conv" in name:
                    x[x.abs() < 0.15] = 0  # exact zeros: the derivative of ReLU there is 0
                return [x]
            op_case(f"op_{name}_s{stride}", lambda: primitive(name, shape[1], stride, search=True), inputs,
                    {"primitive": name, "stride": stride, "shape": shape}, seed=10 * p + stride)
    shape = (2, 10, 5, 7)
    op_case("op_relu_conv_bn_s1", lambda: ReLUConvBN(10, 6, affine=False), lambda g: [randn(g, *shape)],
            {"primitive": "relu_conv_bn", "stride": 1, "shape": shape, "channels_out": 6}, seed=101)
    shape = (3, 12, 6, 10)
    op_case("op_factorized_reduce_s2", lambda: FactorizedReduce(12, 8, affine=False), lambda g: [randn(g, *shape)],
            {"primitive": "factorized_reduce", "stride": 2, "shape": shape, "channels_out": 8}, seed=102)
    for stride in (1, 2):
        shape = (2, 3, 7, 9)
        op_case(f"op_stem_s{stride}",
                lambda: nn.Sequential(nn.Conv2d(3, 12, 3, stride, 1, bias=False), nn.BatchNorm2d(12)),
                lambda g: [randn(g, *shape)],
                {"primitive": "conv 3x3, affine BN", "stride": stride, "shape": shape, "channels_out": 12}, seed=103 + stride)

    genotype = random_genotype(random.Random(7))
    for reduction in (False, True):
        class Cell(SearchCell):
            def forward(self, s0, s1):
                return super().forward(s0, s1, genotype)

        kind = "reduce" if reduction else "normal"

        def cell():
            c = Cell(12, 16, 4, reduction, reduction_prev=not reduction, primitives=PRIMITIVES)
            keep = {id(m) for _, _, m in c.modules_used(genotype)}
            for edge in c._ops:  # only the weights that the genotype uses
                for i, m in enumerate(edge._ops):
                    if id(m) not in keep:
                        edge._ops[i] = nn.Identity()
            return c
        op_case(f"cell_{kind}", cell,
                lambda g: [randn(g, 2, 12, *((4, 6) if reduction else (8, 12))), randn(g, 2, 16, 4, 6)],
                {"genotype": genotype.text(), "cell": kind, "channels": 4, "reduction_prev": not reduction}, seed=110 + reduction)


# ---- (b) whole networks, in the terms of `parsec replay` -----------------------------------------------------------

def formula_weight(shape, scale):
    """For a tensor too large to store: element i is scale * (2 * (((i * 2654435761) mod 2^32) >> 8) / 2^24 - 1)."""
    i = torch.arange(math.prod(shape), dtype=torch.int64)
    return (scale * (2 * (((i * 2654435761) % 2**32) >> 8).to(F64) / 2**24 - 1)).reshape(shape)


FORMULA = {"auxiliary_head.features.2.weight": 0.25, "auxiliary_head.features.5.weight": 0.0625}
SAMPLE_STRIDE = 97


def child_case(index, info, images_shape, seed, genotype, masks=None, attempts=12, class_weights=None):
    """Writes child_<index>.{weights,batch,expected}.safetensors and child_<index>.json."""
    if not wanted(f"child_{index}"):
        return
    search, train = info["network"] == "search", info["mode"] == "train"
    n, c_in, h, w = images_shape
    best = None
    for attempt in range(attempts):
        g = torch.Generator().manual_seed(1000 * seed + attempt)
        torch.manual_seed(1000 * seed + attempt)
        if search:
            network = SearchParent(info["layers"], info["channels"], info["classes"], c_in)
        else:
            network = FinalNetwork(genotype, info["layers"], info["channels"], info["classes"], c_in, info["stem"],
                                   info["auxiliary"], (h, w))
        round_weights(network, g)
        for name, p in network.named_parameters():
            if name in FORMULA:
                p.data.copy_(formula_weight(p.shape, FORMULA[name]))
        images, labels = randn(g, *images_shape), torch.randint(info["classes"], (n,), generator=g)
        if attempt % 2:
            images[0, :, : h // 2] = images[0, 0, 0, 0]  # a flat background, as real images have
        before = {k: v.clone() for k, v in network.state_dict().items()}
        margin = Margin(network)
        expected = replay(network, images, labels, genotype, masks, train, class_weights)
        value = margin.close()
        network.load_state_dict(before)
        error = f32_error(network, expected, images, labels, genotype, masks, train, class_weights)
        score = -error if value > 1e-5 else -1 - error
        if best is None or score > best[0]:
            best = score, value, error, network, before, images, labels, expected
    _, value, error, network, before, images, labels, expected = best
    assert error < 2e-5, (index, error)

    names = network.child_names(genotype) if search else list(before)
    weights = {k: before[k] for k in names if k not in FORMULA}
    batch = {"images": images, "labels": labels}
    if class_weights is not None:
        batch["class_weights"] = class_weights
    for (cell, op), mask in (masks or {}).items():
        batch[f"drop_path.{cell}.{op}"] = mask
    formulas = {k: {"shape": list(before[k].shape), "scale": s} for k, s in FORMULA.items() if k in before}
    for k in formulas:
        full = expected.pop("grad." + k, None)
        if full is not None:
            expected["sampled_grad." + k] = full.flatten()[::SAMPLE_STRIDE]
            expected["norm_grad." + k] = full.norm().reshape(1)
    info = {**info, "genotype": genotype.text(), "in_channels": c_in, "formula_weights": formulas,
            "sample_stride": SAMPLE_STRIDE, "smallest_kink_margin": value, "pytorch_f32_error": error}
    (OUT / f"child_{index}.json").write_text(json.dumps(info, indent=1, sort_keys=True) + "\n")
    save(f"child_{index}.weights", weights, {})
    save(f"child_{index}.batch", batch, {})
    save(f"child_{index}.expected", expected, {})
    print(f"child_{index}: kink margin {value:.1e}, PyTorch's own f32 error {error:.1e}")


def make_children():
    rng = random.Random(3)
    base = dict(network="search", mode="train", stem="cifar", auxiliary=False)
    pairs = lambda *p: tuple(p)
    duplicated = Genotype(
        normal=pairs(("sep_conv_3x3", 0), ("sep_conv_3x3", 0), ("dil_conv_5x5", 1), ("skip_connect", 2),
                     ("max_pool_3x3", 3), ("avg_pool_3x3", 0), ("sep_conv_5x5", 4), ("dil_conv_3x3", 1)),
        reduce=pairs(("skip_connect", 1), ("skip_connect", 1), ("sep_conv_5x5", 0), ("dil_conv_3x3", 2),
                     ("max_pool_3x3", 0), ("max_pool_3x3", 0), ("avg_pool_3x3", 1), ("dil_conv_5x5", 0)))
    with_none = Genotype(
        normal=pairs(("none", 0), ("dil_conv_3x3", 1), ("none", 1), ("none", 2), ("sep_conv_3x3", 2), ("skip_connect", 3),
                     ("avg_pool_3x3", 0), ("max_pool_3x3", 4)),
        reduce=pairs(("max_pool_3x3", 1), ("none", 0), ("skip_connect", 0), ("sep_conv_3x3", 2), ("dil_conv_5x5", 1),
                     ("none", 3), ("avg_pool_3x3", 1), ("none", 1)))
    child_case(0, {**base, "layers": 1, "channels": 4, "classes": 10}, (3, 3, 16, 16), 1, random_genotype(rng))
    child_case(1, {**base, "layers": 3, "channels": 4, "classes": 7}, (3, 3, 16, 20), 2, duplicated)
    child_case(2, {**base, "layers": 3, "channels": 4, "classes": 2}, (5, 1, 20, 20), 3, with_none)
    child_case(3, {**base, "layers": 5, "channels": 4, "classes": 10}, (2, 1, 28, 28), 4, random_genotype(rng))
    child_case(4, {**base, "layers": 3, "channels": 6, "classes": 13}, (4, 3, 12, 20), 5, random_genotype(rng))
    child_case(5, {**base, "layers": 2, "channels": 4, "classes": 10, "mode": "eval"}, (3, 1, 28, 20), 6,
               random_genotype(rng))
    # Final networks.
    base["network"] = "final"
    masks = {}
    keep = random.Random(11)
    mask = lambda n: rounded(torch.tensor([keep.choice([0, 1, 1, 1]) / 0.75 for _ in range(n)], dtype=F64))
    for cell in range(3):
        reduction = cell in (1, 2)
        for op, (name, source) in enumerate(duplicated.reduce if reduction else duplicated.normal):
            if name != "skip_connect" or (reduction and source < 2):  # the identity is never dropped
                masks[cell, op] = mask(4)
    child_case(6, {**base, "layers": 3, "channels": 4, "classes": 10}, (4, 3, 16, 20), 7, duplicated, masks)
    child_case(7, {**base, "layers": 3, "channels": 4, "classes": 5, "mode": "eval"}, (2, 1, 28, 28), 8, DARTS_V2)
    child_case(8, {**base, "layers": 3, "channels": 4, "classes": 3, "auxiliary": True}, (4, 1, 32, 32), 9,
               DARTS_V2)  # 8x8 maps: the preset's pool
    child_case(9, {**base, "layers": 3, "channels": 4, "classes": 10, "stem": "imagenet"}, (2, 1, 64, 64), 10, DARTS_V2)
    child_case(10, {**base, "layers": 3, "channels": 4, "classes": 3, "auxiliary": True}, (4, 1, 28, 28), 12,
               DARTS_V2, attempts=40)  # 7x7 maps: the adaptive pool
    # Weights of the classes, an auxiliary head, and images that are not square.
    weights = torch.tensor([0.25, 1.0, 3.5], dtype=F64)
    child_case(11, {**base, "layers": 3, "channels": 4, "classes": 3, "auxiliary": True}, (6, 1, 20, 32), 13,
               DARTS_V2, attempts=40, class_weights=weights)
    base["network"] = "search"
    child_case(12, {**base, "layers": 3, "channels": 4, "classes": 3}, (6, 1, 12, 20), 14, duplicated, attempts=40,
               class_weights=weights)


# ---- (c) ten steps of the weights alone ------------------------------------------------------------------------------

class Sgd:
    """buf = momentum·buf + clip·g + weight_decay·v; v -= lr·buf; clip = min(1, 5 / (‖g‖ + 1e-6))."""

    def __init__(self, params, momentum=0.9, weight_decay=3e-4, max_norm=5.0):
        self.params, self.momentum, self.weight_decay, self.max_norm = params, momentum, weight_decay, max_norm
        self.buf = {k: torch.zeros_like(p) for k, p in params.items()}

    def step(self, grads, lr):
        norm = torch.sqrt(sum(g.square().sum() for g in grads.values()))
        factor = torch.clamp(self.max_norm / (norm + 1e-6), max=1.0)
        with torch.no_grad():
            for k, p in self.params.items():
                self.buf[k] = self.momentum * self.buf[k] + factor * grads[k] + self.weight_decay * p
                p -= lr * self.buf[k]
        return norm, factor


def make_trajectory():
    if not wanted("trajectory"):
        return
    layers, channels, classes, steps, n = 3, 4, 5, 10, 4
    genotype = Genotype(normal=DARTS_V2.normal,
                        reduce=(("max_pool_3x3", 0), ("dil_conv_3x3", 1), ("skip_connect", 1), ("avg_pool_3x3", 0),
                                ("sep_conv_3x3", 2), ("skip_connect", 0), ("skip_connect", 2), ("max_pool_3x3", 1)))
    lrs = [0.001 + (0.025 - 0.001) * 0.5 * (1 + math.cos(math.pi * t / steps)) for t in range(steps)]

    def run(seed, dtype):
        g = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        network = round_weights(SearchParent(layers, channels, classes, 3), g).to(dtype)
        params = {k: p for k, p in network.named_parameters() if k in set(network.child_names(genotype))}
        tensors = {"v0." + k: p.detach().clone() for k, p in params.items()}
        sgd, margin, lls, norms = Sgd(params), Margin(network), [], []
        for t in range(steps):
            images = randn(g, n, 3, 12, 12).to(dtype)
            labels = torch.randint(classes, (n,), generator=g)
            images += 0.5 * labels.to(dtype).reshape(-1, 1, 1, 1)  # something to learn
            images = rounded(images).to(dtype)
            tensors[f"batch.{t}.images"], tensors[f"batch.{t}.labels"] = images, labels
            out = replay(network, images, labels, genotype)
            lls.append(out["log_likelihood"].sum())
            norms.append(sgd.step({k: out["grad." + k] for k in params}, lrs[t])[0])
        tensors |= {"v." + k: p for k, p in params.items()} | {"momentum." + k: b for k, b in sgd.buf.items()}
        tensors |= {"log_likelihood_sum": torch.stack(lls), "gradient_norm": torch.stack(norms)}
        return tensors, margin.close()

    margin, seed = max((run(seed, F64)[1], seed) for seed in range(10))
    tensors, _ = run(seed, F64)
    single, _ = run(seed, torch.float32)
    cat = lambda d: torch.cat([d[k].detach().to(F64).flatten() - d["v0." + k[2:]].to(F64).flatten()
                               for k in d if k.startswith("v.")])
    error = ((cat(single) - cat(tensors)).norm() / cat(tensors).norm()).item()
    assert error < 1e-4, error
    info = {"genotype": genotype.text(), "layers": layers, "channels": channels, "classes": classes, "in_channels": 3,
            "lr": lrs, "momentum": 0.9, "weight_decay": 3e-4, "clip": 5.0, "smallest_kink_margin": margin,
            "pytorch_f32_error": error}
    save("trajectory", tensors, info)
    (OUT / "trajectory.json").write_text(json.dumps(info, indent=1, sort_keys=True) + "\n")
    print(f"trajectory: gradient norms {[round(x.item(), 2) for x in tensors['gradient_norm']]}, "
          f"kink margin {margin:.1e}, PyTorch's own f32 error of the whole path {error:.1e}")


# ---- (d) three steps of Algorithm 1 ----------------------------------------------------------------------------------

def make_parsec_steps():
    if not wanted("parsec_steps"):
        return
    layers, channels, classes, k, n, steps = 3, 2, 3, 4, 4, 3
    names = ("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
    lrs, pi_lr, betas = [0.1, 0.05, 0.02], 0.03, (0.5, 0.999)

    def run(seed, dtype):
        g = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        network = round_weights(SearchParent(layers, channels, classes, 1, names), g).to(dtype)
        alphas = []
        for _ in range(steps):
            alpha = torch.stack([torch.stack([torch.randint((node + 2) * len(names), (k, 2), generator=g)
                                              for node in range(N_NODES)], dim=1) for _ in range(2)], dim=1)
            alpha[1, 0, 0, 1] = alpha[1, 0, 0, 0]  # child 1 draws a pair twice
            alphas.append(alpha)
        alphas[1][3] = alphas[1][0]  # in step 2 two of the children are the same
        children = [[genotype_from_alpha(a, names) for a in alpha] for alpha in alphas]
        used = {name for row in children for child in row for name in network.child_names(child)}
        params = {name: p for name, p in network.named_parameters() if name in used}
        sgd, margin = Sgd(params), Margin(network)
        slots = [(kind, node) for kind in ("normal", "reduce") for node in range(N_NODES)]
        pi = {s: 0.3 * randn(g, 2, (s[1] + 2) * len(names)) for s in slots}
        adam_m, adam_v = ({s: torch.zeros_like(pi[s]) for s in slots} for _ in range(2))
        tensors = {}

        def record(t):
            if t == 0:
                tensors.update({f"v.0.{name}": p.detach().clone() for name, p in params.items()})
            else:
                tensors[f"v.{t}"] = torch.cat([params[name].detach().flatten() for name in sorted(params)])
                tensors[f"momentum.{t}"] = torch.cat([sgd.buf[name].flatten() for name in sorted(params)])
            for kind, node in slots:
                for what, d in (("pi", pi), ("adam_m", adam_m), ("adam_v", adam_v)):
                    tensors[f"{what}.{t}.{kind}.{node}"] = d[kind, node].clone()

        def batch(split, t):
            labels = torch.randint(classes, (n,), generator=g)
            images = rounded(randn(g, n, 1, 12, 12) + 0.7 * labels.to(F64).reshape(-1, 1, 1, 1)).to(dtype)
            tensors[f"{split}.{t}.images"], tensors[f"{split}.{t}.labels"] = images, labels
            return images, labels

        record(0)
        for t in range(1, steps + 1):
            images, labels = batch("search", t)
            lls = torch.stack([replay(network, images, labels, child, train=False)["log_likelihood"].sum()
                               for child in children[t - 1]]).to(F64)
            weights = torch.softmax(lls, dim=0)
            images, labels = batch("train", t)
            grads = {name: torch.zeros_like(p) for name, p in params.items()}
            for weight, child in zip(weights, children[t - 1]):
                out = replay(network, images, labels, child)
                for name in params:
                    if "grad." + name in out:
                        grads[name] += weight.to(dtype) * out["grad." + name]
            norm, factor = sgd.step(grads, lrs[t - 1])
            for kind, node in slots:
                s, row = (kind, node), 0 if kind == "normal" else 1
                p = torch.softmax(pi[s], dim=1)
                chosen = F.one_hot(alphas[t - 1][:, row, node], pi[s].shape[1]).to(F64)  # [K, 2, pairs]
                grad = (weights[:, None, None] * (chosen - p)).sum(0)
                adam_m[s] = betas[0] * adam_m[s] + (1 - betas[0]) * grad
                adam_v[s] = betas[1] * adam_v[s] + (1 - betas[1]) * grad.square()
                m_hat, v_hat = adam_m[s] / (1 - betas[0] ** t), adam_v[s] / (1 - betas[1] ** t)
                pi[s] = pi[s] + pi_lr * m_hat / (v_hat.sqrt() + 1e-8)
            tensors |= {f"alpha.{t}": alphas[t - 1], f"weights.{t}": weights, f"log_likelihood_sum.{t}": lls,
                        f"gradient_norm.{t}": norm.reshape(1).to(F64), f"clip_factor.{t}": factor.reshape(1).to(F64)}
            record(t)
        return tensors, margin.close()

    # The weights of one seed in several are spread enough to be worth a test.
    def score(seed):
        tensors, margin = run(seed, F64)
        ess = [1 / tensors[f"weights.{t}"].square().sum().item() for t in (1, 2, 3)]
        return margin if min(ess) > 1.5 else 0.0
    margin, seed = max((score(seed), seed) for seed in range(10))
    tensors, _ = run(seed, F64)
    single, _ = run(seed, torch.float32)
    order = sorted(key[4:] for key in tensors if key.startswith("v.0."))
    path = lambda d: d["v.3"].to(F64) - torch.cat([d["v.0." + name].flatten() for name in order]).to(F64)
    error = ((path(single) - path(tensors)).norm() / path(tensors).norm()).item()
    assert margin > 0 and error < 1e-4, (margin, error)
    info = {"layers": layers, "channels": channels, "classes": classes, "in_channels": 1, "primitives": names, "samples": k,
            "lr": lrs, "momentum": 0.9, "weight_decay": 3e-4, "clip": 5.0, "pi_lr": pi_lr, "adam_betas": betas,
            "adam_eps": 1e-8, "baseline": "none", "beta": 1.0, "drop_mass": 0.0, "smallest_kink_margin": margin,
            "names": order, "pytorch_f32_error": error}
    save("parsec_steps", tensors, {})
    (OUT / "parsec_steps.json").write_text(json.dumps(info, indent=1, sort_keys=True) + "\n")
    show = lambda key: [[round(x, 3) for x in tensors[f"{key}.{t}"].tolist()] for t in (1, 2, 3)]
    print(f"parsec_steps: weights {show('weights')}, gradient norms {show('gradient_norm')}, kink margin {margin:.1e}, "
          f"PyTorch's own f32 error of the whole path {error:.1e}")


# ---- (e) one step with all paths at once -----------------------------------------------------------------------------

def make_mixed_step():
    if not wanted("mixed_step"):
        return
    layers, channels, classes, n = 3, 2, 3, 4
    names = ("skip_connect", "none", "max_pool_3x3", "sep_conv_3x3", "avg_pool_3x3", "dil_conv_3x3")
    lr, betas, decay = 0.03, (0.5, 0.999), 1e-3

    def run(seed, dtype):
        g = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        network = round_weights(SearchParent(layers, channels, classes, 1, names), g).to(dtype)
        alphas = randn(g, 2, 14, len(names)).to(dtype).requires_grad_()
        adam = torch.optim.Adam([alphas], lr=lr, betas=betas, weight_decay=decay)
        params = dict(network.named_parameters())
        flat = lambda get: torch.cat([get(params[name]).detach().flatten() for name in sorted(params)])
        tensors, margin = {"v": flat(lambda p: p), "alpha.before": alphas.detach().clone()}, Margin(network)
        for split in ("search", "train"):
            images, labels = randn(g, n, 1, 8, 8).to(dtype), torch.randint(classes, (n,), generator=g)
            logits = network.forward_mixed(images, alphas, names)
            loss = F.cross_entropy(logits, labels)
            network.zero_grad()
            adam.zero_grad()
            loss.backward()
            tensors |= {f"{split}.images": images, f"{split}.labels": labels, f"{split}.logits": logits}
            if split == "search":
                tensors["alpha.gradient"] = alphas.grad.clone()
                adam.step()
                tensors["alpha.after"] = alphas.detach().clone()
            else:
                tensors["gradient"] = flat(lambda p: p.grad)
        return tensors, margin.close()

    margin, seed = max((run(seed, F64)[1], seed) for seed in range(10))
    tensors, _ = run(seed, F64)
    single, _ = run(seed, torch.float32)
    error = ((single["gradient"].to(F64) - tensors["gradient"]).norm() / tensors["gradient"].norm()).item()
    assert margin > 0 and error < 2e-5, (margin, error)
    info = {"layers": layers, "channels": channels, "classes": classes, "in_channels": 1, "primitives": names, "alpha_lr": lr,
            "adam_betas": betas, "alpha_decay": decay, "smallest_kink_margin": margin, "pytorch_f32_error": error}
    save("mixed_step", tensors, {})
    (OUT / "mixed_step.json").write_text(json.dumps(info, indent=1, sort_keys=True) + "\n")
    print(f"mixed_step: kink margin {margin:.1e}, PyTorch's own f32 error {error:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    make_ops()
    make_children()
    make_trajectory()
    make_parsec_steps()
    make_mixed_step()
    total = sum(f.stat().st_size for f in OUT.iterdir())
    print(f"{total / 1e6:.2f} MB in {OUT.name}/")
