"""TensorBoard event files by TensorBoard's own writer, for tests/run/tensorboard_test.cc; and its own readers on files of ours.

Run:      python tests/golden/tensorboard_events.py                  (a second; makes the data)
          python tests/golden/tensorboard_events.py RUN_DIRECTORY    (reads the run's event files with TensorBoard, compares
                                                                      every scalar with metrics.jsonl)
Writes:   tests/data/tensorboard/metrics.jsonl (lines like those of a run), SITE.tfevents, VERSIONS.json
Needs:    the PyPI package tensorboard, without tensorflow

An event's wall time is its round in seconds, as ours; the writer's own first event (version of the format) has time 0 here.
"""
import importlib.metadata
import json
import pathlib
import random
import struct
import sys
import tempfile
import unittest.mock

from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "tensorboard"
# tag: where it stands in a line of metrics.jsonl (docs/metrics.md)
TAGS = {"train/loss": "train_loss", "train/tokens_per_s": "tokens_per_s", "test/loss": "loss", "test/rouge1": "rouge1",
        "test/rouge2": "rouge2", "test/rougeL": "rougeL", "test/exact_match": "exact_match", "validation/loss": "validation_loss",
        "gain_from_others/loss": "gain_from_others.loss", "gain_from_others/rouge1": "gain_from_others.rouge1",
        "gain_from_others/exact_match": "gain_from_others.exact_match", "mixer/mean_individual_weight": "mean_individual_weight",
        "bytes/up": "bytes_up", "bytes/down": "bytes_down"}


def scalars(line):
    """(tag, value) of what was measured."""
    for tag, path in TAGS.items():
        value = line
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            yield tag, value


def make_lines():
    rng = random.Random(7)
    lines = []
    for round_number in (1, 2, 3, 127, 128, 300):  # steps of one and of two bytes
        for site in ("site-0", "osaka", "mean"):
            evaluated, whole = round_number != 2, site != "mean"
            score = lambda: rng.random() if evaluated else None
            lines.append({
                "round": round_number, "site": site, "participated": True,
                "train_loss": None if site == "osaka" else 5 * rng.random(), "train_steps": 12,
                "tokens_per_s": 1e4 * rng.random(), "bytes_up": 29360128 + round_number if whole else 2.5e7,
                "bytes_down": 2**33 + 1 if whole else 0.1, "deployed": "before_swap", "loss": score(), "rouge1": score(),
                "rouge2": 0.0 if evaluated else None, "rougeL": score(), "exact_match": score(), "validation_loss": score(),
                "by_tag": {'a "site":"mean" b': {"loss": 1.0}}, "mean_individual_weight": 0.5,
                "gain_from_others": {"loss": -rng.random(), "rouge1": None, "exact_match": 1e-39} if evaluated else None})
    for name in ("site-0", "osaka", "mean"):  # nothing measured: no event
        lines.append({"round": 301, "site": name, "train_loss": None, "gain_from_others": None})
    return lines


def make():
    OUT.mkdir(parents=True, exist_ok=True)
    lines = make_lines()
    (OUT / "metrics.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    for site in ("site-0", "osaka", "mean"):
        with tempfile.TemporaryDirectory() as folder:
            with unittest.mock.patch("tensorboard.summary.writer.event_file_writer.time.time", lambda: 0.0):
                writer = EventFileWriter(folder)
            for line in lines:
                values = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(line)]
                if line["site"] == site and values:
                    summary = summary_pb2.Summary(value=values)
                    writer.add_event(event_pb2.Event(wall_time=line["round"], step=line["round"], summary=summary))
            writer.close()
            [file] = pathlib.Path(folder).iterdir()
            (OUT / f"{site}.tfevents").write_bytes(file.read_bytes())
    versions = {name: importlib.metadata.version(name) for name in ("tensorboard", "protobuf")}
    (OUT / "VERSIONS.json").write_text(json.dumps(versions) + "\n")


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def check(run):
    """Every scalar of metrics.jsonl is in the files, once, in order, and nothing else is."""
    wanted = {}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    sites = {line["site"] for line in lines}
    for line in lines:
        if len(sites) - 1 <= 64 or line["site"] == "mean":
            for tag, value in scalars(line):
                wanted.setdefault(line["site"], {}).setdefault(tag, []).append((line["round"], float32(value)))
    found = {}
    for folder in sorted((run / "tensorboard").iterdir()):
        [file] = folder.iterdir()
        loader = event_file_loader.EventFileLoader(str(file))
        assert next(iter(loader.Load())).file_version == "brain.Event:2"
        accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={event_accumulator.SCALARS: 0})
        accumulator.Reload()
        found[folder.name] = {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}
    assert found == wanted, "TensorBoard reads other scalars than metrics.jsonl has"
    count = sum(len(values) for tags in found.values() for values in tags.values())
    print(f"{run}: {count} scalars in {len(found)} files, all as in metrics.jsonl")


if len(sys.argv) > 1:
    check(pathlib.Path(sys.argv[1]))
else:
    make()
