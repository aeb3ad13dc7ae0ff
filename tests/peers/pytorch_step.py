"""One whole PARSEC step as a plain PyTorch loop on given children, median seconds as JSON.

    parsec bench --json > bench.json
    python tests/peers/pytorch_step.py --genotypes bench.json --threads 2

K forward passes without gradient on the search batch, softmax of the log-likelihoods, K weighted forward and backward
passes on the train batch, clip, SGD over all weights, Adam on π. Every child has its backward pass, as in the algorithm's
text; `--drop-mass 1e-3` leaves out those of negligible weight, as `parsec` does by default. How many remain depends on the
weights, which the JSON reports (`ess`, `children_backward`).
"""

import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F

import common
from darts import PRIMITIVES, SearchParent, log_likelihood, parse_genotype, random_genotype

CHOICES = PRIMITIVES[1:]


def read_genotypes(path, samples):
    """A JSON list of genotype texts, an object with `step.genotypes`, or without a file children drawn at random."""
    if path is None:
        rng = random.Random(0)
        return [random_genotype(rng, duplicate_probability=0.0) for _ in range(samples)]
    found = json.loads(Path(path).read_text())
    if isinstance(found, dict):
        found = found["step"]["genotypes"] if "step" in found else found["genotypes"]
    return [parse_genotype(text) for text in found]


def one_hot(genotypes, kind, node, device):
    """[K, 2, pairs] of the drawn pairs."""
    pair = lambda p: p[1] * len(CHOICES) + CHOICES.index(p[0])
    index = torch.tensor([[pair(getattr(g, kind)[2 * node + slot]) for slot in range(2)] for g in genotypes])
    return F.one_hot(index, (node + 2) * len(CHOICES)).to(torch.float64).to(device)


def measure(args, genotypes, memory_format):
    network = SearchParent(args.layers, args.channels, args.classes, args.in_channels)
    network.to(args.device).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    images, labels = common.batch(args, memory_format)
    slots = [(kind, node) for kind in ("normal", "reduce") for node in range(4)]
    pi = {s: torch.zeros(2, (s[1] + 2) * len(CHOICES), dtype=torch.float64, device=args.device, requires_grad=True)
          for s in slots}
    adam = torch.optim.Adam(pi.values(), lr=3e-4, betas=(0.5, 0.999))
    facts = {}

    def step():
        with torch.no_grad():
            lls = torch.stack([log_likelihood(network(images, g), labels).sum() for g in genotypes])
        weights = torch.softmax(lls.to(torch.float64), dim=0)
        host = weights.tolist()
        backward, mass = [], 0.0
        for k in sorted(range(len(host)), key=host.__getitem__):
            mass += host[k]
            if mass > args.drop_mass:
                backward.append(k)
        optimizer.zero_grad(set_to_none=False)
        for k in backward:
            (host[k] * F.cross_entropy(network(images, genotypes[k]), labels)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        for kind, node in slots:
            chosen, p = one_hot(genotypes, kind, node, args.device), torch.softmax(pi[kind, node].detach(), dim=1)
            pi[kind, node].grad = -(weights[:, None, None] * (chosen - p)).sum(0)
        adam.step()
        facts.update(ess=1 / sum(w * w for w in host), children_backward=len(backward))
    seconds = common.median_seconds(step, args)
    return {"step_secs": seconds, **facts}


if __name__ == "__main__":
    parser = common.arguments(__doc__, repeats=3)
    parser.add_argument("--genotypes", help="JSON file; without it 16 children are drawn at random")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--drop-mass", type=float, default=0.0)
    args = parser.parse_args()
    common.setup(args)
    genotypes = read_genotypes(args.genotypes, args.samples)
    args.samples = len(genotypes)
    common.conclude(args, {name: measure(args, genotypes, f) for name, f in common.FORMATS.items()}, counted="step_secs")
