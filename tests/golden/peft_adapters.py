"""Golden data for tests/adapter/peft_directory_test.cc: LoRA directories by stock peft, and ours loaded by stock peft.

Run:      python tests/golden/peft_adapters.py       (about fifteen seconds; after train_steps.py, whose tiny model it uses)
Reads:    tests/data/train/tiny-llama, tests/data/adapter/peft/written/{individual,rest_of_world}
Writes:   tests/data/adapter/peft/from_peft, from_peft_rslora, logits.safetensors
Needs:    torch, transformers, peft, safetensors; the versions used are written into the metadata of logits.safetensors.

`written` is what fedalt writes; the test compares its output with those bytes. After a deliberate change of the writer:
    FEDALT_UPDATE_GOLDEN=1 build/tests/adapter_peft_directory_test     and run this script again: it fails if stock peft cannot load them.
"""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
if sys.path and pathlib.Path(sys.path[0]).resolve() == HERE:
    del sys.path[0]  # scripts beside this one are called as the packages that they test

import peft
import safetensors.torch
import torch
import transformers

DATA = HERE.parent / "data"
PEFT = DATA / "adapter" / "peft"
TOKENS = torch.tensor([3, 17, 95, 0, 42, 42, 8, 61, 5, 77, 30])


def base():
    return transformers.LlamaForCausalLM.from_pretrained(DATA / "train" / "tiny-llama", dtype=torch.float32, attn_implementation="eager")


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=TOKENS[None]).logits[0].contiguous()


def by_peft(name, **options):
    torch.manual_seed(4)
    model = peft.get_peft_model(base(), peft.LoraConfig(r=4, lora_alpha=12, lora_dropout=0.1, task_type="CAUSAL_LM", **options))
    for key, parameter in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.2)
    out = logits(model)
    model.peft_config["default"].base_model_name_or_path = "tiny-llama"
    model.save_pretrained(PEFT / name, safe_serialization=True)
    (PEFT / name / "README.md").unlink(missing_ok=True)
    return out


def loaded(name):
    model = peft.PeftModel.from_pretrained(base(), PEFT / "written" / name)
    keys = safetensors.torch.load_file(PEFT / "written" / name / "adapter_model.safetensors").keys()
    state = peft.get_peft_model_state_dict(model)
    assert set(keys) == set(state), "stock peft sees other tensors than the file holds"
    return logits(model)


if __name__ == "__main__":
    out = dict(tokens=TOKENS, base=logits(base()), from_peft=by_peft("from_peft", target_modules=["q_proj", "v_proj"]),
               from_peft_rslora=by_peft("from_peft_rslora", target_modules="all-linear", use_rslora=True))
    for name in ("individual", "rest_of_world"):
        out[name] = loaded(name)
    for name, value in out.items():
        if name not in ("tokens", "base"):
            assert (value - out["base"]).abs().max() > 0.1, f"{name} does nothing"
    versions = {m.__name__: m.__version__ for m in (torch, transformers, peft)}
    safetensors.torch.save_file(out, PEFT / "logits.safetensors", metadata=versions)
