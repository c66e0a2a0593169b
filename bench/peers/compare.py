"""Runs fedalt and the peer in turn on one workload, and says what each needed.

    python compare.py --fedalt build/fedalt --work build/peers --out build/peers.json [--quick] [--times 3] [--tune]

Wall time and processor time are both recorded: on a machine that does other work the second one says more.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
# Prompts at once in fedalt's beam search: the fastest of 8, 16 and 32 here.
FEDALT_EVAL_BATCH = 32
# The peer's best settings; README.md says how they were found.
PEER = ["--dtype=bfloat16", "--sort-by-length", "--eval-batch-size=8"]
# What PyTorch's own guide to CPUs reaches with another allocator: freed memory stays with the process. fedalt does it by itself.
PEER_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(16 << 30), "MALLOC_TOP_PAD_": str(64 << 20)}


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def execute(command, log, environment=None, watch=None):
    """Runs a process to its end. `watch` is called with its id about every 20 ms."""
    start = time.perf_counter()
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | (environment or {}))
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG if watch else 0)
        if pid:
            break
        watch(process.pid)
        time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"compare: {command[0]} ended with {process.returncode}; see {log}\n{pathlib.Path(log).read_text()[-2000:]}")
    return {
        "process_seconds": time.perf_counter() - start,
        "process_cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss / 1024,
    }


# fedalt


def fedalt_config(work, spec, threads, changes):
    data = work / "workload"
    config = {
        "model": str(data / "model"),
        "data": {"train": str(data / "train_{site}.jsonl"), "test": str(data / "test_{site}.jsonl")},
        "sites": spec["sites"],
        "preset": "paper",
        "adapter": {k: spec[k] for k in ("r", "lora_alpha", "lora_dropout", "target_modules")},
        "train": {k: spec[k] for k in ("rounds", "local_epochs", "batch_size", "lr", "weight_decay", "max_grad_norm", "max_length")},
        "eval": {"every": 0, "beams": spec["beams"], "max_new_tokens": spec["max_new_tokens"], "batch_size": FEDALT_EVAL_BATCH,
                 "ablations": "off"},
        "seed": spec["seed"], "threads": threads, "sites_at_once": 1,
    }  # fmt: skip
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    return config


class Phases:
    """When fedalt's phases end, read off the files that it leaves; with the time on processors that it had used by then."""

    def __init__(self, run, sites, rounds):
        self.run, self.last = run, f"{rounds:03d}"
        self.pending = [
            ("rounds_before", lambda: self.journal_lines() >= (rounds - 1) * (sites + 1)),
            ("train", lambda: self.journal_lines() >= (rounds - 1) * (sites + 1) + sites),
            ("before_swap", lambda: (run / "rounds" / self.last / "published.safetensors").exists()),
            ("after_swap", lambda: (run / "predictions" / self.last).exists()),
        ]
        self.ends = {}

    def journal_lines(self):
        journal = self.run / "journal.jsonl"
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    def __call__(self, pid):
        while self.pending and self.pending[0][1]():
            self.ends[self.pending.pop(0)[0]] = (time.perf_counter(), cpu_seconds(pid))

    def between(self, first, second):
        return [b - a for a, b in zip(self.ends[first], self.ends[second])]


def run_fedalt(options, spec, name, **changes):
    directory = options.work / name
    shutil.rmtree(directory, ignore_errors=True)
    config = options.work / f"{name}.yaml"
    config.write_text(json.dumps(fedalt_config(options.work, spec, options.threads, changes)))  # JSON is YAML
    phases = Phases(directory, spec["sites"], changes.get("train.rounds", spec["rounds"]))
    command = [str(options.fedalt), "run", str(config), "--out", str(directory), "--format", "json"]
    result = execute(command, options.work / f"{name}.log", watch=phases)
    reports = [line["report"] for line in read_lines(directory / "journal.jsonl") if line["event"] == "site"][-spec["sites"] :]
    metrics = [m for m in read_lines(directory / "metrics.jsonl") if m["site"] != "mean"][-spec["sites"] :]
    answers = [json.loads(line) for path in sorted((directory / "predictions").glob("*/*.jsonl")) for line in open(path)]
    result |= json.loads((directory / "environment.json").read_text())
    result["tokens"] = sum(r["tokens"] for r in reports)
    result["steps"] = sum(r["steps"] for r in reports)
    result["train_seconds"] = sum(r["seconds"] for r in reports)
    result["first_losses"] = [r["first_loss"] for r in reports]
    result["last_losses"] = [r["last_loss"] for r in reports]
    result["losses"] = [[m[when]["loss"] for m in metrics] for when in ("before_swap", "after_swap")]
    result["answers"] = [a["prediction"] for a in answers]
    # Answers of the deployed model are kept, and the evaluation after the swap generates as many.
    result["generated_tokens"] = 2 * sum(len(a["prediction"].split()) for a in answers)
    if phases.pending:
        sys.exit(f"compare: {directory} ended without the phase {phases.pending[0][0]}")
    result["train_cpu_seconds"] = phases.between("rounds_before", "train")[1]
    result["evaluation_seconds"], result["evaluation_cpu_seconds"] = phases.between("train", "after_swap")
    result["round_seconds"], result["round_cpu_seconds"] = phases.between("rounds_before", "after_swap")
    result["aggregation_seconds"] = aggregation_seconds(directory, spec)
    return result


def aggregation_seconds(directory, spec):
    """From the last file of the last site to the sum's file, in a round without evaluation: so it is with writing the sum."""
    round_1 = directory / "rounds/001"
    last_site = max(path.stat().st_mtime for k in range(spec["sites"]) for path in (round_1 / f"site-{k}").rglob("*.safetensors"))
    return (round_1 / "published.safetensors").stat().st_mtime - last_site


# the peer


def run_peer(options, spec, name, *arguments):
    out = options.work / f"{name}.json"
    command = [sys.executable, str(HERE / "peer.py"), str(options.work / "workload")]
    command += [f"--threads={options.threads}", "--out", str(out)]
    result = execute(command + list(arguments), options.work / f"{name}.log", PEER_ENVIRONMENT)
    report = json.loads(out.read_text())
    last = report.pop("rounds")[-1]
    evaluations = [last["before_swap"], last["after_swap"]]
    result |= report
    result["tokens"] = sum(t["tokens"] for t in last["train"])
    result["tokens_with_padding"] = sum(t["tokens_with_padding"] for t in last["train"])
    result["steps"] = sum(t["steps"] for t in last["train"])
    result["first_losses"] = [t["first_loss"] for t in last["train"]]
    result["last_losses"] = [t["last_loss"] for t in last["train"]]
    result["losses"] = [[site["loss"] for site in e["sites"]] for e in evaluations]
    result["answers"] = [answer for site in evaluations[0]["sites"] for answer in site["answers"]]
    result["generated_tokens"] = sum(site["generated_tokens"] for e in evaluations for site in e["sites"])
    for kind in ("seconds", "cpu_seconds"):
        result[f"train_{kind}"] = last[f"train_{kind}"]
        result[f"evaluation_{kind}"] = sum(e[kind] for e in evaluations)
        result[f"round_{kind}"] = last[kind]
    result["aggregation_seconds"] = last["aggregation_seconds"]
    return result


TRAINING = {
    "float32": ["--dtype=float32"],
    "bfloat16 base": [],
    "bfloat16 base, autocast adapters": ["--autocast"],
    "sorted by length": ["--sort-by-length"],
    "sorted, gate first": ["--sort-by-length", "--gate-first"],
    "sorted, gate first, autocast": ["--sort-by-length", "--gate-first", "--autocast"],
    "sorted, gate first, compiled": ["--sort-by-length", "--gate-first", "--compile"],
    "sorted, head on responses": ["--sort-by-length", "--head-on-responses"],
    "sorted, head on responses, gate first": ["--sort-by-length", "--head-on-responses", "--gate-first"],
    "sorted, head on responses, gate first, autocast": ["--sort-by-length", "--head-on-responses", "--gate-first", "--autocast"],
    "sorted, head on responses, gate first, float32": ["--sort-by-length", "--head-on-responses", "--gate-first", "--dtype=float32"],
    "sorted, head on responses, gate first, compiled": ["--sort-by-length", "--head-on-responses", "--gate-first", "--compile"],
}
GENERATION = {
    "bfloat16, 8 prompts at once": ["--eval-batch-size=8"],
    "bfloat16, 16": ["--eval-batch-size=16"],
    "bfloat16, 32": ["--eval-batch-size=32"],
    "bfloat16, 16, gate first": ["--eval-batch-size=16", "--gate-first"],
    "bfloat16, 16, autocast adapters": ["--eval-batch-size=16", "--autocast"],
    "float32, 16": ["--eval-batch-size=16", "--dtype=float32"],
}


def tune(options):
    """The peer alone with each of its settings."""
    spec = make_workload(options, *(["--quick"] if options.quick else []), "--set", options.set)
    out = options.work / "tune.json"
    result = {"machine": machine(options.threads), "workload": spec, "training": {}, "evaluation": {}}
    for kind, variants in (("training", TRAINING), ("evaluation", GENERATION)):
        for label, arguments in variants.items():
            command = [sys.executable, str(HERE / "peer.py"), str(options.work / "workload"), f"--threads={options.threads}",
                       "--out", str(out), *arguments]  # fmt: skip
            # For the evaluation training is there only to have adapters.
            command += ["--rounds=2", "--no-evaluation"] if kind == "training" else ["--rounds=1", "--sort-by-length"]
            memory = execute(command, options.work / "tune.log", PEER_ENVIRONMENT)["peak_memory_mb"]
            last = json.loads(out.read_text())["rounds"][-1]
            if kind == "training":
                units, name = sum(t["tokens"] for t in last["train"]), "tokens"
                wall, cpu = last["train_seconds"], last["train_cpu_seconds"]
            else:
                units, name = sum(site["generated_tokens"] for site in last["before_swap"]["sites"]), "generated tokens"
                wall, cpu = last["before_swap"]["seconds"], last["before_swap"]["cpu_seconds"]
            result[kind][label] = {"units": units, "seconds": wall, "cpu_seconds": cpu, "peak_memory_mb": memory}
            print(f"{kind}: {label:48} {number(units / wall):>6} {name}/s, {number(units / cpu):>6} per processor second, {memory:.0f} MB",
                  flush=True)  # fmt: skip
    options.out.with_name("peers-tune.json").write_text(json.dumps(result, indent=1) + "\n")


# both


def make_workload(options, *arguments):
    command = [sys.executable, str(HERE / "workload.py"), str(options.work / "workload"), *arguments]
    execute(command, options.work / "workload.log")
    return json.loads((options.work / "workload/workload.json").read_text())


def check(options):
    """Both sides from the same adapters, on one batch per site, in float32, without dropout: every loss has to agree.

    fedalt's first values are read from a run whose learning rate is too small to change a bit."""
    values = {"train_examples": 8, "test_examples": 8, "lora_dropout": 0.0, "local_epochs": 6, "lr": 1e-2, "max_new_tokens": 8}
    spec = make_workload(options, "--quick", "--dtype=float32", "--set", json.dumps(values))
    nothing = {"train.lr": 1e-30, "train.weight_decay": 0.0, "train.rounds": 1, "eval.generate": False, "preset": "paper"}
    start = options.work / "check-start"
    shutil.rmtree(start, ignore_errors=True)
    config = options.work / "check-start.yaml"
    config.write_text(json.dumps(fedalt_config(options.work, spec, options.threads, nothing)))
    execute([str(options.fedalt), "run", str(config), "--out", str(start), "--quiet"], options.work / "check-start.log")
    ours = run_fedalt(options, spec, "check-fedalt")
    outcome = {}
    for label, arguments in {"as PEFT": [], "best settings": [a for a in PEER if "dtype" not in a]}.items():
        peer = run_peer(options, spec, "check-peer", "--dtype=float32", f"--init={start}", *arguments)
        pairs = []
        for name in ("first_losses", "last_losses"):
            pairs += zip(ours[name], peer[name])
        for a, b in zip(ours["losses"], peer["losses"]):
            pairs += zip(a, b)
        outcome[label] = {
            "losses compared": len(pairs),
            "largest difference": max(abs(a - b) for a, b in pairs),
            "first, last, test before and after the swap, fedalt and peer": pairs,
            "equal answers of 4 beams": sum(a == b for a, b in zip(ours["answers"], peer["answers"])),
            "answers": len(ours["answers"]),
        }
        print(f"check ({label}): {len(pairs)} losses of the second round differ by at most {outcome[label]['largest difference']:.1e};",
              f"{outcome[label]['equal answers of 4 beams']} of {len(ours['answers'])} answers are equal", file=sys.stderr)  # fmt: skip
        if outcome[label]["largest difference"] > 1e-3:
            sys.exit("compare: the two sides do not compute the same")
    return outcome


def same_work(ours, peer, spec):
    for name in ("tokens", "steps", "generated_tokens"):
        if ours[name] != peer[name]:
            sys.exit(f"compare: the sides do not do the same work: {name} {ours[name]} and {peer[name]}")
    expected = 2 * spec["sites"] * spec["test_examples"] * spec["max_new_tokens"]
    if ours["generated_tokens"] != expected:
        sys.exit(f"compare: {ours['generated_tokens']} tokens were generated, {expected} expected")


FIGURES = [  # name, unit, value, more is better
    ("training", "tokens/s", lambda r: r["tokens"] / r["train_seconds"], True),
    ("training", "tokens per processor second", lambda r: r["tokens"] / r["train_cpu_seconds"], True),
    ("evaluation", "s", lambda r: r["evaluation_seconds"], False),
    ("evaluation", "processor s", lambda r: r["evaluation_cpu_seconds"], False),
    ("evaluation", "generated tokens/s", lambda r: r["generated_tokens"] / r["evaluation_seconds"], True),
    ("aggregation", "ms", lambda r: 1e3 * r["aggregation_seconds"], False),
    ("whole round", "s", lambda r: r["round_seconds"], False),
    ("whole round", "processor s", lambda r: r["round_cpu_seconds"], False),
    ("peak memory", "MB", lambda r: r["peak_memory_mb"], False),
]


def summarize(runs):
    table = []
    for name, unit, value, more in FIGURES:
        row = {"name": name, "unit": unit}
        for side, results in runs.items():
            values = [value(r) for r in results]
            row[side] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        ours, peer = row["fedalt"]["median"], row["peer"]["median"]
        # Times of files have the resolution of the kernel's clock: a sum of a few megabytes can be below it.
        row["ratio"] = None if ours == 0 else ours / peer if more else peer / ours
        table.append(row)
    return table


def number(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_table(table):
    print(f"{'':40}  {'fedalt (least..most)':>26}  {'peer (least..most)':>26}  fedalt is better by")
    for row in table:
        cells = [f"{number(row[s]['median'])} ({number(row[s]['min'])}..{number(row[s]['max'])})" for s in ("fedalt", "peer")]
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        print(f"{row['name'] + ', ' + row['unit']:40}  {cells[0]:>26}  {cells[1]:>26}  {ratio}")


def machine(threads):
    cpu = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    return {
        "cpu": cpu, "cores": len(os.sched_getaffinity(0)), "avx512_bf16": " avx512_bf16" in flags, "threads": threads,
        "system": platform.platform(), "load_average_before": os.getloadavg(),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fedalt", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="for the workload and the runs; about 150 MB")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; its times mean nothing")
    parser.add_argument("--times", type=int, help="runs of each side (default 3, with --quick 1)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--set", default="{}", help='other sizes, as {"train_examples": 32}; see workload.py')
    parser.add_argument("--tune", action="store_true", help="only the peer, with each of its settings")
    parser.add_argument("--peer", default=" ".join(PEER), help="the peer's settings, see peer.py (default: %(default)s)")
    parser.add_argument("--no-check", action="store_true", help="do not compare losses first")
    options = parser.parse_args()
    if not os.access(options.fedalt, os.X_OK):
        sys.exit(f"compare: there is no program {options.fedalt}; build it with ./dev build")
    options.fedalt, options.work = options.fedalt.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.tune:
        return tune(options)
    settings = options.peer.split()
    result = {"machine": machine(options.threads)}
    if not options.no_check:
        result["check"] = check(options)
    spec = make_workload(options, *(["--quick"] if options.quick else []), "--set", options.set)
    result["workload"] = spec
    runs = {"fedalt": [], "peer": []}
    times = options.times or (1 if options.quick else 3)
    for i in range(1, times + 1):
        runs["fedalt"].append(run_fedalt(options, spec, "fedalt"))
        runs["peer"].append(run_peer(options, spec, "peer", f"--eval-batch-size={spec['eval_batch_size']}", *settings))
        same_work(runs["fedalt"][-1], runs["peer"][-1], spec)
        seconds = [runs[side][-1]["round_seconds"] for side in ("fedalt", "peer")]
        print(f"run {i} of {times}: whole round {seconds[0]:.1f} s and {seconds[1]:.1f} s", file=sys.stderr)
        for side in runs.values():
            side[-1].pop("answers")
    result["machine"]["load_average_after"] = os.getloadavg()
    ours, peer = runs["fedalt"][-1], runs["peer"][-1]
    result |= {"peer_settings": settings, "peer_environment": PEER_ENVIRONMENT, "runs": runs, "table": summarize(runs)}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    m = result["machine"]
    print(f"{m['cpu']}, {m['cores']} cores, load {m['load_average_before'][0]:.1f} before and {m['load_average_after'][0]:.1f} after")
    print(f"fedalt: {ours['dtype']}, {ours['threads']} threads; peer: torch {peer['torch']}, transformers {peer['transformers']}, "
          f"{peer['dtype']}, {peer['threads']} threads, {options.peer}")  # fmt: skip
    print(f"second of {spec['rounds']} rounds: {spec['sites']} sites, {ours['tokens']} tokens in {ours['steps']} steps, "
          f"{ours['generated_tokens']} tokens generated with {spec['beams']} beams; {times} runs of each side, in turn")  # fmt: skip
    print_table(result["table"])


if __name__ == "__main__":
    main()
