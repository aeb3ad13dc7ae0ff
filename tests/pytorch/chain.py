"""The chain space (`--space macro`) in plain PyTorch, from an architecture's text to logits.

An independent second opinion on `parsec`, like `darts.py`: it shares no code with the Rust side, only the definition of
the space. It has

* `Chain`: the settings of a space and the text of its architectures (`02012100`, or names separated by commas);
* `Final`: one architecture as a network of its own, with the names of the NAS-Bench-Macro benchmark's modules;
* `Parent`: every choice of every layer, one weight set per (layer, choice); `forward(x, architecture)` runs one child,
  `forward_mixed(x, factors)` all choices at once.

`python tests/pytorch/chain.py` checks parameters and multiply-adds of published networks, gradients and names.
`python tests/pytorch/chain.py --table FILE` does so for every entry of the benchmark's table (an object from architecture
to an object with `params` and `flops`).
"""

import argparse
import itertools
import json
import random
import re
import sys
from dataclasses import dataclass

import torch
from torch import nn
import torch.nn.functional as F

from darts import log_likelihood

STAGES = (2, 3, 3)
CHOICES = ("identity", "mb3_k3", "mb6_k5")


# ---- settings and architectures --------------------------------------------------------------------------------------

def parse_choice(name):
    """`identity` is None, `mbE_kK` is (E, K)."""
    if name == "identity":
        return None
    found = re.fullmatch(r"mb([1-8])_k([357])", name)
    if not found:
        raise ValueError(f"expected identity or mbE_kK with E = 1..8 and K = 3, 5 or 7, found {name!r}")
    return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Chain:
    """Settings of a space; `head` 0 stands for the default. An architecture is a tuple of indices into `choices`."""
    channels: int
    classes: int
    stages: tuple = STAGES
    choices: tuple = CHOICES
    head: int = 0
    in_channels: int = 3

    def __post_init__(self):
        for name in self.choices:
            parse_choice(name)
        object.__setattr__(self, "head", self.head or 40 * self.channels)

    @property
    def layers(self):
        return sum(self.stages)

    def shapes(self):
        """(channels in, channels out, stride) of every layer."""
        c = self.channels
        for stage in self.stages:
            for layer in range(stage):
                first = layer == 0
                yield c, 2 * c if first else c, 2 if first else 1
                c *= 2 if first else 1

    def parse(self, text):
        """Reads both forms of an architecture's text."""
        text = text.strip()
        if text.isdigit():
            architecture = tuple(map(int, text))
        else:
            architecture = tuple(self.choices.index(name.strip()) for name in text.split(","))
        if len(architecture) != self.layers or max(architecture) >= len(self.choices):
            raise ValueError(f"expected {self.layers} choices of {len(self.choices)}, found {text}")
        return architecture

    def text(self, architecture, long=False):
        """Digits, or names where a digit would not do."""
        if long or len(self.choices) > 10:
            return ",".join(self.choices[p] for p in architecture)
        return "".join(map(str, architecture))

    def random(self, rng):
        """`rng` is a `random.Random`."""
        return tuple(rng.randrange(len(self.choices)) for _ in range(self.layers))


# ---- choices ---------------------------------------------------------------------------------------------------------

class Downsample(nn.Module):
    """`identity` where the shape changes: reads the pixels at even places."""

    def __init__(self, c_in, c_out, affine):
        super().__init__()
        self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride=2, bias=False),
                                        nn.BatchNorm2d(c_out, affine=affine))

    def forward(self, x):
        return self.downsample(x)


class Mb(nn.Module):
    """MobileNetV2's block with plain ReLUs: 1x1 to E·c channels, depthwise KxK, 1x1. No first 1x1 where E = 1."""

    def __init__(self, c_in, c_out, stride, expansion, k, affine):
        super().__init__()
        h = expansion * c_in
        norm = lambda c: nn.BatchNorm2d(c, affine=affine)
        widen = [nn.Conv2d(c_in, h, 1, bias=False), norm(h), nn.ReLU()] if expansion > 1 else []
        self.conv = nn.Sequential(
            *widen, nn.Conv2d(h, h, k, stride=stride, padding=k // 2, groups=h, bias=False), norm(h), nn.ReLU(),
            nn.Conv2d(h, c_out, 1, bias=False), norm(c_out))
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


def choice(name, c_in, c_out, stride, affine):
    block = parse_choice(name)
    if block:
        return Mb(c_in, c_out, stride, *block, affine)
    return nn.Identity() if stride == 1 and c_in == c_out else Downsample(c_in, c_out, affine)


class Network(nn.Module):
    """What both networks have around their layers. The stem's batch norm is affine in both."""

    def __init__(self, chain, affine):
        super().__init__()
        w, last = chain.channels, chain.channels << len(chain.stages)
        self.chain = chain
        self.stem = nn.Sequential(nn.Conv2d(chain.in_channels, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU())
        self.features = nn.ModuleList()
        self.out = nn.Sequential(nn.Conv2d(last, chain.head, 1, bias=False), nn.BatchNorm2d(chain.head, affine=affine),
                                 nn.ReLU())
        self.classifier = nn.Linear(chain.head, chain.classes)

    def run(self, x, layer):
        """`layer(i, x)` gives the output of layer i."""
        x = self.stem(x)
        for i in range(self.chain.layers):
            x = layer(i, x)
        return self.classifier(self.out(x).mean(dim=(2, 3)))


# ---- the final network -----------------------------------------------------------------------------------------------

class Final(Network):
    """One architecture; affine batch norms with running statistics."""

    def __init__(self, chain, architecture):
        super().__init__(chain, affine=True)
        for p, shape in zip(architecture, chain.shapes(), strict=True):
            self.features.append(choice(chain.choices[p], *shape, affine=True))

    def forward(self, x):
        return self.run(x, lambda i, x: self.features[i](x))


# ---- the search parent -----------------------------------------------------------------------------------------------

class Parent(Network):
    """All weights of the search; no affine batch norms but the stem's, batch statistics always."""

    def __init__(self, chain):
        super().__init__(chain, affine=False)
        for shape in chain.shapes():
            self.features.append(nn.ModuleList(choice(name, *shape, affine=False) for name in chain.choices))

    def train(self, mode=True):
        return super().train(True)  # running statistics would mix architectures

    def forward(self, x, architecture):
        return self.run(x, lambda i, x: self.features[i][architecture[i]](x))

    def forward_mixed(self, x, factors):
        """All choices at once; factors [layers, choices], in a search the softmax of a layer's logits."""
        def layer(i, x):
            return sum(factor * module(x) for factor, module in zip(factors[i], self.features[i], strict=True))
        return self.run(x, layer)

    def child_names(self, architecture):
        """Names of the parameters that the child runs through."""
        unused = tuple(f"features.{i}.{p}." for i, chosen in enumerate(architecture)
                       for p in range(len(self.chain.choices)) if p != chosen)
        return [name for name, _ in self.named_parameters() if not name.startswith(unused)]


# ---- one forward and backward, in replay's terms ---------------------------------------------------------------------

def replay(network, images, labels, architecture=None, train=True):
    """What `parsec replay` writes: logits, log_likelihood; in train mode grad.<name> of the mean cross-entropy; for a final
    network after.<name> of its running statistics. `architecture` is needed for a parent alone."""
    network.train(train)
    network.zero_grad(set_to_none=True)
    search = isinstance(network, Parent)
    with torch.set_grad_enabled(train):
        logits = network(images, architecture) if search else network(images)
        loss = F.cross_entropy(logits, labels)
    out = {"logits": logits.detach(), "log_likelihood": log_likelihood(logits.detach(), labels)}
    params = dict(network.named_parameters())
    if train:
        loss.backward()
        for name in network.child_names(architecture) if search else params:
            out["grad." + name] = params[name].grad.clone()
    if not search:
        out |= {"after." + name: buffer.clone() for name, buffer in network.named_buffers() if "running_" in name}
    return out


# ---- parameters and multiply-adds ------------------------------------------------------------------------------------

def costs(network, side):
    """{module's name: (parameters, multiply-adds)} of every module that an image of side x side runs through, read by
    hooks. Multiply-adds are those of convolutions and linear layers."""
    found = {}

    def look(name):
        def hook(module, args, y):
            macs = 0
            if isinstance(module, nn.Conv2d):
                macs = y[0].numel() * module.weight[0].numel()
            elif isinstance(module, nn.Linear):
                macs = module.weight.numel()
            found[name] = sum(p.numel() for p in module.parameters()), macs
        return hook
    handles = [m.register_forward_hook(look(name)) for name, m in network.named_modules() if not list(m.children())]
    with torch.no_grad():
        network.eval()(torch.zeros(1, network.chain.in_channels, side, side))
    for handle in handles:
        handle.remove()
    return found


def total(found):
    """(parameters, multiply-adds) of the values that `costs` gives."""
    parameters, macs = zip(*found)
    return sum(parameters), sum(macs)


# ---- the self-check --------------------------------------------------------------------------------------------------

PUBLISHED = {"00000000": (387_882, 7_713_280), "02012100": (890_666, 47_327_744), "22222222": (2_932_586, 105_660_928)}
BENCHMARK = Chain(channels=32, classes=10)


def check_published():
    fine = True
    for text, expected in PUBLISHED.items():
        found = total(costs(Final(BENCHMARK, BENCHMARK.parse(text)), 32).values())
        fine &= found == expected
        print(f"{'ok  ' if found == expected else 'FAIL'} {text}: expected {expected}, found {found}")
    return fine


def check_table(path, sample=50):
    """Every entry by the sum over its layers, whose costs do not depend on each other, and some by whole networks."""
    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    around, layers = None, {}
    for p in range(len(BENCHMARK.choices)):
        found = costs(Final(BENCHMARK, (p,) * BENCHMARK.layers), 32)
        for i in range(BENCHMARK.layers):
            layers[i, p] = total(cost for name, cost in found.items() if name.startswith(f"features.{i}.")
                                 or name == f"features.{i}")
        rest = total(cost for name, cost in found.items() if not name.startswith("features."))
        assert around in (None, rest)
        around = rest
    published = {text: (entry["params"], entry["flops"]) for text, entry in table.items()}
    agree = sum(total([around, *(layers[i, p] for i, p in enumerate(BENCHMARK.parse(text)))]) == expected
                for text, expected in published.items())
    complete = set(published) == {"".join(t) for t in itertools.product("012", repeat=BENCHMARK.layers)}
    print(f"{'ok  ' if agree == len(published) else 'FAIL'} {agree:,} of {len(published):,} entries have these parameters "
          f"and multiply-adds; {'every architecture is there' if complete else 'NOT every architecture is there'}")
    some = random.Random(0).sample(sorted(published), min(sample, len(published)))
    whole = sum(total(costs(Final(BENCHMARK, BENCHMARK.parse(text)), 32).values()) == published[text] for text in some)
    print(f"{'ok  ' if whole == len(some) else 'FAIL'} {whole} of {len(some)} drawn at random, counted by whole networks")
    return complete and agree == len(published) and whole == len(some)


def worst_difference(network, forward, labels, leaves, grads, h=1e-6):
    """Largest difference of `grads` from central differences, of three elements of every leaf."""
    worst = 0.0
    for leaf, grad in zip(leaves, grads, strict=True):
        flat = leaf.detach().view(-1)  # shares the leaf's memory
        for i in {0, flat.numel() // 2, flat.numel() - 1}:
            kept, losses = flat[i].item(), []
            for value in (kept + h, kept - h):
                flat[i] = value
                with torch.no_grad():
                    losses.append(F.cross_entropy(forward(network), labels).item())
            flat[i] = kept
            worst = max(worst, abs((losses[0] - losses[1]) / (2 * h) - grad.view(-1)[i].item()))
    return worst


def check_gradients():
    """Child, final network and mixed network; the parent's child is the final network without affine parts."""
    chain = Chain(4, 3, (1, 2), ("identity", "mb1_k3", "mb3_k5", "mb2_k7"), head=12, in_channels=1)
    fine = True

    def check(what, error, bound):
        nonlocal fine
        fine &= error <= bound
        print(f"{'ok  ' if error <= bound else 'FAIL'} {what}: {error:.1e}")
    torch.manual_seed(0)
    parent = Parent(chain).double()
    images, labels = torch.randn(4, 1, 9, 11, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    params = dict(parent.named_parameters())
    for text in ("012", "301", "220", "133"):
        architecture = chain.parse(text)
        out = replay(parent, images, labels, architecture)
        names = parent.child_names(architecture)
        check(f"finite differences of child {text}",
              worst_difference(parent, lambda n: n(images, architecture), labels, [params[n] for n in names],
                               [out["grad." + n] for n in names]), 1e-7)
        final = Final(chain, architecture).double()
        shared = {re.sub(r"^(features\.\d+)\.\d+", r"\1", n): params[n].data for n in names}
        _, unexpected = final.load_state_dict(shared, strict=False)  # batch norms stay at 1 and 0
        assert not unexpected
        with torch.no_grad():
            check(f"child {text} against its final network", (final(images) - out["logits"]).abs().max().item(), 1e-12)
        for m in final.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.normal_(m.weight, 1, 0.2)
                nn.init.normal_(m.bias, 0, 0.2)
        out = replay(final, images, labels)
        names = [n for n, _ in final.named_parameters()]
        check(f"finite differences of final {text}",
              worst_difference(final, lambda n: n(images), labels, final.parameters(), [out["grad." + n] for n in names]),
              1e-7)
    factors = torch.randn(3, 4, dtype=torch.float64).softmax(1).requires_grad_()
    leaves = [factors, *parent.parameters()]
    grads = torch.autograd.grad(F.cross_entropy(parent.forward_mixed(images, factors), labels), leaves)
    check("finite differences of all choices at once, factors too",
          worst_difference(parent, lambda n: n.forward_mixed(images, factors), labels, leaves, grads), 1e-7)
    one_hot = F.one_hot(torch.tensor([0, 1, 2]), 4).double()
    with torch.no_grad():
        check("factors of 1 and 0 against the child",
              (parent.forward_mixed(images, one_hot) - parent(images, (0, 1, 2))).abs().max().item(), 1e-12)
    return fine


def check_text():
    many = Chain(4, 2, (1, 2), ("identity", *(f"mb{e}_k{k}" for e in (1, 2, 3, 6) for k in (3, 5, 7))))
    fine = BENCHMARK.text(BENCHMARK.parse("02012100")) == "02012100"
    fine &= BENCHMARK.parse(BENCHMARK.text((0, 2, 0, 1, 2, 1, 0, 0), long=True)) == (0, 2, 0, 1, 2, 1, 0, 0)
    fine &= many.text((0, 12, 4)) == "identity,mb6_k7,mb2_k3" and many.parse(many.text((0, 12, 4))) == (0, 12, 4)
    names = set(Final(Chain(4, 2, (2,), ("identity", "mb1_k3", "mb6_k5")), (1, 2)).state_dict())
    fine &= {"features.0.conv.0.weight", "features.0.conv.3.weight", "features.0.conv.4.running_var",
             "features.1.conv.6.weight", "features.1.conv.7.bias", "stem.1.weight", "out.0.weight", "out.1.running_mean",
             "classifier.bias"} <= names and "features.0.conv.6.weight" not in names
    print(f"{'ok  ' if fine else 'FAIL'} text of architectures, names of parameters")
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", metavar="FILE", help="the benchmark's table: every entry is checked")
    args = parser.parse_args()
    torch.set_num_threads(1)
    checks = [check_published, check_text, check_gradients]
    if args.table:
        checks.append(lambda: check_table(args.table))
    return 0 if all([check() for check in checks]) else 1


if __name__ == "__main__":
    sys.exit(main())
