"""Recomputes every traced step of a search from RUN/trace/*.safetensors alone, in f64.

    parsec search --data idx:DIR --trace-steps 3 --run RUN
    python tests/pytorch/check_trace.py RUN

The network's settings and the drop mass are read from RUN/config.toml, all else from the trace. Checked for each step:
log-likelihoods of the K children (1e-4 relative), importance weights from the traced log-likelihoods (1e-6), the step of
`v` (1e-2 relative) and the clip factor, the step of π (1e-3 relative), momentum, and that each step starts where the one
before ended. Exit status 1 when a bound is broken.
"""

import argparse
import sys
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open

from chain import CHOICES, STAGES, Chain, Parent
from darts import PRIMITIVES, SearchParent, genotype_from_alpha, log_likelihood

BETAS, EPS, MAX_NORM = (0.5, 0.999), 1e-8, 5.0
KINDS = ("normal", "reduce")


def load(path):
    with safe_open(path, framework="pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, dict(f.metadata() or {})


def group(tensors, prefix):
    return {k[len(prefix):]: t.to(torch.float64) for k, t in tensors.items() if k.startswith(prefix)}


def relative(found, expected):
    return ((found - expected).norm() / expected.norm().clamp(min=1e-30)).item()


def left_out(weights, drop_mass):
    """The children of smallest weight whose weights sum to at most `drop_mass`."""
    out, mass = set(), 0.0
    for k in sorted(range(len(weights)), key=lambda k: weights[k]):
        mass += weights[k].item()
        if mass > drop_mass:
            break
        out.add(k)
    return out


def mean_gradient(parent, genotype, images, labels, part, weight):
    parent.zero_grad(set_to_none=True)
    for x, y in zip(images.split(part), labels.split(part)):
        (F.cross_entropy(parent(x, genotype), y, weight=weight, reduction="sum") / len(labels)).backward()
    return {n: p.grad for n, p in parent.named_parameters() if p.grad is not None}


class Report:
    def __init__(self):
        self.fine = True

    def check(self, what, error, bound):
        holds = error <= bound
        self.fine &= holds
        print(f"  {'pass' if holds else 'FAIL'}  {what:58s} {error:9.2e}  (bound {bound:g})")

    def note(self, text):
        print(f"        {text}")


def listed(value):
    return value.split(",") if isinstance(value, str) else value


def space_of(tensors, meta, config):
    """The parent's module, the K children, and {slot's name in the trace: which of its logits were drawn}: 0 and 1 in the
    shape [K, *logits]."""
    alpha, in_channels = tensors["alpha"], tensors["search.images"].shape[1]
    channels, classes = int(config["channels"]), tensors["v.before.classifier.weight"].shape[0]
    if config.get("space", "darts") == "macro":
        chain = Chain(channels, classes, tuple(int(n) for n in listed(config.get("stages", STAGES))),
                      tuple(listed(config.get("choices", CHOICES))), int(config.get("head", 0)), in_channels)
        if alpha.shape[1:] != (chain.layers,):
            raise SystemExit(f"alpha has shape {tuple(alpha.shape)}, expected [K, {chain.layers}]")
        drawn = {str(i): F.one_hot(alpha[:, i], len(chain.choices)) for i in range(chain.layers)}
        return Parent(chain), [tuple(a.tolist()) for a in alpha], drawn
    primitives = meta["primitives"].split(",")
    unknown = set(primitives) - set(PRIMITIVES)
    if unknown:
        raise SystemExit(f"metadata names primitives that are not in the space: {sorted(unknown)}")
    parent = SearchParent(int(config["layers"]), channels, classes, in_channels, primitives)
    drawn = {f"{kind}.{node}": F.one_hot(alpha[:, row, node], (node + 2) * len(primitives))
             for row, kind in enumerate(KINDS) for node in range(4)}
    return parent, [genotype_from_alpha(a, primitives) for a in alpha], drawn


def check_step(tensors, meta, config, report, previous):
    step = int(meta["step"])
    parent, children, drawn = space_of(tensors, meta, config)
    before, after = group(tensors, "v.before."), group(tensors, "v.after.")
    buf_before, buf_after = group(tensors, "momentum.before."), group(tensors, "momentum.after.")
    images = tensors["search.images"].to(torch.float64)
    parent.to(torch.float64)
    names = [n for n, _ in parent.named_parameters()]
    for what, found in (("v.before", before), ("v.after", after), ("momentum.before", buf_before),
                        ("momentum.after", buf_after)):
        if set(found) != set(names):
            raise SystemExit(f"{what}: missing {sorted(set(names) - set(found))[:3]}, "
                             f"unknown {sorted(set(found) - set(names))[:3]} (settings as in config.toml?)")
    _, unexpected = parent.load_state_dict(before, strict=False)
    assert not unexpected
    k = len(children)
    # With --micro-batch a batch runs in parts, and batch norm sees a part at a time.
    part = int(meta.get("micro_batch", len(images)))

    # The weight of each class in the loss and in the likelihoods.
    by_class = tensors.get("class_weights", torch.ones(int(before["classifier.bias"].numel()))).to(torch.float64)

    # 1. the log-likelihood of the search batch under every child
    with torch.no_grad():
        lls = torch.stack([sum((by_class[y] * log_likelihood(parent(x, c), y)).sum() for x, y in
                               zip(images.split(part), tensors["search.labels"].split(part))) for c in children])
    traced = tensors["log_likelihood"].to(torch.float64)
    report.check("log-likelihoods, worst child", ((traced - lls).abs() / lls.abs()).max().item(), 1e-4)

    # 2. the importance weights, corrected where children were not drawn from π itself
    epsilon = float(meta.get("explore", 0.0))
    ratios = torch.ones(k, dtype=torch.float64)
    for slot, chosen in drawn.items():
        p = torch.softmax(tensors[f"pi.{slot}.before"].to(torch.float64), dim=-1)
        q = (1 - epsilon) * p + epsilon / p.shape[-1]
        # One axis of children, then slots; the choice of each is the last.
        ratio = (chosen * (p / q)).sum(-1)
        ratios *= ratio.reshape(k, -1).prod(-1)
    weights = torch.softmax(float(meta["beta"]) * traced + torch.log(ratios), dim=0)
    report.check("weights, largest difference", (tensors["weights"].to(torch.float64) - weights).abs().max().item(), 1e-6)
    ess = 1 / weights.square().sum().item()

    # 3. the step of v
    of_children = torch.full_like(weights, 1 / k) if meta.get("train_weights") == "uniform" else weights
    drop_mass = float(config.get("drop_mass", 0.0 if config.get("reference") else 1e-3))
    out = left_out(of_children, drop_mass)
    images, labels = tensors["train.images"].to(torch.float64), tensors["train.labels"]
    g = {n: torch.zeros_like(before[n]) for n in names}
    for i, (w, child) in enumerate(zip(of_children, children)):
        if i not in out:
            for n, d in mean_gradient(parent, child, images, labels, part, by_class).items():
                g[n] += w * d
    norm = torch.sqrt(sum(d.square().sum() for d in g.values())).item()
    factor = min(1.0, MAX_NORM / (norm + 1e-6))
    report.check("clip factor, relative", abs(float(meta["clip_factor"]) / factor - 1), 1e-3)
    lr, momentum, decay = (float(meta[key]) for key in ("lr", "momentum", "weight_decay"))
    buf = {n: momentum * buf_before[n] + factor * g[n] + decay * before[n] for n in names}
    flat = lambda d: torch.cat([d[n].flatten() for n in names])
    expected = {n: -lr * buf[n] for n in names}
    found = {n: after[n] - before[n] for n in names}
    report.check("step of v, relative", relative(flat(found), flat(expected)), 1e-2)
    report.check("momentum, relative", relative(flat(buf_after), flat(buf)), 1e-2)
    floor = 1e-4 * flat(expected).norm()
    per_tensor = {n: ((found[n] - expected[n]).norm() / expected[n].norm().clamp(min=floor)).item() for n in names}
    worst = max(per_tensor, key=per_tensor.get)
    report.note(f"K {k}, ESS {ess:.2f}, {k - len(out)} children with a backward pass, gradient norm {norm:.3f}, "
                f"worst tensor of the step {worst} {per_tensor[worst]:.1e}")

    # 4. the step of π
    pi_lr = float(meta["pi_lr"])
    baseline = {"none": 0.0, "mean": 1.0 / k}[meta["baseline"]]
    found, expected = [], []
    for slot, chosen in drawn.items():
        logits, new = (tensors[f"pi.{slot}.{when}"].to(torch.float64) for when in ("before", "after"))
        if logits.shape != chosen.shape[1:]:
            raise SystemExit(f"pi.{slot}.before has shape {tuple(logits.shape)}, expected {tuple(chosen.shape[1:])}")
        grad = torch.einsum("k,k...->...", weights - baseline * ratios, chosen - torch.softmax(logits, dim=-1))
        m, s = (tensors[f"adam.{what}.{slot}.before"].to(torch.float64) for what in ("m", "v"))
        m, s = BETAS[0] * m + (1 - BETAS[0]) * grad, BETAS[1] * s + (1 - BETAS[1]) * grad.square()
        found.append((new - logits).flatten())
        expected.append((m, s))
    found = torch.cat(found)

    def adam_step(t):
        return torch.cat([(pi_lr * (m / (1 - BETAS[0] ** t)) / ((s / (1 - BETAS[1] ** t)).sqrt() + EPS)).flatten()
                          for m, s in expected])
    warm = config.get("warmup_epochs", 0) or config.get("warmup", 0)
    stays = not found.any() and (config.get("freeze_prior") or warm)
    if stays:
        report.note("π does not move: frozen, or in warm-up")
    else:
        # Adam's own count differs from the step's number only after a warm-up of the weights alone.
        counts = range(1, step + 1) if warm else [step]
        report.check("step of π, relative", min(relative(found, adam_step(t)) for t in counts), 1e-3)

    # 5. the chain
    if previous is not None and int(previous[1]["step"]) + 1 == step:
        last = previous[0]
        moved = [key for key in last if key.endswith(".after") or ".after." in key]
        differ = [key for key in moved if not torch.equal(last[key], tensors[key.replace(".after", ".before", 1)])]
        report.check(f"tensors that do not continue step {step - 1} {differ[:2] or ''}", len(differ), 0)
        stored = torch.cat([tensors[f"adam.{what}.{slot}.before"].to(torch.float64).flatten()
                            for slot in drawn for what in ("m", "v")])
        report.check(f"Adam's moments after step {step - 1}, relative", relative(stored, previous[2]), 1e-3)
    if stays:
        # Nor do Adam's moments.
        return torch.cat([tensors[f"adam.{what}.{slot}.before"].to(torch.float64).flatten()
                          for slot in drawn for what in ("m", "v")])
    return torch.cat([moment.flatten() for pair in expected for moment in pair])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(2)
    config = tomllib.loads((args.run / "config.toml").read_text())
    files = sorted((args.run / "trace").glob("step-*.safetensors"))
    if not files:
        raise SystemExit(f"{args.run}/trace holds no step-*.safetensors: was the search run with --trace-steps?")
    report, previous = Report(), None
    for path in files:
        tensors, meta = load(path)
        print(f"step {meta.get('step')}")
        moments = check_step(tensors, meta, config, report, previous)
        previous = tensors, meta, moments
    print("all steps agree" if report.fine else "SOME STEPS DISAGREE")
    return 0 if report.fine else 1


if __name__ == "__main__":
    sys.exit(main())
