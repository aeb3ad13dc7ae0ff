"""Helpers for the scripts that make the tables of docs/evidence.md: searches that are resumed, one line of JSON per
finished run, and means with 95 % intervals. Only Python's standard library is needed."""
import argparse
import json
import math
import os
import subprocess
import time

# The 0.975 quantiles of Student's t for 1 to 30 degrees of freedom. Above 30 the quantile of the normal is used.
T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
     2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def arguments(description, jsonl):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parsec", default=os.path.join(ROOT, "target/release/parsec"), help="the program")
    parser.add_argument("--work", default=os.path.join(ROOT, "runs/evidence"), help="folder of the runs")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="seeds, separated by commas")
    parser.add_argument("--arms", default="", help="only these, separated by commas; default: all")
    parser.add_argument("--out", default=os.path.join(ROOT, "docs/evidence", jsonl), help="a line per finished run")
    parser.add_argument("--print", dest="only_print", action="store_true", help="the table of the lines that there are")
    return parser


def search(parsec, folder, flags):
    """The result of the search in `folder`, with its seconds in steps. The search is started or resumed if needed."""
    if not os.path.exists(os.path.join(folder, "result.json")):
        started = os.path.exists(os.path.join(folder, "manifest.json"))
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        command = ["resume", folder] if started else ["search", "--run", folder, *flags]
        subprocess.run([parsec, *command, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "result.json")) as file:
        result = json.load(file)
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        result["seconds_in_steps"] = sum(sum(json.loads(line)["seconds"].values()) for line in file)
    return result


def parsec_json(parsec, *args):
    """The output of the program with --json."""
    out = subprocess.run([parsec, *args, "--json", "--quiet"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


def lines(path):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [json.loads(line) for line in file if line.strip()]


def append(path, line):
    """Adds the line of a finished run in one write, so that the file has no partial line."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    line = {**line, "date": time.strftime("%Y-%m-%d")}
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def mean_sd_half(values):
    """Mean, standard deviation, and half the 95 % interval of the mean. The last two are None for a single value."""
    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return mean, None, None
    sd = math.sqrt(sum((x - mean) ** 2 for x in values) / (n - 1))
    return mean, sd, (T[n - 2] if n - 2 < len(T) else 1.96) * sd / math.sqrt(n)


def shown(values, digits=2):
    """`mean ± half interval`, or the value if there is only one."""
    if not values:
        return "-"
    mean, _, half = mean_sd_half(values)
    return f"{mean:.{digits}f}" if half is None else f"{mean:.{digits}f} ± {half:.{digits}f}"


def paired(a, b):
    """The differences for the seeds that both have, in the order of the seeds."""
    return [a[seed] - b[seed] for seed in sorted(a) if seed in b]


def table(path, key="mean_acc"):
    with open(path) as file:
        found = json.load(file)
    return {name: entry[key] for name, entry in found.items()} if isinstance(found, dict) else found
