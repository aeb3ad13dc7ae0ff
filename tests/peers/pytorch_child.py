"""The DARTS_V2 child of the search parent in PyTorch: forward, and forward + backward + SGD, median seconds as JSON.

    python tests/peers/pytorch_child.py --threads 2
"""

import torch
import torch.nn.functional as F

import common
from darts import DARTS_V2, SearchParent, log_likelihood


def measure(args, memory_format):
    network = SearchParent(args.layers, args.channels, args.classes, args.in_channels)
    network.to(args.device).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    images, labels = common.batch(args, memory_format)

    def forward():
        with torch.no_grad():
            log_likelihood(network(images, DARTS_V2), labels).sum().item()

    def train():
        optimizer.zero_grad(set_to_none=True)  # SGD then moves the child's own weights only
        F.cross_entropy(network(images, DARTS_V2), labels).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    return {"forward_secs": common.median_seconds(forward, args), "train_secs": common.median_seconds(train, args)}


if __name__ == "__main__":
    args = common.arguments(__doc__).parse_args()
    common.setup(args)
    common.conclude(args, {name: measure(args, f) for name, f in common.FORMATS.items()}, counted="train_secs")
