"""Compare the event files of a run with its metrics, as Python's tensorboard reads them.

    pip install tensorboard
    parsec search --tensorboard --run found
    python tests/tensorboard/check_run.py found
"""

import json
import sys
from pathlib import Path

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

# Names in TensorBoard of some columns, in a search and in a training.
NAMES = {
    "train_loss": "loss/train", "train_accuracy": "accuracy/train", "mode_accuracy": "accuracy/val", "ess": "search/ess",
    "loss": "loss/train", "held_out_loss": "loss/val", "held_out_accuracy": "accuracy/val", "lr": "lr",
    "grad_norm": "grad_norm",
}


def main(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    is_search = "ess" in lines[0]
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    n_compared = 0
    for key, tag in NAMES.items():
        wanted = [(line["step"], numpy.float32(line[key])) for line in lines if line.get(key) is not None]
        if not wanted or (is_search and key == "loss"):
            continue
        found = [(point.step, numpy.float32(point.value)) for point in events.Scalars(tag)]
        assert found == wanted, f"{tag}: {len(found)} points, {len(wanted)} in the metrics, or other numbers"
        n_compared += 1
    times = [point.wall_time for point in events.Scalars("lr")]
    assert times == sorted(times), "times that go back"
    pictures = {"architecture", "prior", "prior_network"} if "prior" in tags["images"] else {"architecture"}
    assert set(tags["images"]) == pictures, tags["images"]
    for tag in pictures:
        picture = events.Images(tag)[-1]
        assert picture.encoded_image_string.startswith(b"\x89PNG") and picture.step == lines[-1]["step"], tag
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(start).session_start_info.hparams
    config = json.loads((run / "manifest.json").read_text())["config"]
    assert settings["seed"].number_value == config["seed"] and settings["data"].string_value == config["data"]
    print(f"{n_compared} curves of {len(lines)} steps, {len(pictures)} pictures, {len(settings)} settings: equal")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
