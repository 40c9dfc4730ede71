"""Models and data that do not belong together are refused before anything is computed."""

import copy

import pytest
import torch
from conftest import pattern_data
from torch import nn
from torch.utils.data import TensorDataset

import unsee
from unsee.errors import DataError, ModelError, OptionError, SplitError, UnseeWarning
from unsee.matching import knows_its_images
from unsee.models import output_layer


class Own(nn.Module):
    """A network of one's own, with something done to its answer."""

    def __init__(self, outputs=3, answer=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc, self.answer = nn.Linear(16, 8), nn.Linear(8, outputs), answer

    def forward(self, x):
        return self.answer(self.fc(self.body(x.flatten(1)).relu()))


def images(n=60, dtype=torch.float32):
    torch.manual_seed(n)
    return TensorDataset(torch.randn(n, 1, 4, 4).to(dtype), torch.arange(n) % 3)


@pytest.fixture
def data():
    return unsee.Data.from_dataset(images(), images(30))


@pytest.fixture
def split(data):
    return unsee.choose(data, "class=2")


WRONG = {
    "more classes than outputs": (Own(2), r"Expected the answer \[1, 3\].*got \[1, 2\]"),
    "more outputs than classes": (Own(5), r"Expected the answer \[1, 3\].*got \[1, 5\].*classes="),
    "half": (
        Own().half(),
        r"Expected weights of torch.float32, got torch.float16: call .float\(\)",
    ),
    "double": (Own().double(), r"got torch.float64: call .float\(\)"),
    "a tuple": (Own(answer=lambda x: (x, x)), "got tuple.*let the model return its logits"),
    "a dictionary": (Own(answer=lambda x: {"logits": x}), "got dict"),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("method", ["snu_deep", "finetune", "scrub"])
def test_a_model_that_cannot_have_learned_the_images_is_not_unlearned(split, what, method):
    model, told = WRONG[what]
    with pytest.raises(ModelError, match=told):
        unsee.unlearn(model, split.forget, split.retain, method=method)


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("place", ["original", "unlearned", "retrained"])
def test_nor_is_it_audited_in_any_place(split, what, place):
    model, told = WRONG[what]
    models = {"original": Own(), "unlearned": Own(), "retrained": Own()} | {place: model}
    with pytest.raises(ModelError, match=told):
        unsee.audit(split, **models)


def test_images_of_double_precision_are_told_to_be_floats():
    data = unsee.Data.from_dataset(images(dtype=torch.float64), images(30, torch.float64))
    split = unsee.choose(data, "class=2")
    with pytest.raises(ModelError, match=r"Expected images of torch.float32, got torch.float64"):
        unsee.unlearn(Own(), split.forget, split.retain)


@pytest.mark.parametrize("squash", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", [None, "fc"])
def test_a_model_that_squashes_its_logits_is_refused(squash, name):
    answers = {"softmax": lambda x: x.softmax(1), "sigmoid": torch.sigmoid}
    with pytest.raises(
        ModelError, match=f"logits of 'fc' as the model's answer, got their {squash}"
    ):
        output_layer(Own(answer=answers[squash]), torch.randn(1, 1, 4, 4), name)


@pytest.mark.parametrize(
    "answer", [lambda x: x / 2, lambda x: x.log_softmax(1), lambda x: x.add_(1)]
)
def test_a_scale_a_shift_and_log_softmax_are_logits_still(answer):
    assert output_layer(Own(answer=answer), torch.randn(1, 1, 4, 4)) == "fc"


def test_an_answer_that_is_no_tensor_is_refused_with_a_name_too():
    for name in (None, "fc"):
        with pytest.raises(ModelError, match="got tuple: let the model return its logits alone"):
            output_layer(Own(answer=lambda x: (x,)), torch.randn(1, 1, 4, 4), name)


def test_a_model_that_does_not_know_its_images_is_told_of(split):
    model = Own()
    torch.nn.init.constant_(model.fc.bias[2:], 100.0)  # it answers the class that is to go
    with pytest.warns(UnseeWarning, match="hardly more than by guessing.*No guard watches"):
        unsee.unlearn(model, split.forget, split.retain, method="noop")


def test_classes_that_are_text_are_told_to_be_in_the_order_of_the_alphabet():
    x, names = torch.randn(30, 1, 4, 4), ["cat", "dog", "bird"] * 10
    pairs = [*zip(x, names, strict=True)]
    with pytest.warns(UnseeWarning, match=r"order of the alphabet, \['bird', 'cat', 'dog'\]"):
        assert unsee.Data.from_dataset(pairs, pairs).classes == ("bird", "cat", "dog")
    known = unsee.Data.from_dataset(pairs, pairs, classes=["cat", "dog", "bird"])
    assert known.classes == ("cat", "dog", "bird")


@pytest.mark.parametrize("wrap", [list, tuple, set, lambda ids: __import__("numpy").array(ids)])
def test_ids_are_a_rule_of_their_own_in_python(data, wrap):
    ids = ["train/00002", "train/00005"]
    assert {*unsee.choose(data, wrap(ids)).forget.ids.tolist()} == {*ids}


def test_an_unknown_id_is_told_and_many_are_not_listed(data):
    with pytest.raises(SplitError, match="got 1 unknown"):
        unsee.choose(data, ["train/99999"])
    with pytest.raises(SplitError) as told:
        unsee.choose(data, ["train/00001", 5] * 300)
    assert len(str(told.value)) < 200


def test_data_is_no_list_and_says_what_to_do_instead(data):
    with pytest.raises(DataError, match=r"unsee\.data\.batches"):
        for _ in data:
            pass
    with pytest.raises(DataError, match=r"unsee\.data\.batches"):
        data[3]


@pytest.mark.parametrize("item", [{"image": 1}, (1, 2, 3)])
def test_an_item_that_is_no_pair_is_named(item):
    with pytest.raises(DataError, match=r"got a (dict|tuple of 3)$"):
        unsee.Data.from_dataset([item], [item])


def test_audits_are_asked_by_name_as_on_the_command_line(split):
    run = unsee.audit(split, original=Own(), unlearned=Own(), audits=["accuracy"])
    assert "forget_accuracy" in run.measurements["original"]
    assert "membership_auc" not in run.measurements["original"]
    with pytest.raises(OptionError, match="got \\['acuracy'\\]"):
        unsee.audit(split, original=Own(), unlearned=Own(), audits=["acuracy"])


def test_a_folder_may_be_text(tmp_path):
    config = unsee.Config(forget="class=3", arch="convnet", train_epochs=1, audits=("accuracy",))
    unsee.run(config, str(tmp_path / "run"))
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_class_that_the_model_takes_for_another_is_told(trained):
    train = pattern_data().part("train")
    knows_its_images(trained, train)  # warnings are errors here
    blind = copy.deepcopy(trained)
    with torch.no_grad():
        blind[-1].weight[0] = blind[-1].weight[1]
        blind[-1].bias[0] = blind[-1].bias[1] - 1
    with pytest.warns(
        UnseeWarning, match="hardly any training image of 'a', and takes most for '[bc]'.*--earlier"
    ):
        knows_its_images(blind, train)
    with torch.no_grad():
        blind[-1].bias[2] += 99
    with pytest.raises(ModelError, match="knows its training images"):
        knows_its_images(blind, train)
