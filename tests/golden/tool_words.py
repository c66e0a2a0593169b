"""Writes tests/data/tools/words.json: every setting that other tools know, read from their released packages.

    pip download --no-deps -d WHEELS transformers==5.24.0 peft==0.21.2 trl==1.16.0 axolotl==0.19.0 llamafactory==0.9.5 \
        torchtune==0.6.1 flwr==1.42.0
    python3 tests/golden/tool_words.py WHEELS

The packages are only parsed, never imported: dataclass and pydantic fields, arguments of constructors, keys of a recipe.
"""
import ast
import json
import pathlib
import re
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent

# tool -> (package, files whose class fields count, classes whose constructor arguments count, recipe)
SOURCES = {
    "transformers": ("transformers", [r"transformers/training_args(_seq2seq)?\.py"], {}, None),
    "peft": ("peft", [r"peft/tuners/lora/config\.py", r"peft/config\.py"], {}, None),
    "trl": ("trl", [r"trl/trainer/sft_config\.py", r"trl/trainer/model_config\.py", r"trl/scripts/utils\.py"], {}, None),
    "axolotl": ("axolotl", [r"axolotl/utils/schemas/[a-z_]+\.py"], {}, None),
    "llama_factory": ("llamafactory", [r"llamafactory/hparams/[a-z_]+_args\.py"], {}, None),
    "torchtune": ("torchtune", [], {}, r"recipes/configs/llama3_1/8B_lora_single_device\.yaml"),
    "flower": ("flwr", [r"flwr/server/server_config\.py"], {r"flwr/server(app)?/strategy/fedavgm?\.py": "__init__",
                                                            r"flwr/serverapp/strategy/strategy\.py": "start"}, None),
}


def fields(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    yield item.target.id


def arguments(tree, function):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for argument in node.args.args + node.args.kwonlyargs:
                yield argument.arg


def recipe_keys(text):
    """The keys of a YAML file of maps, at every level; no YAML library is needed for that."""
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z_]+):(\s|$)", line)
        if match:
            yield match.group(1)


def words_of(wheel, files, constructors, recipe):
    words = set()
    for name in wheel.namelist():
        text = lambda: wheel.read(name).decode("utf-8")
        if any(re.fullmatch(pattern, name) for pattern in files):
            words.update(fields(ast.parse(text())))
        for pattern, function in constructors.items():
            if re.fullmatch(pattern, name):
                words.update(arguments(ast.parse(text()), function))
        if recipe and re.fullmatch(recipe, name):
            words.update(recipe_keys(text()))
    return sorted(word for word in words if word != "self" and not word.startswith("_"))


def main():
    result = {"versions": {}, "words": {}}
    for tool, (package, files, constructors, recipe) in SOURCES.items():
        (path,) = pathlib.Path(sys.argv[1]).glob(f"{package}-*.whl")
        result["versions"][tool] = path.name.split("-")[1]
        with zipfile.ZipFile(path) as wheel:
            result["words"][tool] = words_of(wheel, files, constructors, recipe)
    out = HERE.parent / "data" / "tools" / "words.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=0) + "\n")
    print({tool: len(words) for tool, words in result["words"].items()})


main()
