"""`--target_speedup`: the table, the choice and its proof with made-up times, and once with real ones."""

import json
import logging

import pytest
import torch

from trainer_ext.compression import target as target_module
from trainer_ext.compression.latency_table import (
    LatencyTable,
    LayerTimes,
    beyond_smallest,
    measure_table,
    p50_ms,
    twin,
)
from trainer_ext.compression.target import (
    Choice,
    Target,
    check_reachable,
    choose_counts,
    counts_within,
    neuron_sizes,
    read_choice,
    write_record,
)
from trainer_ext.compression.width import Importance, counts_of, narrow
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import blocks_of

# 4 layers: 1 ms, and a layer 1 ms for 3 heads more than one, and 1 ms for all neurons
TIMES = LayerTimes({1: 0.0, 4: 1.0}, {2: 0.0, 24: 1.0})
TABLE = LatencyTable(9, 9.0, 1.0, TIMES, TIMES)
START = [(4, 24)] * 4


def made_up_ms(model, counts, length):
    """Return times that are exactly the table's sums."""
    return {name: TABLE.predict(START, layers) for name, layers in counts.items()}


@pytest.fixture
def importance(bert):
    """Return an importance in which the last layer counts a hundred times as much."""
    found = Importance(blocks_of(bert.encoder))
    found.remove()
    generator = torch.Generator().manual_seed(0)
    for number in range(4):
        scale = 100.0 if number == 3 else 1.0
        found.heads[number] = scale * torch.rand(4, generator=generator)
        found.neurons[number] = scale * torch.rand(24, generator=generator)
    return found


def test_the_table_adds_up():
    """By hand: two heads of four are a third of a millisecond, thirteen neurons of 2 to 24 half a one."""
    assert TABLE.predict(START, START) == 9.0
    assert TABLE.predict(START, [(2, 13)] * 4) == pytest.approx(1 + 4 * (1 / 3 + 1 / 2))
    assert TABLE.predict(START, [(1, 2)] * 4) == 1.0


def test_the_last_layer_may_take_less():
    """As with cls pooling."""
    last = LayerTimes({1: 0.0, 4: 0.5}, {2: 0.0, 24: 0.0})
    table = LatencyTable(9, 7.5, 1.0, TIMES, last)
    assert table.predict(START, [(4, 24)] * 3 + [(1, 2)]) == 7.0
    assert table.predict(START, [(1, 2)] + [(4, 24)] * 3) == 5.5


def test_noise_makes_no_size_slower_than_a_larger_one():
    """And a layer's share is that of one of four."""
    assert beyond_smallest({1: 10.0, 2: 9.0, 3: 14.0, 4: 12.0}, 4) == {1: 0, 2: 0, 3: 1, 4: 1}


def test_time_for_all_keeps_all(importance):
    """And time for the least the least."""
    assert counts_within(9.0, TABLE, importance, START) == START
    assert counts_within(1.0, TABLE, importance, START) == [(1, 2)] * 4


def test_layers_of_different_sizes_are_loaded_from_their_folder(bert, inputs, importance, tmp_path):
    """Plain `from_pretrained`, to the bit."""
    counts = [(1, 2), (4, 24), (2, 12), (3, 9)]
    narrow(bert, importance, counts)
    bert.save_pretrained(tmp_path)
    loaded = EncoderWithHead.from_pretrained(tmp_path).eval()
    assert counts_of(loaded) == counts
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, bert(**inputs).logits)


@pytest.mark.parametrize("target", [Target(speedup=2.0), Target(latency_ms=4.5)])
def test_what_matters_stays_and_the_target_is_met(bert, importance, target):
    """Half of the time: the last layer keeps nearly all."""
    choice = choose_counts(bert, importance, TABLE, target, made_up_ms)
    assert choice.measured_ms <= 4.5
    assert choice.predicted_ms == pytest.approx(choice.measured_ms)
    assert choice.speedup == pytest.approx(9.0 / choice.measured_ms)
    heads, neurons = choice.counts[3]
    assert heads == 4
    assert neurons >= 18
    assert all(heads <= 2 or neurons <= 12 for heads, neurons in choice.counts[:3])


def test_a_model_slower_than_its_parts_is_cut_further(bert, importance):
    """Here a fifth slower than predicted: the budget is corrected until the target is met."""

    def slower(model, counts, length):
        ms = made_up_ms(model, counts, length)
        return {name: value * (1 if name == "start" else 1.2) for name, value in ms.items()}

    choice = choose_counts(bert, importance, TABLE, Target(speedup=2.0), slower)
    assert choice.measured_ms <= 4.5
    assert choice.predicted_ms == pytest.approx(choice.measured_ms / 1.2)


def test_a_model_faster_than_its_parts_keeps_more(bert, importance):
    """What would be faster than asked for is cut less."""

    def faster(model, counts, length):
        ms = made_up_ms(model, counts, length)
        return {name: value * (1 if name == "start" else 0.7) for name, value in ms.items()}

    choice = choose_counts(bert, importance, TABLE, Target(speedup=2.0), faster)
    assert 4.0 < choice.measured_ms <= 4.5


@pytest.mark.parametrize(
    "target, message",
    [
        (Target(speedup=10.0), "target_speedup 10 cannot be reached: with 1 heads and 2 neurons"),
        (Target(latency_ms=0.9), "takes 1 ms instead of 9 ms .* which is 9 times as fast"),
        (Target(latency_ms=9.5), "takes 9 ms as it is .* nothing to cut"),
    ],
)
def test_targets_out_of_reach_are_refused(target, message):
    """With the times that can be reached."""
    with pytest.raises(UserError, match=message):
        check_reachable(TABLE, START, target)


def test_a_target_within_reach_is_not_refused():
    """Up to the fastest."""
    check_reachable(TABLE, START, Target(speedup=9.0))
    check_reachable(TABLE, START, Target(latency_ms=8.9))


def test_neurons_are_cut_by_sixteenths():
    """And at least one is left."""
    assert neuron_sizes(1536)[:3] == [96, 192, 288]
    assert neuron_sizes(1536)[-1] == 1536
    assert neuron_sizes(4) == [1, 2, 3, 4]


def test_a_choice_is_read_back(tmp_path):
    """The same, and of no other target."""
    choice = Choice([(2, 12), (1, 3)], 2.0, 4.0, 1.9)
    assert read_choice(tmp_path, Target(speedup=2.0)) is None
    write_record(tmp_path, TABLE, Target(speedup=2.0), choice)
    assert read_choice(tmp_path, Target(speedup=2.0)) == choice
    record = json.loads((tmp_path / "latency_table.json").read_text(encoding="utf-8"))
    assert record["layer"] == {"heads": {"1": 0.0, "4": 1.0}, "neurons": {"2": 0.0, "24": 1.0}}
    assert record["choice"]["speedup"] == pytest.approx(4.0 / 1.9)
    with pytest.raises(UserError, match="is of target_speedup 2, but now it is target_speedup 3"):
        read_choice(tmp_path, Target(speedup=3.0))


def test_a_twin_differs_in_sizes_and_vocabulary_alone(model):
    """Every family; the model itself is left as it is."""
    sizes = ((2, 12), (1, 24), (4, 3))
    made = twin(model, sizes)
    assert counts_of(made) == list(sizes)
    assert made.config.encoder.hidden_size == 32
    assert counts_of(model) == START
    assert model.config.encoder.vocab_size == 50


@pytest.mark.parametrize("pooling", ["mean", pytest.param("cls", marks=pytest.mark.slow)])
def test_a_real_model_is_measured(bert, pooling, monkeypatch):
    """Through the export, in INT8, on one thread; no random number is drawn."""
    monkeypatch.setattr("trainer_ext.compression.latency_table.ROUNDS", 2)
    monkeypatch.setattr("trainer_ext.compression.latency_table.SHARES", (1 / 4, 1))
    bert.config.pooling = pooling
    bert.config.pipeline = {"input_names": ["input_ids", "attention_mask"]}
    state = torch.random.get_rng_state()
    table = measure_table(bert, 9)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(table.layer.heads) == [1, 4]
    assert list(table.layer.neurons) == [6, 24]
    assert table.start_ms > 0
    assert (table.last_layer is table.layer) == (pooling == "mean")
    ms = p50_ms(bert, {"start": START, "same": START, "cut": [(1, 6)] * 4}, 9)
    assert ms["start"] == ms["same"]
    assert ms["cut"] > 0


def test_a_missed_target_is_said(caplog):
    """In the log line."""
    with caplog.at_level(logging.INFO, logger="trainer_ext"):
        target_module.log_choice(Target(speedup=3.0), Choice([(1, 2)], 1.0, 4.0, 2.0))
        target_module.log_choice(Target(speedup=2.0), Choice([(1, 2)], 1.0, 4.0, 2.0))
    assert "target_speedup 3 MISSED" in caplog.text
    assert "target_speedup 2 met: a text took 4 ms and takes 2 ms, 2.00 times" in caplog.text
