"""Timing shared by the PyTorch peers: medians over repetitions, one process per measurement's settings."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pytorch"))

FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def arguments(doc, **defaults):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    settings = {"layers": 8, "channels": 16, "batch": 64, "size": 32, "classes": 10, "in_channels": 3, "threads": 2,
                "repeats": 5, **defaults}
    for key, value in settings.items():
        parser.add_argument("--" + key.replace("_", "-"), type=int, default=value)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds after which no further repetition starts")
    return parser


def setup(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def batch(args, memory_format):
    g = torch.Generator().manual_seed(1)
    images = torch.randn(args.batch, args.in_channels, args.size, args.size, generator=g)
    labels = torch.randint(args.classes, (args.batch,), generator=g)
    return images.to(args.device).to(memory_format=memory_format), labels.to(args.device)


def median_seconds(run, args):
    """One run to warm up, then the median of `repeats` (fewer when the budget is spent)."""
    synchronize = torch.cuda.synchronize if args.device.startswith("cuda") else (lambda: None)

    def once():
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        return time.perf_counter() - start
    began, times = time.perf_counter(), []
    once()
    while len(times) < args.repeats and (not times or time.perf_counter() - began < args.budget):
        times.append(once())
    return statistics.median(times)


def conclude(args, by_format, counted):
    """JSON on standard output; the memory format with the smaller `counted` time is the one that counts."""
    better = min(by_format, key=lambda f: by_format[f][counted])
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"CPU, {args.threads} threads"
    settings = {k: v for k, v in vars(args).items() if isinstance(v, (int, str))}
    print(json.dumps({"torch": torch.__version__, "device": device, "settings": settings, "formats": by_format,
                      "better": better, **by_format[better]}))
