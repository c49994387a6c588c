"""Containers keep their type when the tensors in them are replaced, and the model's own are left alone."""

from collections import OrderedDict, namedtuple

import torch

from ml.tracing.detaching import with_tensors

Pair = namedtuple("Pair", ["first", "second"])


class Output(OrderedDict):
    """Has its items as attributes, too, as outputs of transformers do."""

    def __setitem__(self, name, value):
        super().__setitem__(name, value)
        self.__dict__[name] = value


def test_containers_keep_their_type_and_the_models_are_left_alone():
    tensor = torch.ones(2, requires_grad=True) * 2
    output = Output(logits=tensor)
    output["hidden"] = (tensor, [tensor])
    given = {"pair": Pair(tensor, None), "output": output, "text": "a"}

    found = with_tensors(given, torch.Tensor.detach)

    assert type(found["pair"]) is Pair
    assert type(found["output"]) is Output
    assert not found["pair"].first.requires_grad
    assert not found["output"].logits.requires_grad
    assert not found["output"]["hidden"][1][0].requires_grad
    assert (found["pair"].second, found["text"]) == (None, "a")
    assert output.logits is tensor
    assert output["hidden"][0] is tensor


def test_a_tensor_of_a_container_shares_its_memory():
    tensor = torch.zeros(2)
    assert with_tensors((tensor,), torch.Tensor.detach)[0].data_ptr() == tensor.data_ptr()
