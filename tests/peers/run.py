"""`parsec bench` and the PyTorch peers in turn on the same cores, and the ratios as a table.

    python tests/peers/run.py target/release/parsec [--device D] [--threads 2] [--out results.json]

The peers are timed with their better memory format. Each program has the machine to itself while it runs: stop other work.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run_json(command):
    print("$", " ".join(map(str, command)), file=sys.stderr, flush=True)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"exit {done.returncode}: {' '.join(map(str, command))}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parsec", help="the binary")
    parser.add_argument("--device", help="parsec's device")
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="keeps all three JSON objects")
    for key, value in (("layers", 8), ("channels", 16), ("batch", 64), ("size", 32), ("samples", 16), ("repeats", 3)):
        parser.add_argument(f"--{key}", type=int, default=value)
    args = parser.parse_args()
    shape = [f for key in ("layers", "channels", "batch", "size") for f in (f"--{key}", getattr(args, key))]

    bench = run_json([args.parsec, "bench", "--json", *shape, "--samples", args.samples, "--repeats", args.repeats,
                      *(["--device", args.device] if args.device else [])])
    torch_flags = [*shape, "--threads", args.threads, "--repeats", args.repeats, "--device", args.torch_device]
    child = run_json([sys.executable, HERE / "pytorch_child.py", *torch_flags])
    with tempfile.TemporaryDirectory() as folder:
        genotypes = Path(folder) / "genotypes.json"
        genotypes.write_text(json.dumps(bench["step"]["genotypes"]))
        step = run_json([sys.executable, HERE / "pytorch_step.py", "--genotypes", genotypes, *torch_flags])
    if args.out:
        args.out.write_text(json.dumps({"parsec": bench, "pytorch_child": child, "pytorch_step": step}, indent=1) + "\n")

    adapter = bench["adapter"]
    print(f"parsec on {adapter.get('name', adapter) if isinstance(adapter, dict) else adapter}; "
          f"PyTorch {child['torch']} on {child['device']} (child: {child['better']}, step: {step['better']})")
    print(f"parsec's step: {bench['step'].get('backward_children')} of {bench['step']['samples']} children with a backward "
          f"pass; PyTorch's: {step['children_backward']}")
    rows = [("child, forward", bench["child"]["forward_ms"] / 1e3, child["forward_secs"]),
            ("child, forward + backward + update", bench["child"]["train_ms"] / 1e3, child["train_secs"]),
            (f"step of Algorithm 1, K = {bench['step']['samples']}", bench["step"]["seconds"], step["step_secs"]),
            (f"... a third of the entropy, K = {bench['sharpened']['samples']}", bench["sharpened"]["seconds"],
             step["step_secs"])]
    print(f"\n| {'':38} | {'parsec (s)':>10} | {'PyTorch (s)':>11} | {'ratio':>6} |\n|---|---|---|---|")
    for name, ours, theirs in rows:
        print(f"| {name:38} | {ours:10.3f} | {theirs:11.3f} | {ours / theirs:5.2f}x |")


if __name__ == "__main__":
    main()
