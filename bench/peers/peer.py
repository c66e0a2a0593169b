"""The same rounds with Hugging Face transformers and the FedALT layer as a module of PyTorch, the way PEFT writes its LoRA layers.

    python peer.py WORKLOAD --out result.json [options]      WORKLOAD: a directory that workload.py wrote

Each option is a setting that may make it faster; README.md says which ones did.
"""

import argparse
import contextlib
import json
import pathlib
import random
import time

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import nn


class Clock:
    """Seconds since it was made: of the wall, and of this process on all cores."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def write(self, result, name):
        result[f"{name}seconds"] = time.perf_counter() - self.wall
        result[f"{name}cpu_seconds"] = time.process_time() - self.cpu


class FedaltLinear(nn.Module):
    """y = W0 x + s ( p_I B_I A_I x'  +  p_R B_R A_R x' ),  p = softmax(G x),  x' = dropout(x)."""

    def __init__(self, base, spec, gate_first):
        super().__init__()
        self.base, self.gate_first = base, gate_first
        self.scale = spec["lora_alpha"] / spec["r"]
        self.dropout = nn.Dropout(spec["lora_dropout"])
        d_in, d_out, r = base.in_features, base.out_features, spec["r"]
        self.a_i, self.b_i = nn.Parameter(torch.zeros(r, d_in)), nn.Parameter(torch.zeros(d_out, r))
        self.a_r, self.b_r = (nn.Parameter(torch.zeros(s), requires_grad=False) for s in ((r, d_in), (d_out, r)))
        self.mixer = nn.Parameter(torch.zeros(2, d_in))
        self.weights = None  # mean p_I of the calls since it was set to []

    def forward(self, x):
        y = self.base(x)
        x = x.to(self.a_i.dtype)
        p = F.softmax(F.linear(x, self.mixer).float(), dim=-1)
        if self.weights is not None:
            self.weights.append(p[..., 0].mean())
        dropped = self.dropout(x)
        u_i, u_r = F.linear(dropped, self.a_i), F.linear(dropped, self.a_r)
        if self.gate_first:  # the same by linearity, on r columns instead of d_out
            p = (self.scale * p).to(u_i.dtype)
            delta = F.linear(p[..., :1] * u_i, self.b_i) + F.linear(p[..., 1:] * u_r, self.b_r)
        else:
            delta = self.scale * (p[..., :1] * F.linear(u_i, self.b_i) + p[..., 1:] * F.linear(u_r, self.b_r))
        return y + delta.to(y.dtype)


class Peer:
    def __init__(self, options):
        self.options = options
        self.root = options.workload
        self.spec = json.loads((self.root / "workload.json").read_text())
        if options.dropout is not None:
            self.spec["lora_dropout"] = options.dropout
        for name in ("local_epochs", "lr"):
            if getattr(options, name) is not None:
                self.spec[name] = getattr(options, name)
        torch.manual_seed(self.spec["seed"])
        self.model = transformers.LlamaForCausalLM.from_pretrained(
            self.root / "model", dtype=getattr(torch, options.dtype), attn_implementation="sdpa"
        )
        self.model.requires_grad_(False)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.root / "model")
        self.adapted = {}
        for name, module in list(self.model.named_modules()):
            parent, _, last = name.rpartition(".")
            if last in self.spec["target_modules"]:
                self.adapted[name] = FedaltLinear(module, self.spec, options.gate_first)
                setattr(self.model.get_submodule(parent), last, self.adapted[name])
        self.forward = torch.compile(self.model, dynamic=True) if options.compile else self.model
        self.cast = (lambda: torch.autocast("cpu", torch.bfloat16)) if options.autocast else contextlib.nullcontext
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.sites = [self.load_site(k) for k in range(self.spec["sites"])]

    # Sites: their examples, and the state of their adapters while another one is in the model.

    def load_site(self, k):
        site = {"name": f"site-{k}", "train": self.read("train", k), "test": self.read("test", k)}
        # As published, each site draws its own first adapters and mixer.
        generator = torch.Generator().manual_seed(1000 * (self.spec["seed"] + 1) + k)
        with torch.no_grad():
            for name, parameter in self.state().items():
                if name.endswith((".a_i", ".a_r", ".mixer")):
                    bound = parameter.shape[1] ** -0.5
                    parameter.uniform_(-bound, bound, generator=generator)
        site["state"] = self.take()
        if self.options.init:
            site["state"] = self.read_checkpoint(self.options.init / f"rounds/001/{site['name']}")
        return site

    def read(self, kind, k):
        examples = []
        for line in open(self.root / f"{kind}_{k}.jsonl"):
            example = json.loads(line)
            text = f"### Instruction:\n{example['instruction']}\n\n### Response:\n"
            prompt = self.tokenizer.encode(text)
            ids = self.tokenizer.encode(text + example["output"]) + [self.tokenizer.eos_token_id]
            assert ids[: len(prompt)] == prompt and len(ids) <= self.spec["max_length"]
            examples.append((ids, len(prompt)))
        return examples

    def state(self):
        return {f"{n}.{p}": getattr(m, p) for n, m in self.adapted.items() for p in ("a_i", "b_i", "a_r", "b_r", "mixer")}

    def put(self, state):
        with torch.no_grad():
            for name, parameter in self.state().items():
                parameter.copy_(state[name])

    def take(self):
        return {name: p.detach().clone() for name, p in self.state().items()}

    def read_checkpoint(self, directory):
        """The adapters that `fedalt run` wrote for a site."""
        individual = load_file(directory / "individual/adapter_model.safetensors")
        mixer = load_file(directory / "mixer.safetensors")
        file = directory / "rest_of_world/adapter_model.safetensors"
        others = load_file(file) if file.exists() else {}
        state = self.take()
        for name in self.adapted:
            for own, (source, factor) in {
                "a_i": (individual, "lora_A"), "b_i": (individual, "lora_B"), "a_r": (others, "lora_A"), "b_r": (others, "lora_B")
            }.items():  # fmt: skip
                if source:
                    state[f"{name}.{own}"] = source[f"base_model.model.{name}.{factor}.weight"]
            state[f"{name}.mixer"] = next(t for key, t in mixer.items() if name in key)
        return state

    # Training.

    def batches(self, examples, draw):
        order = list(range(len(examples)))
        draw.shuffle(order)
        size = self.spec["batch_size"]
        if not self.options.sort_by_length:
            return [[examples[i] for i in order[b : b + size]] for b in range(0, len(order), size)]
        # As Trainer's group_by_length: sorted in the whole epoch, which is small here; the batches then in random order.
        order.sort(key=lambda i: len(examples[i][0]))
        batches = [[examples[i] for i in order[b : b + size]] for b in range(0, len(order), size)]
        draw.shuffle(batches)
        return batches

    def collate(self, batch, left=False):
        """Padded to the longest; labels only on the response."""
        longest = max(len(ids) for ids, _ in batch)
        ids, mask, labels = (torch.full((len(batch), longest), fill) for fill in (self.tokenizer.pad_token_id, 0, -100))
        for row, (tokens, prompt) in enumerate(batch):
            first = longest - len(tokens) if left else 0
            ids[row, first : first + len(tokens)] = torch.tensor(tokens)
            mask[row, first : first + len(tokens)] = 1
            labels[row, first + prompt : first + len(tokens)] = torch.tensor(tokens[prompt:])
        return ids, mask, labels

    def loss(self, batch):
        """transformers' own loss: the mean over the response tokens of the batch."""
        if not self.options.head_on_responses:
            ids, mask, labels = self.collate(batch)
            return self.forward(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        # Padded on the left all responses end in the last column, and logits_to_keep spares the head most of the prompts.
        ids, mask, labels = self.collate(batch, left=True)
        positions = (mask.cumsum(1) - 1).clamp_(min=0)
        keep = max(len(tokens) - prompt for tokens, prompt in batch) + 1
        logits = self.forward(
            input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep, use_cache=False
        ).logits
        return self.model.loss_function(logits=logits, labels=labels[:, -keep:], vocab_size=self.model.config.vocab_size)

    def train(self, site, round_number):
        spec = self.spec
        self.model.train()
        draw = random.Random(f"{spec['seed']} {site['name']} {round_number}")
        batches = [batch for _ in range(spec["local_epochs"]) for batch in self.batches(site["train"], draw)]
        optimizer = torch.optim.AdamW(self.trained, lr=spec["lr"], weight_decay=spec["weight_decay"], fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
        losses = []
        for batch in batches:
            with self.cast():
                loss = self.loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.trained, spec["max_grad_norm"])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
        return {
            "steps": len(batches),
            "examples": sum(len(batch) for batch in batches),
            # As fedalt counts them: the last token of an example is only predicted.
            "tokens": sum(len(ids) - 1 for batch in batches for ids, _ in batch),
            "tokens_with_padding": sum(len(batch) * max(len(ids) for ids, _ in batch) for batch in batches),
            "first_loss": losses[0],
            "last_loss": losses[-1],
        }

    # Aggregation: the mean of the others, by one sum from which each takes its own.

    def aggregate(self):
        for own, others in (("a_i", "a_r"), ("b_i", "b_r")):
            for name in self.adapted:
                total = torch.stack([site["state"][f"{name}.{own}"] for site in self.sites]).sum(0)
                for site in self.sites:
                    site["state"][f"{name}.{others}"] = (total - site["state"][f"{name}.{own}"]) / (len(self.sites) - 1)

    # Evaluation.

    def groups(self, examples, size):
        order = sorted(range(len(examples)), key=lambda i: len(examples[i][0]), reverse=True)
        return [order[b : b + size] for b in range(0, len(order), size)]

    @torch.inference_mode()
    def test_loss(self, examples):
        total, count = 0.0, 0
        for group in self.groups(examples, self.options.eval_batch_size):
            batch = [examples[i] for i in group]
            responses = sum(len(ids) - prompt for ids, prompt in batch)
            with self.cast():
                total += self.loss(batch).item() * responses
            count += responses
        return total / count

    @torch.inference_mode()
    def generate(self, examples):
        prompts = [(ids[:prompt], prompt) for ids, prompt in examples]
        answers = [None] * len(prompts)
        for group in self.groups(prompts, self.options.eval_batch_size):
            ids, mask, _ = self.collate([prompts[i] for i in group], left=True)
            with self.cast():
                out = self.model.generate(
                    input_ids=ids, attention_mask=mask, num_beams=self.spec["beams"], do_sample=False, early_stopping=False,
                    max_new_tokens=self.spec["max_new_tokens"], use_cache=True, **self.options.generate,
                )  # fmt: skip
            for i, answer in zip(group, out[:, ids.shape[1] :].tolist()):
                answers[i] = answer
        return answers

    def evaluate(self):
        self.model.eval()
        result = {"sites": []}
        clock = Clock()
        for site in self.sites:
            self.put(site["state"])
            for module in self.adapted.values():
                module.weights = []
            loss = self.test_loss(site["test"])
            weights = [w for module in self.adapted.values() for w in module.weights]
            for module in self.adapted.values():
                module.weights = None
            texts = self.tokenizer.batch_decode(self.generate(site["test"]), skip_special_tokens=True)
            result["sites"].append({
                "loss": loss,
                "mean_individual_weight": torch.stack(weights).mean().item(),
                "generated_tokens": sum(len(text.split()) for text in texts),
                "answers": texts,
            })  # fmt: skip
        clock.write(result, "")
        return result

    # Rounds.

    def warm_up(self):
        """What is loaded, compiled or chosen at first use is not part of a round."""
        site = self.sites[0]
        self.put(site["state"])
        self.model.eval()  # without dropout, so that no random number is spent
        if self.options.compile:
            self.model.train()
        for batch in self.batches(site["train"], random.Random(0))[:2]:
            with self.cast():
                self.loss(batch).backward()
        for parameter in self.trained:
            parameter.grad = None
        if not self.options.no_evaluation:
            self.model.eval()
            self.generate(site["test"][:2])

    def run_round(self, number, last):
        clock = Clock()
        result = {"round": number, "train": []}
        for site in self.sites:
            self.put(site["state"])
            result["train"].append(self.train(site, number))
            site["state"] = self.take()
        clock.write(result, "train_")
        if last and not self.options.no_evaluation:
            result["before_swap"] = self.evaluate()
        aggregation = Clock()
        self.aggregate()
        aggregation.write(result, "aggregation_")
        if last and not self.options.no_evaluation:
            result["after_swap"] = self.evaluate()
        for site in self.sites:
            save_file(site["state"], self.options.out.with_suffix(f".{site['name']}.safetensors"))
        clock.write(result, "")
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, help="default: the workload's")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="of the frozen base; adapters are float32")
    parser.add_argument("--autocast", action="store_true", help="the adapters' products in bfloat16 too, by torch.autocast")
    parser.add_argument("--sort-by-length", action="store_true", help="examples of like length in one training batch")
    parser.add_argument("--head-on-responses", action="store_true", help="left padding and logits_to_keep in training")
    parser.add_argument("--gate-first", action="store_true", help="the mixer's weight before B instead of after it")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model for training")
    parser.add_argument("--eval-batch-size", type=int, default=16)
    parser.add_argument("--generate", type=json.loads, default={}, help="more arguments of generate(), as JSON")
    parser.add_argument("--no-evaluation", action="store_true")
    parser.add_argument("--init", type=pathlib.Path, help="start from the adapters that a fedalt run wrote in its first round")
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--local-epochs", type=int)
    parser.add_argument("--lr", type=float)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    peer = Peer(options)
    peer.warm_up()
    count = options.rounds or peer.spec["rounds"]
    rounds = [peer.run_round(number, number == count) for number in range(1, count + 1)]
    result = {
        "torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads(),
        "dtype": options.dtype, "rounds": rounds,
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
