"""A checkpoint comes back as it came: names, number types, ties, keys and container."""

import ast
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import conv_net, seeded
from safetensors import safe_open
from safetensors.torch import load, save, save_model
from torch import nn

import unsee
from unsee import events
from unsee.errors import ModelError, UnseeWarning
from unsee.models import Checkpoint, blueprint, normalise, pack, pack_pt, read

HIDES_LOAD = ("torch", "torch.serialization")  # from there, load would go by another name
FACTS = {"arch": "own:net", "classes": ["a", "b"], "mean": [0.5], "std": [0.25]}


def net(classes=3):
    return seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, classes))
    )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.decoder.weight = self.encoder.weight


def state(**more):
    return {**net().state_dict(), **more}


@pytest.fixture
def written(tmp_path):
    """Write what is given, with torch.save unless it is bytes, and read it quietly."""

    def write(content, name="weights.pt"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with events.noted() as notes:
            return read(path), notes

    return write


def torch_load(content):
    return torch.load(io.BytesIO(content), weights_only=True)


def same(a, b):
    return [*a] == [*b] and all(
        torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


def test_every_torch_load_of_the_package_asks_for_weights_only():
    sources = [path.read_text() for path in Path(unsee.__file__).parent.rglob("*.py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    calls = [
        {word.arg: ast.unparse(word.value) for word in node.keywords}
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load")
    ]
    assert calls and all(words.get("weights_only") == "True" for words in calls)
    others = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module in HIDES_LOAD]
    assert not any(name.name == "load" for node in others for name in node.names)


def test_safetensors_and_what_they_say_come_back(written):
    content = pack(Checkpoint(state(), FACTS))
    given, notes = written(content, "weights.safetensors")
    assert given.container == "safetensors" and given.facts == FACTS and not notes
    assert same({name: given.state[name] for name in state()}, state())
    assert pack(given) == content


def test_other_metadata_is_kept(written, tmp_path):
    given, _ = written(save(state(), {"format": "pt", "licence": "own"}))
    (tmp_path / "out").write_bytes(pack(replace(given, facts=FACTS)))
    with safe_open(tmp_path / "out", "pt") as file:
        metadata = file.metadata()
        assert torch.equal(file.get_tensor("2.bias"), state()["2.bias"])
    assert json.loads(metadata.pop("unsee")) == {"schema": 1, **FACTS}
    assert metadata == {"format": "pt", "licence": "own"}


def test_without_facts_the_bytes_are_those_of_safetensors(written):
    content = save(state())
    assert pack(written(content)[0]) == content


@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model",), ("weights",), ("ema", "net")])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_keys_and_prefixes_are_taken_off_told_and_put_back(written, keys, prefix):
    content = {prefix + name: tensor for name, tensor in state().items()}
    for key in reversed(keys):
        content = {key: content}
    given, notes = written(content)
    assert (given.container, given.nest, given.prefix) == ("pt", keys, prefix)
    assert same(given.state, state())
    assert len(notes) == len(keys) + bool(prefix)
    assert all(any(repr(word) in note for note in notes) for word in (*keys, prefix) if word)
    out = torch_load(pack_pt(given))
    assert (unwrapped := out) is not None
    for key in keys:
        assert [*unwrapped] == [key]
        unwrapped = unwrapped[key]
    assert same(unwrapped, {prefix + name: tensor for name, tensor in state().items()})
    assert {*load(pack(given))} == {prefix + name for name in state()}


def test_a_prefix_of_some_names_alone_is_part_of_them(written):
    given, notes = written({"module.a": torch.ones(1), "b": torch.ones(1)})
    assert given.prefix == "" and [*given.state] == ["module.a", "b"] and not notes


def test_what_lies_beside_the_weights_is_told_and_not_written(written):
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 1, 4, 6)).sum().backward()
    optimizer.step()
    content = {"epoch": 3, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    content["state_dict_ema"] = state()
    given, notes = written(content)
    assert given.nest == ("state_dict",) and same(given.state, model.state_dict())
    assert "['epoch', 'optimizer', 'state_dict_ema'] beside it stay out" in notes[0]
    assert [*torch_load(pack_pt(given))] == ["state_dict"]


def test_without_a_run_the_owner_is_warned(tmp_path):
    torch.save({"model": state()}, tmp_path / "w.pt")
    with pytest.warns(UnseeWarning, match="weights lie under 'model'"):
        read(tmp_path / "w.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("container", ["safetensors", "pt"])
def test_number_types_of_the_output_are_those_of_the_input(written, dtype, container):
    content = state(**{"0.weight": state()["0.weight"].to(dtype)})
    given, _ = written(save(content) if container == "safetensors" else content)
    model = given.into(net())
    assert model[0].weight.dtype == torch.float32 and not model.training
    out = given.like(model)
    assert {n: t.dtype for n, t in out.state.items()} == {n: t.dtype for n, t in content.items()}
    packed = load(pack(out)) if container == "safetensors" else torch_load(pack_pt(out))
    assert same(packed if container == "pt" else {n: packed[n] for n in content}, content)
    assert packed["1.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("half", [False, True])
def test_tied_weights_stay_tied(written, half):
    model = Tied().half() if half else Tied()
    given, _ = written(model.state_dict())
    out = torch_load(pack_pt(given.like(given.into(Tied()))))
    assert [*out] == ["encoder.weight", "decoder.weight"]
    assert out["encoder.weight"].data_ptr() == out["decoder.weight"].data_ptr()
    assert same(out, model.state_dict())
    flat = load(pack(given))
    assert {*flat} == {*out} and torch.equal(flat["encoder.weight"], flat["decoder.weight"])
    again = Checkpoint(flat).into(Tied())
    assert again.encoder.weight is again.decoder.weight


def test_a_tied_weight_that_safetensors_kept_once_is_loaded_and_kept_once(written, tmp_path):
    model = Tied()
    save_model(model, str(tmp_path / "tied.safetensors"))
    given = read(tmp_path / "tied.safetensors")
    assert len(given.state) == 1
    loaded = given.into(Tied())
    assert torch.equal(loaded.decoder.weight, model.encoder.weight)
    assert same(load(pack(given.like(loaded))), given.state)
    untied = Tied()
    untied.decoder.weight = nn.Parameter(torch.zeros(4, 4))
    with pytest.raises(ModelError, match=r"1 missing \['\w+coder.weight'\]"):
        given.into(untied)


def test_views_of_a_large_storage_do_not_take_it_along(written):
    large = torch.zeros(100_000)
    given = Checkpoint({"a": large[:3], "b": large[3:6].view(3, 1)}, container="pt")
    assert len(pack_pt(given)) < 4_000 and len(pack(given)) < 400


PACKED = """
import hashlib, torch
from unsee.models import Checkpoint, pack, pack_pt
state = {"b": torch.arange(6.0).reshape(2, 3).t(), "a": torch.ones(2).half(), "cpu": torch.ones(1)}
facts, metadata = {"arch": "resnet18", "classes": ["a", "b"]}, {"x": "1", "y": "2", "z": "3"}
made = Checkpoint(state, facts, "module.", ("state_dict",), metadata=metadata)
digests = [hashlib.sha256(write(made)).hexdigest() for write in (pack, pack_pt)]
"""


def test_the_bytes_are_the_same_in_another_process():
    here: dict[str, list[str]] = {}
    exec(PACKED, here)
    command = [sys.executable, "-c", PACKED + "print(*digests)"]
    there = subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": "7"}, text=True)
    assert there.split() == here["digests"]


def test_reading_and_loading_draw_nothing(written):
    model, dice = net(), torch.get_rng_state()
    written({"state_dict": state()})[0].into(model)
    assert torch.equal(dice, torch.get_rng_state())


def test_a_model_of_another_number_of_classes_is_named(written):
    given, _ = written(net(classes=12).state_dict())
    with pytest.raises(ModelError, match="12 classes in the checkpoint, 10 in the data") as error:
        given.into(net(classes=10))
    assert "2.weight (12, 4), not (10, 4)" in str(error.value) and "--arch" in str(error.value)


def test_differences_are_listed_five_of_each():
    own = nn.ModuleDict({f"layer{i}": nn.Linear(1, 1) for i in range(4)})
    other = Checkpoint({f"block{i}": torch.ones(1) for i in range(7)})
    with pytest.raises(ModelError) as error:
        other.into(own)
    assert "8 missing ['layer0.weight', 'layer0.bias'" in str(error.value)
    assert "7 unexpected ['block0', 'block1', 'block2', 'block3', 'block4', ...]" in str(
        error.value
    )
    assert "block5" not in str(error.value) and "classes" not in str(error.value)


def test_int8_weights_are_no_floats(written):
    content = state(**{"0.weight": state()["0.weight"].to(torch.int8)})
    with pytest.raises(ModelError, match=r"1 integers for floats or the reverse \['0.weight'\]"):
        written(content)[0].into(net())


def test_a_module_attribute_that_is_called_module_is_loaded_too(written):
    own = nn.ModuleDict({"module": net()})
    given, _ = written(own.state_dict())
    assert given.prefix == "module."
    loaded = given.into(nn.ModuleDict({"module": net()}))
    assert same(torch_load(pack_pt(given.like(loaded))), own.state_dict())


def test_the_output_of_data_parallel_fits_the_model_inside_it(written):
    given, _ = written(nn.DataParallel(net()).state_dict())
    assert same(given.into(net()).state_dict(), state())


def test_a_weight_too_large_for_the_number_type_is_named(written):
    given, _ = written(net().half().state_dict())
    model = given.into(net())
    model[2].bias.data[0] = 1e6
    with pytest.raises(ModelError, match="fit into torch.float16.*'2.bias'"):
        given.like(model)


def test_a_model_without_the_checkpoints_names_is_refused(written):
    given, _ = written(state())
    with pytest.raises(ModelError, match="got none"):
        given.like(nn.Linear(1, 1))


def test_parameters_and_normalisation_leave_no_trace(written):
    model = normalise(net(), torch.tensor([0.5]), torch.tensor([0.5]))
    given, _ = written({name: nn.Parameter(t) for name, t in net()[0].state_dict().items()})
    assert not any(tensor.requires_grad for tensor in given.state.values())
    assert same(written(state())[0].into(model).state_dict(), state())


@pytest.mark.parametrize("name", ["", "none.pt", "bad\0name"])
def test_a_path_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(ModelError, match="Expected a checkpoint at '"):
        read(tmp_path / name)


def test_the_given_checkpoints_load(shared):
    files = sorted((shared / "models").glob("*.safetensors"))
    assert len(files) == 5
    for path in files:
        given = read(path)
        assert given.facts["classes"][3] == "cat" and given.facts["arch"] == "resnet18:cifar-pool"
        model = given.into(blueprint(given.facts["arch"], channels=3, classes=10)())
        assert same(given.like(model).state, given.state)


def bare_and(prefix, more=()):
    """A network, and its weights with something before every name."""
    model = seeded(conv_net)
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    return model, Checkpoint(state | dict(more))


def test_a_prefix_of_all_names_is_taken_off_where_only_it_is_in_the_way():
    model, given = bare_and("model.")
    with pytest.warns(UnseeWarning, match="'model.' stands before all names"):
        fitted = given.fitted(model.state_dict())
    assert fitted.prefix == "model."
    loaded = fitted.into(seeded(conv_net, 1))
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    assert {*load(pack(fitted.like(loaded)))} == {*given.state}  # as they came
    assert fitted.fitted(model.state_dict()) is fitted and given.fitted({"x"}) is given


def test_counts_of_batches_need_not_be_there():
    model = seeded(conv_net)
    state = {n: t for n, t in model.state_dict().items() if "num_batches" not in n}
    given = Checkpoint(state)
    loaded = given.into(seeded(conv_net, 1))
    assert all(torch.equal(loaded.state_dict()[n], t) for n, t in state.items())
    assert [*given.like(loaded).state] == [*state]


@pytest.mark.parametrize(
    "name, told",
    [("n_averaged", "module.state_dict"), ("AuxLogits.fc.weight", "leave the auxiliary head out")],
)
def test_what_is_likely_the_matter_is_said(name, told):
    model, given = bare_and("", {name: torch.zeros(1)}.items())
    with pytest.raises(ModelError, match=told):
        given.into(model)


def test_lazy_layers_are_refused_with_what_to_do():
    with pytest.raises(ModelError, match="lazy ones.*one image before it returns it"):
        Checkpoint({"weight": torch.zeros(3, 4)}).into(torch.nn.LazyLinear(3))
