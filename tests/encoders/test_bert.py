import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from visret.encoders import _torch
from visret.encoders._bert import Bert
from visret.errors import WeightsError

CPU = torch.device("cpu")
SEQUENCES = [[2, 9, 30, 3], [2, 40, 3], [2, *range(10, 60), 3]]


def load(folder):
    return Bert.of(folder, device=CPU, dtype=torch.float32)


@pytest.fixture
def copy(checkpoints, tmp_path):
    """A copy of the checkpoint to damage, and a function that rewrites its weights."""
    shutil.copytree(checkpoints / "bert", tmp_path, dirs_exist_ok=True)

    def rewrite(change):
        save_file(change(load_file(tmp_path / "model.safetensors")), tmp_path / "model.safetensors")
        return tmp_path

    return rewrite


def test_it_computes_what_transformers_computes(checkpoints):
    with _torch.quiet():
        from transformers import BertModel

        theirs = BertModel.from_pretrained(checkpoints / "bert", add_pooling_layer=False).eval()
    for ids, ours in zip(SEQUENCES, load(checkpoints / "bert")(SEQUENCES), strict=True):
        with torch.inference_mode():
            expected = theirs(input_ids=torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_sequence_does_not_depend_on_its_neighbours(checkpoints):
    bert = load(checkpoints / "bert")
    for ids, together in zip(SEQUENCES, bert(SEQUENCES), strict=True):
        torch.testing.assert_close(bert([ids])[0], together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
@pytest.mark.parametrize("times", [1, 3])
def test_first_tokens_are_those_of_whole_sequences(checkpoints, dtype, times):
    bert = Bert.of(checkpoints / "bert", device=CPU, dtype=dtype)
    whole = torch.stack([vectors[0] for vectors in bert(SEQUENCES * times)])
    torch.testing.assert_close(bert.first_tokens(SEQUENCES * times), whole, atol=1e-5, rtol=0)


def test_a_filled_up_batch_is_the_same(checkpoints):
    bert = load(checkpoints / "bert")
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(sequence) for sequence in SEQUENCES], batch_first=True)
    with torch.inference_mode():
        batch = bert.padded(ids, (ids > 0).long())
    for ids, expected, found in zip(SEQUENCES, bert(SEQUENCES), batch, strict=True):
        torch.testing.assert_close(found[: len(ids)], expected, atol=1e-5, rtol=0)


def test_a_prefix_and_unused_heads_are_read_over(checkpoints, copy):
    folder = copy(lambda weights: {f"bert.{k}": v for k, v in weights.items()} | {"cls.bias": torch.zeros(1)})
    assert torch.equal(load(folder)(SEQUENCES)[0], load(checkpoints / "bert")(SEQUENCES)[0])


def test_missing_and_unexpected_weights_are_errors(copy):
    name = "encoder.layer.1.output.dense.bias"
    with pytest.raises(WeightsError, match=f"missing: {name}"):
        load(copy(lambda weights: {k: v for k, v in weights.items() if k != name}))
    with pytest.raises(WeightsError, match=r"unexpected: encoder\.layer\.2"):
        load(
            copy(
                lambda weights: weights | {name: torch.zeros(32), "encoder.layer.2.output.dense.bias": torch.zeros(32)}
            )
        )


def test_other_architectures_are_refused(copy):
    folder = copy(lambda weights: weights)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(WeightsError, match="with gelu and absolute positions, this is"):
        load(folder)
