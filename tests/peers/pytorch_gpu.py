"""The child and the step of Algorithm 1 on a card, in every way PyTorch has: JSON on standard output.

    python tests/peers/pytorch_gpu.py [--genotypes FILE] [--budget 110] [--out FILE]
    python tests/peers/pytorch_gpu.py --only ceilings          # what the card can do: copy, products, launches
    python tests/peers/pytorch_gpu.py --only compile-warm      # fills torch.compile's cache, measures nothing
    python tests/peers/pytorch_gpu.py --device cpu             # a dry run: no CUDA graphs, no torch.compile

Ways: eager; a CUDA graph of the whole pass (captured once, then replayed); torch.compile with graphs of its own (mode
"reduce-overhead"); torch.compile captured in one graph. Precisions: f32, and TF32 for convolutions and products. Memory
formats: NCHW and channels-last. The child is DARTS_V2: `forward_ms` is its log-likelihood, `train_ms` is forward, backward,
clip and SGD, each with the result read back, as in `parsec bench`. The step runs on the genotypes of FILE (`step.genotypes`
of `parsec bench --json`), every child with a backward pass. Graphs need the same architecture again, which a search does not
offer: the graph of the step is what a loop over known children could reach.

Every row is warmed up, synchronised, and the median of several repetitions. A row that fails holds its `error` and a row that
does not fit the budget says so under `skipped`; neither costs the others. `--out` holds the rows so far after each row.
"""

import gc
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import common
from darts import DARTS_V2, SearchParent, log_likelihood
from pytorch_step import CHOICES, one_hot, read_genotypes

NO_CUDA = 3  # exit status
LEAST_SECS = {"eager": 3, "graph": 4, "compile": 15, "compile+graph": 15}  # less left: the row is left out
MOST_SECS = {"eager": 45, "graph": 45, "compile": 75, "compile+graph": 60}  # the row is given up


# ---- timing ----------------------------------------------------------------------------------------------------------

def is_cuda(args):
    return args.device.startswith("cuda")


def synchronize(args):
    if is_cuda(args):
        torch.cuda.synchronize()


def median_ms(run, args, seconds=1.0, warm=2):
    """Median of wall-clock times, each from an idle card to an idle card: at least `--repeats`, for about `seconds`."""
    seconds = seconds if is_cuda(args) else 0.2 * seconds  # there are no clocks to raise
    for _ in range(warm):
        run()
    times, began = [], time.perf_counter()
    while len(times) < args.repeats or time.perf_counter() - began < seconds:
        synchronize(args)
        start = time.perf_counter()
        run()
        synchronize(args)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def back_to_back_ms(run, args, n):
    """Milliseconds of one of `n` runs that are queued without waiting: the card's time where the host is faster."""
    run()
    synchronize(args)
    if not is_cuda(args):
        start = time.perf_counter()
        for _ in range(n):
            run()
        return 1e3 * (time.perf_counter() - start) / n
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(n):
        run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / n


def use_tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on


def captured(run, pool=None):
    """(graph, its output, milliseconds of the capture). The first runs, which allocate and choose kernels, lie before it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    start = time.perf_counter()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        out = run()
    torch.cuda.synchronize()
    return graph, out, 1e3 * (time.perf_counter() - start)


# ---- what the card can do --------------------------------------------------------------------------------------------

def ceilings(args):
    """10⁹ bytes read plus written per second, 10⁹ multiplications plus additions per second, microseconds of a launch."""
    n, side = 1 << 22, 512
    if is_cuda(args):
        # 2 GiB, many times the cache, or an eighth of what a smaller card has free.
        n, side = min(1 << 29, torch.cuda.mem_get_info()[0] // 8 // 4), 8192
    x = torch.empty(n, device=args.device)
    y = torch.empty_like(x)
    found = {"copy_gbps": 2 * 4 * n / back_to_back_ms(lambda: y.copy_(x), args, 10) / 1e6}
    del x, y
    a, b = (torch.randn(side, side, device=args.device) for _ in range(2))
    for name, tf32 in (("f32_gflops", False), ("tf32_gflops", True)):
        if tf32 and not is_cuda(args):
            continue
        use_tf32(tf32)
        found[name] = 2 * side**3 / back_to_back_ms(lambda: a @ b, args, 5) / 1e6
    one = torch.zeros(1, device=args.device)
    synchronize(args)
    start = time.perf_counter()
    for _ in range(2000):
        one.add_(1)
    found["eager_launch_us"] = 1e6 * (time.perf_counter() - start) / 2000
    synchronize(args)
    if is_cuda(args):
        def many():
            for _ in range(200):
                one.add_(1)
        graph, _, _ = captured(many)
        found["graph_node_us"] = 1e3 * back_to_back_ms(graph.replay, args, 20) / 200
    return found


# ---- the child -------------------------------------------------------------------------------------------------------

class Child:
    """A network with all weights, a batch of noise, and the two passes of one child."""

    def __init__(self, args, layout):
        torch.manual_seed(0)
        memory_format = common.FORMATS[layout]
        self.network = SearchParent(args.layers, args.channels, args.classes, args.in_channels)
        self.network.to(args.device).to(memory_format=memory_format)
        self.images, self.labels = common.batch(args, memory_format)
        self.parameters = list(self.network.parameters())
        # Small enough that any number of repetitions leaves the weights sound.
        self.optimizer = torch.optim.SGD(self.parameters, lr=1e-4, momentum=0.9, weight_decay=3e-4)
        self.run = self.network

    def likelihood(self, genotype=DARTS_V2):
        with torch.no_grad():
            return log_likelihood(self.run(self.images, genotype), self.labels).sum()

    def loss(self, genotype=DARTS_V2):
        return F.cross_entropy(self.run(self.images, genotype), self.labels)

    def train(self):
        self.optimizer.zero_grad(set_to_none=True)  # SGD then moves the child's own weights only
        loss = self.loss()
        loss.backward()
        self.update()
        return loss.detach()

    def update(self):
        torch.nn.utils.clip_grad_norm_([p for p in self.parameters if p.grad is not None], 5.0)
        self.optimizer.step()


def child_eager(args, layout):
    child = Child(args, layout)
    return {"forward_ms": median_ms(lambda: child.likelihood().item(), args),
            "train_ms": median_ms(lambda: child.train().item(), args)}


def graphs_of(child, args):
    row = {}
    for name, run in (("forward", child.likelihood), ("train", child.train)):
        graph, out, capture_ms = captured(run)
        row[f"{name}_ms"] = median_ms(lambda: (graph.replay(), out.item()), args, 0.5)
        row[f"{name}_gpu_ms"] = back_to_back_ms(graph.replay, args, 20)
        row[f"{name}_capture_ms"] = capture_ms
        del graph, out
    return row


def child_graph(args, layout):
    return graphs_of(Child(args, layout), args)


def compiled(args, layout, **how):
    torch._dynamo.reset()
    child = Child(args, layout)
    child.run = torch.compile(child.network, dynamic=False, **how)
    return child


def child_compile(args, layout):
    start = time.perf_counter()
    child = compiled(args, layout, mode="reduce-overhead")

    def fresh(run):
        def once():
            torch.compiler.cudagraph_mark_step_begin()
            return run().item()
        return once
    # Three runs compile, record and replay for the first time.
    row = {"forward_ms": median_ms(fresh(child.likelihood), args, 0.5, warm=4),
           "train_ms": median_ms(fresh(child.train), args, 0.5, warm=4)}
    return {**row, "seconds_with_compilation": time.perf_counter() - start}


def child_compile_graph(args, layout):
    start = time.perf_counter()
    row = graphs_of(compiled(args, layout), args)
    return {**row, "seconds_with_compilation": time.perf_counter() - start}


# ---- the step of Algorithm 1 -----------------------------------------------------------------------------------------

class Step:
    def __init__(self, args, layout):
        self.child, self.genotypes = Child(args, layout), args.children
        self.slots = [(kind, node) for kind in ("normal", "reduce") for node in range(4)]
        zeros = lambda node: torch.zeros(2, (node + 2) * len(CHOICES), dtype=torch.float64, device=args.device)
        self.pi = {slot: zeros(slot[1]).requires_grad_() for slot in self.slots}
        self.adam = torch.optim.Adam(self.pi.values(), lr=3e-4, betas=(0.5, 0.999))
        # Outside the timing, where parsec's sampling is inside.
        self.chosen = {slot: one_hot(self.genotypes, *slot, args.device) for slot in self.slots}

    def update_prior(self, weights):
        for slot in self.slots:
            p = torch.softmax(self.pi[slot].detach(), dim=1)
            self.pi[slot].grad = -(weights[:, None, None] * (self.chosen[slot] - p)).sum(0)
        self.adam.step()


def step_eager(args, layout):
    step = Step(args, layout)
    child = step.child

    def once():
        weights = torch.softmax(torch.stack([child.likelihood(g) for g in step.genotypes]).to(torch.float64), dim=0)
        child.optimizer.zero_grad(set_to_none=True)
        for weight, genotype in zip(weights.tolist(), step.genotypes):
            (weight * child.loss(genotype)).backward()
        child.update()
        step.update_prior(weights)
    return {"step_ms": median_ms(once, args, 2.0), "samples": len(step.genotypes)}


def step_graph(args, layout):
    """One graph of each child's two passes, captured before the timing. All share memory, as in eager mode."""
    step = Step(args, layout)
    child, pool = step.child, torch.cuda.graph_pool_handle()
    weights = torch.zeros(len(step.genotypes), device=args.device)
    likelihoods = torch.zeros_like(weights)
    for p in child.parameters:  # gradients of fixed addresses, to which each graph adds
        p.grad = torch.zeros_like(p)

    def forward(k, genotype):
        likelihoods[k].copy_(child.likelihood(genotype))

    def backward(k, genotype):
        (weights[k] * child.loss(genotype)).backward()
    start, graphs = time.perf_counter(), []
    for run in (forward, backward):
        graphs.append([captured(lambda: run(k, g), pool)[0] for k, g in enumerate(step.genotypes)])
    capture_seconds = time.perf_counter() - start

    def once():
        for graph in graphs[0]:
            graph.replay()
        exact = torch.softmax(likelihoods.to(torch.float64), dim=0)
        exact.tolist()  # as in the eager step
        weights.copy_(exact)
        child.optimizer.zero_grad(set_to_none=False)
        for graph in graphs[1]:
            graph.replay()
        child.update()
        step.update_prior(exact)
    return {"step_ms": median_ms(once, args, 1.0), "samples": len(step.genotypes), "capture_seconds": capture_seconds}


# ---- rows ------------------------------------------------------------------------------------------------------------

RUN = {("child", "eager"): child_eager, ("child", "graph"): child_graph, ("child", "compile"): child_compile,
       ("child", "compile+graph"): child_compile_graph, ("step", "eager"): step_eager, ("step", "graph"): step_graph}


def rows_in_order():
    """The most important first: the budget may end anywhere."""
    both = list(common.FORMATS)
    order = [("child", "eager", "f32", both), ("child", "graph", "f32", both), ("child", "compile", "f32", ["nchw"]),
             ("step", "eager", "f32", both), ("child", "eager", "tf32", both), ("child", "graph", "tf32", both),
             ("child", "compile+graph", "f32", ["nchw"]), ("child", "compile", "f32", ["channels_last"]),
             ("step", "graph", "f32", both), ("child", "compile", "tf32", ["nchw"])]
    return [{"what": what, "way": way, "precision": precision, "layout": layout}
            for what, way, precision, layouts in order for layout in layouts]


def with_limit(seconds, run):
    """Raises TimeoutError in `run` after so long. Compilation can take minutes, and the rows after it matter too."""
    if not hasattr(signal, "SIGALRM"):
        return run()

    def stop(*_):
        raise TimeoutError(f"given up after {seconds:.0f} s")
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(row, args, left, most=None):
    """The figures of one row, or why there are none; given up after `most` seconds."""
    if row["way"] != "eager" and not is_cuda(args):
        return {"skipped": "needs a card"}
    if row["precision"] == "tf32" and not is_cuda(args):
        return {"skipped": "needs a card"}
    if row["what"] == "step" and not args.children:
        return {"skipped": "no --genotypes"}
    if left < LEAST_SECS[row["way"]]:
        return {"skipped": f"{max(left, 0):.0f} s left of the budget"}
    use_tf32(row["precision"] == "tf32")
    try:
        return with_limit(min(left, most or MOST_SECS[row["way"]]), lambda: RUN[row["what"], row["way"]](args, row["layout"]))
    except Exception as e:  # a row that fails costs itself only
        return {"error": f"{type(e).__name__}: {str(e)[:600]}"}
    finally:
        gc.collect()
        if is_cuda(args):
            torch.cuda.empty_cache()


def write(path, value):
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)


def main():
    parser = common.arguments(__doc__)
    parser.set_defaults(device="cuda", budget=110.0)
    parser.add_argument("--genotypes", help="JSON file with the step's children; without it no step is measured")
    parser.add_argument("--only", choices=("ceilings", "compile-warm"), help="this instead of the rows")
    parser.add_argument("--out", type=Path, help="file for the rows so far, written after each row")
    args = parser.parse_args()
    began = time.perf_counter()
    left = lambda: args.budget - (time.perf_counter() - began)
    if is_cuda(args) and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} finds no CUDA device: install a build for this card, or give --device cpu",
              file=sys.stderr)
        return NO_CUDA
    common.setup(args)
    facts = {"torch": torch.__version__, "device": torch.cuda.get_device_name() if is_cuda(args) else "CPU"}
    if args.only == "ceilings":
        print(json.dumps({**facts, **ceilings(args)}))
        return 0
    args.children = read_genotypes(args.genotypes, 0) if args.genotypes else []
    if args.only == "compile-warm":
        # The same as those rows do, in their order; the repetitions that they time are few beside the compilation.
        args.repeats = 1
        for row in rows_in_order():
            if row["way"].startswith("compile"):
                print(json.dumps({**row, **measure(row, args, left(), args.budget)}), flush=True)
        return 0
    report = {**facts, "cudnn": torch.backends.cudnn.version() if is_cuda(args) else None, "rows": []}
    for row in rows_in_order():
        start = time.perf_counter()
        found = measure(row, args, left())
        report["rows"].append({**row, **found, "seconds": round(time.perf_counter() - start, 2)})
        print(json.dumps(report["rows"][-1]), file=sys.stderr, flush=True)
        if args.out:
            write(args.out, report)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
