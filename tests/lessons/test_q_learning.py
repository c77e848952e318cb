"""The agent of lesson 12: its target, its network, what counts as an episode, and going on bit for bit."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from lessons.games import Orchard, make
from lessons.q_learning import ARMS, ORCHARD, PAPER, QNetwork, Size, Training, draw_weights, targets
from minigrad import nn
from tests.lessons.test_games import FOUR, needs_ale

TINY = replace(ORCHARD, size=Size((), 8), capacity=60, start=30, batch=4, every=2, target_every=5, exploring=50)


def orchard():
    return Orchard(4, 4)


def training(arm="weight norm", settings=TINY, game=orchard, seed=0):
    return Training(game, arm, 0.01, settings, np.random.default_rng(seed))


class Script:
    """A game that hands out given (reward, lives, truncated) one after the other, from the top in each game."""

    actions = 2

    def __init__(self, *steps):
        self.steps, self.resets, self.actions_taken = steps, 0, []

    def frame(self):
        return np.array([[[self.resets, self.at]]], np.uint8)

    def reset(self, seed=None):
        self.resets, self.at = self.resets + 1, 0
        return self.frame(), {"lives": 3}

    def step(self, action):
        self.actions_taken.append(action)
        reward, lives, truncated = self.steps[self.at]
        self.at += 1
        return self.frame(), reward, lives == 0, truncated, {"lives": lives}


# ---- the target -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
def test_the_target_is_what_a_loop_finds(count, actions, discount, seed):
    rng = np.random.default_rng(seed)
    rewards, terminals = rng.choice([-1.0, 0.0, 1.0], count), rng.random(count) < 0.3
    values = rng.normal(size=(count, actions))
    wanted = []
    for i in range(count):
        best = max(values[i, a] for a in range(actions))
        wanted.append(rewards[i] if terminals[i] else rewards[i] + discount * best)
    np.testing.assert_allclose(targets(rewards, terminals, values, discount), wanted, rtol=1e-6, atol=1e-6)


def test_a_terminal_step_does_not_look_ahead_even_at_what_is_not_a_number():
    assert targets(np.ones(1), np.array([True]), np.full((1, 2), np.nan), 0.9).tolist() == [1]


def test_an_update_follows_the_gradient_of_the_summed_huber_loss_of_the_chosen_actions():
    """With losses computed one by one from the target network, and the optimizer's rule written out."""
    run = training("normal")
    run.run(41)
    before, rng = copy.deepcopy(run.network), copy.deepcopy(run.rng)
    remembered = [{k: np.copy(v) for k, v in s.items()} for s in run.optimizer.state]
    batch = run.memory.draw(TINY.batch, rng)
    following = run.values(run.target, batch.next_states)
    total = 0.0
    for i in range(TINY.batch):
        y = batch.rewards[i] + (0 if batch.terminals[i] else TINY.discount * max(following[i]))
        d = before(batch.states[i : i + 1])[0, int(batch.actions[i])] - float(y)
        total = total + (0.5 * d * d if abs(d.item()) <= 1 else mg.abs(d) - 0.5)
    total.backward()
    assert run.updates % TINY.target_every
    run.update()
    for old, new, state in zip(before.parameters(), run.network.parameters(), remembered, strict=True):
        gradient = old.grad.numpy()
        m, u = 0.5 * state["m"] + 0.5 * gradient, np.maximum(0.999 * state["u"], abs(gradient))
        np.testing.assert_allclose(new.numpy(), old.numpy() - 0.01 * m / (u + 1e-6), rtol=0, atol=2e-5)
    assert run.losses[-1] == pytest.approx(total.item() / TINY.batch, rel=1e-5)


@pytest.mark.parametrize("arm", ["batch norm", "WN + mean-only BN"])
def test_an_update_takes_the_statistics_of_its_minibatch_and_nothing_else_does(arm):
    """Updates alone move the running averages; before and after, a value does not depend on the other stacks."""
    run = training(arm)
    run.run(41)
    stacks = run.memory.draw(20, np.random.default_rng(1)).states

    def averages():
        return np.concatenate([value.numpy().ravel() for _, value in run.network.named_buffers()])

    for update in (False, True):
        before = averages()
        if update:
            run.update()
        values = run.values(run.network, stacks)
        np.testing.assert_allclose(values[:1], run.values(run.network, stacks[:1]), rtol=1e-5, atol=1e-6)
        assert (averages() != before).any() == update


def test_the_target_network_is_renewed_after_so_many_updates():
    run = training()
    run.run(TINY.start - 1)
    renewed, before = [], None
    for _ in range(24):
        run.step()
        now = run.target.state_dict()
        if before is None or any((now[name] != before[name]).any() for name in now):
            renewed.append(run.updates)
        before = now
    assert renewed == [1, 6, 11]  # with the first update after each five


# ---- the network ----------------------------------------------------------------------------------------------------


def test_the_network_of_the_paper_has_the_published_number_of_parameters():
    model = QNetwork("normal", PAPER.size, (4, 84, 84), 4, np.random.default_rng(0))
    assert sum(p.size for p in model.parameters()) == 8_224 + 32_832 + 36_928 + 1_606_144 + 2_052
    assert model(np.zeros((2, 4, 84, 84), np.uint8)).shape == (2, 4)


@pytest.mark.parametrize("arm", ARMS)
def test_each_parameterization_is_what_it_says(arm):
    model = QNetwork(arm, Size(((3, 2, 1),), 5), (1, 4, 4), 3, np.random.default_rng(0))
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 3
    assert [hasattr(layer, "weight_g") for layer in layers] == [arm in ("weight norm", "WN + mean-only BN")] * 3
    normalized = {"batch norm": nn.BatchNorm, "WN + mean-only BN": wn.MeanOnlyBatchNorm}.get(arm)
    found = [type(layer) for layer in model.modules() if isinstance(layer, (nn.BatchNorm, wn.MeanOnlyBatchNorm))]
    assert found == [normalized] * (2 if normalized else 0)
    assert [layer.bias is not None for layer in layers] == [not normalized] * 2 + [True]


def test_bytes_are_divided_by_255():
    model, stacks = QNetwork("normal", Size((), 5), (1, 4, 4), 3, np.random.default_rng(0)), np.full((1, 1, 4, 4), 51)
    fifths = model.layers(mg.tensor(np.full((1, 1, 4, 4), 0.2, np.float32)))
    np.testing.assert_allclose(model(stacks.astype(np.uint8)).numpy(), fifths.numpy(), rtol=1e-5)


@pytest.mark.parametrize("arm", ARMS)
def test_first_weights_have_the_scale_that_is_documented(arm):
    """Of 144 · 20 weights and more, whose deviation scatters by 1.4 % at most; uniform ones end where they should."""
    rng = np.random.default_rng(0)
    for layer, fan_in in ((nn.Conv2d(16, 20, 3, rng=rng), 144), (nn.Linear(200, 20, rng=rng), 200)):
        draw_weights(layer, arm, rng)
        limit = np.sqrt(6 / fan_in)
        w, b = layer.weight.numpy(), layer.bias.numpy()
        assert w.std() == pytest.approx(limit / np.sqrt(3) if arm == "normal" else 0.05, rel=0.08)
        assert arm != "normal" or 0.99 * limit < abs(w).max() <= limit
        assert (b == np.float32(0.1 if arm == "normal" else 0)).all()


def test_an_unknown_parameterization_is_refused():
    with pytest.raises(ValueError, match="no parameterization 'layer norm'; there are normal,"):
        QNetwork("layer norm", Size((), 5), (1, 4, 4), 3, np.random.default_rng(0))


@pytest.mark.parametrize("arm", ARMS)
def test_pre_activations_have_mean_0_and_variance_1_on_the_replayed_frames_that_initialize(arm, monkeypatch):
    run = training(arm, replace(TINY, start=300, capacity=400, every=301))  # no update behind the initialization
    initialize, given = QNetwork.initialize, []
    monkeypatch.setattr(QNetwork, "initialize", lambda self, stacks: (given.append(stacks), initialize(self, stacks)))
    run.run(299)
    assert not given
    run.run(1)
    (stacks,), found = given, []
    for layer in run.network.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda layer, inputs, t: found.append(t.numpy().astype(float)))
    run.network.train()
    with mg.no_grad():
        run.network(stacks)
    deviations = np.concatenate([t.std(axis=0) for t in found])
    assert len(stacks) == 300 and stacks.max() == 255 and len(deviations) == 8 + 3
    if arm in ("normal", "batch norm"):
        assert abs(deviations - 1).max() > 0.3
    else:
        np.testing.assert_allclose(deviations, 1, rtol=1e-3)


def test_the_normal_parameterization_can_start_as_the_same_function():
    stacks = np.random.default_rng(1).integers(0, 256, (50, 1, 4, 4), np.uint8)
    found = []
    for arm in ("normal, initialized", "weight norm"):
        model = QNetwork(arm, Size(((3, 2, 1),), 5), (1, 4, 4), 3, np.random.default_rng(0))
        model.initialize(stacks)
        found.append(Training.values(model, stacks))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-5)


# ---- episodes -------------------------------------------------------------------------------------------------------


def remembered(run):
    """The steps in the memory, as (frames before, rewards, frames after, terminal) in order."""
    places = np.arange(run.memory.size)
    batch = run.memory.at(places[run.memory.can_be_drawn(places)])
    return list(zip(batch.states[:, -1, 0].tolist(), batch.rewards.tolist(), batch.next_states[:, -1, 0].tolist(),
                    batch.terminals.tolist(), strict=True))  # fmt: skip


def test_a_lost_life_is_terminal_in_the_memory_and_the_game_goes_on():
    run = training("normal", replace(TINY, history=2), lambda: Script((0, 3, 0), (0, 2, 0), (0, 2, 0), (0, 0, 0)))
    run.run(5)
    assert remembered(run) == [
        ([1, 0], 0, [1, 1], False), ([1, 1], 0, [1, 2], True), ([1, 2], 0, [1, 3], False), ([1, 3], 0, [1, 4], True),
        ([2, 0], 0, [2, 1], False),
    ]  # fmt: skip
    assert run.game.resets == 2 and run.returns == [[4, 0]]
    third = run.memory.at(np.array([3]))  # the first step after the life: what was before it is not seen
    assert third.states[0, :, 0].tolist() == [[0, 0], [1, 2]]


def test_a_time_limit_ends_an_episode_and_is_not_terminal():
    run = training("normal", TINY, lambda: Script((0, 3, False), (0, 3, True)))
    run.run(3)
    assert remembered(run) == [([1, 0], 0, [1, 1], False), ([1, 1], 0, [1, 2], False), ([2, 0], 0, [2, 1], False)]


def test_rewards_are_clipped_for_learning_and_not_for_scores():
    run = training("normal", TINY, lambda: Script((7, 3, 0), (-4, 3, 0), (0.25, 0, 0)))
    run.run(3)
    assert [step[1] for step in remembered(run)] == [1, -1, 0.25]
    assert run.returns == [[3, 3.25]] and run.evaluate(6) == [3.25, 3.25]


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_a_reward_that_is_no_number_is_refused_before_it_is_learned_from(reward):
    run = training("normal", TINY, lambda: Script((1, 3, 0), (reward, 3, 0), (0, 0, 0)))
    run.run(1)
    with pytest.raises(ValueError, match=f"a reward of {reward} in move 2"):
        run.run(1)
    assert [step[1] for step in remembered(run)] == [1]


def test_in_evaluations_a_lost_life_ends_nothing_and_whole_games_count_unless_there_is_none():
    run = training("normal", TINY, lambda: Script((1, 2, 0), (2, 1, 0), (5, 0, 0)))
    assert run.evaluate(8) == [8, 8] and run.evaluate(2) == [3]
    assert run.tested.resets == 4 and run.game.resets == 1


def test_what_is_played_is_every_frame_of_every_game():
    run = training("normal", TINY, lambda: Script((1, 2, 0), (2, 1, 0), (5, 0, 0)))
    moves = [(frame[0, 0].tolist(), reward, ended) for frame, reward, ended in run.play(4)]
    assert moves == [([1, 1], 1, False), ([1, 2], 2, False), ([1, 3], 5, True), ([2, 1], 1, False)]


def test_a_life_that_is_lost_in_the_first_move_of_a_second_game_is_terminal():
    run = training("normal", TINY, lambda: Script((0, 2, 0), (0, 0, 0)))
    run.run(3)
    assert [terminal for *_, terminal in remembered(run)] == [True, True, True]


def test_in_evaluations_one_move_in_twenty_is_random(monkeypatch):
    shares = []
    monkeypatch.setattr(Training, "action", lambda self, network, stack, share, rng: shares.append(share) or 0)
    training().evaluate(5)
    assert shares == [0.05] * 5 and PAPER.testing == 0.05


def test_random_actions_become_fewer_from_the_first_update_on():
    run = training("normal", replace(TINY, start=20, exploration=(1.0, 0.2), exploring=40, every=1000))
    shares = []
    for _ in range(100):
        shares.append(run.exploration)
        run.step()
    np.testing.assert_allclose(shares[:21], 1)
    np.testing.assert_allclose(shares[20:61], np.linspace(1, 0.2, 41))
    np.testing.assert_allclose(shares[60:], 0.2)


def test_greedy_actions_have_the_largest_value_and_random_ones_are_as_many_as_asked_for():
    run = training()
    run.run(60)
    stack, rng = run.memory.latest(), np.random.default_rng(0)
    best = int(run.values(run.network, stack[None]).argmax())
    taken = [run.action(run.network, stack, 0.3, rng) for _ in range(2000)]
    share = np.mean([action != best for action in taken])  # of random actions two in three are others
    assert abs(share - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 2000)


@needs_ale
@pytest.mark.parametrize("name", FOUR)
def test_two_thousand_frames_of_atari_through_the_network_of_the_paper(name):
    """500 steps of four frames, the last with updates; what is remembered are stacks of four that move on by one."""
    settings = replace(PAPER, capacity=600, start=490)
    run = training("weight norm", settings, lambda: make(f"atari/{name}"))
    run.run(500)
    assert run.updates == 3 and np.isfinite(run.losses).all() and run.memory.size == 501 + sum(run.memory.terminals)
    batch = run.memory.draw(50, np.random.default_rng(0))
    assert batch.states.shape == (50, 4, 84, 84) and (batch.states[:, 1:] == batch.next_states[:, :-1]).all()
    assert set(batch.rewards) <= {-1, 0, 1} and run.values(run.network, batch.states).shape == (50, run.game.actions)


# ---- going on later -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_that_is_resumed_is_the_run_that_was_not_interrupted(arm, tmp_path):
    """Interrupted before and after the first update, in the middle of a game, the memory full or not."""
    for before in (20, 47, 90):
        whole, first, second = training(arm), training(arm), training(arm, seed=9)
        whole.run(before + 30)
        first.run(before)
        mg.save(tmp_path / "run", first.state(), compress=True)
        second.load(mg.load(tmp_path / "run"))
        second.evaluate(20)  # which changes nothing
        second.run(30)
        a, b = whole.state(), second.state()
        assert a.keys() == b.keys() and all(a[name] == b[name] for name in (*Training.COUNTS, "rng"))
        for part in ("network", "target", "memory"):
            assert all(np.array_equal(a[part][name], b[part][name]) for name in a[part]), (part, before)
        for mine, theirs in zip(a["optimizer"]["state"], b["optimizer"]["state"], strict=True):
            assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_game_that_comes_to_another_frame_is_refused():
    class Chancy(Orchard):
        def reset(self, seed=None):
            return super().reset()  # whatever the seed is

    def game():
        return Chancy(4, 4, lives=100)

    run, other = training(game=game), training(game=game)
    run.run(25)
    other.run(7)
    with pytest.raises(ValueError, match="not where it was when this was saved"):
        other.load(run.state())


@pytest.mark.parametrize("arm", ARMS)
def test_on_a_gpu_it_learns_the_same(arm, cuda):
    runs = [Training(orchard, arm, 0.01, TINY, np.random.default_rng(0), device) for device in ("cpu", cuda)]
    for run in runs:
        run.run(40)
    assert runs[1].network.device == "cuda" and runs[1].updates == 6
    a, b = (run.network.state_dict() for run in runs)
    for name, value in a.items():
        np.testing.assert_allclose(b[name], value, rtol=0, atol=1e-4)


def test_it_learns_to_catch():
    """In the smallest orchard, where an apple is caught or missed in the second move after it appears."""
    settings = replace(
        TINY, size=Size((), 24), capacity=2000, start=200, batch=32, every=1, target_every=50, exploring=500
    )
    run = training("weight norm", settings, lambda: Orchard(3, 4))
    at_random = training("normal", replace(TINY, start=10**6), lambda: Orchard(3, 4))
    at_random.run(3000)
    run.run(1000)
    assert np.mean(run.evaluate(1500)) > 3 * np.mean([total for _, total in at_random.returns])
