"""Every equation and every testable claim of the paper, and where each of them lives: function, test, lesson.

    python -m lessons --equations                        the index, for reading
    python -m lessons.equations > docs/equations.md      the same as a page with links

The table `INDEX` is the only source of both. tests/lessons/test_equations.py makes sure that every function, test and
lesson named here exists, and that the page is what this file gives.
"""

import importlib
import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path

import lessons

ROOT = Path(__file__).parent.parent
WIDTH = 100
PAPER = "Salimans & Kingma (2016), Weight Normalization, arXiv:1602.07868v3"


@dataclass(frozen=True)
class Entry:
    """One equation or claim.

    Attributes
    ----------
    place : str
        "(2)" for a numbered equation; for a claim, the section; for later work, the year.
    says : str
        What it says, in our words.
    functions : str
        Dotted names of what computes it, separated by spaces.
    tests : tuple of str
        "wn/test_layers.py::test_name", below tests/.
    lessons : tuple of (int, str)
        The lesson's number, and the beginning of one of its claims, or "# " and the title of one of its parts.
    pending : str
        What is not there yet, and why.
    """

    place: str
    says: str
    functions: str = ""
    tests: tuple = ()
    lessons: tuple = ()
    pending: str = ""


INDEX = {}  # title of a part → its entries

# fmt: off
WN, LAYERS, INIT = "wn/test_weight_norm.py::", "wn/test_layers.py::", "wn/test_initialization.py::"
MEAN, GROWTH, COVARIANCE = "wn/test_mean_only_batch_norm.py::", "wn/test_growth.py::", "wn/test_covariance.py::"
CELL = "nn/test_recurrent.py::"

INDEX["The equations"] = [
    Entry(
        "(1)", "A neuron: y = φ(w·x + b).", "minigrad.nn.Linear minigrad.nn.Conv2d",
        ("nn/test_layers.py::test_linear",), ((3, "# One neuron"),),
    ),
    Entry(
        "(2)", "A weight vector as length times direction: w = g v/‖v‖.",
        "wn.weight_norm wn.weight_norm_composite wn.WeightNorm wn.apply_weight_norm",
        (WN + "test_every_weight_vector_is_g_long_and_points_along_v", WN + "test_it_is_what_ordinary_ops_compute",
         WN + "test_the_length_of_v_does_not_matter",
         LAYERS + "test_wrapping_keeps_the_function_and_removing_keeps_it_again"),
        ((3, "# Equation 2"), (3, "‖w‖ = g whatever v is"), (3, "Wrapping keeps the function")),
    ),
    Entry(
        "below (2)", "The length on a log-scale: g = e^s, so that ∇_s L = e^s ∇_g L.",
        "wn.explicit_gradients_log_scale wn.WeightNorm",
        (WN + "test_explicit_gradients_for_the_log_scale_are_those_of_autograd",
         WN + "test_the_gradient_for_the_log_scale_is_that_for_g_times_g_and_v_has_the_same",
         LAYERS + "test_gradients_flow_to_v_and_g"),
        ((3, "# The log-scale"), (3, "∇_s L = g ∇_g L")),
    ),
    Entry(
        "(3)", "The gradients: ∇_g L = ∇_w L·v/‖v‖ and ∇_v L = g/‖v‖ ∇_w L - g ∇_g L/‖v‖² v.",
        "wn.explicit_gradients",
        (WN + "test_explicit_gradients_are_those_of_autograd", WN + "test_gradients_to_second_order",
         WN + "test_the_gradient_for_g_is_the_part_of_the_gradient_along_v",
         WN + "test_pythagoras_holds_for_the_two_parts_of_the_gradient"),
        ((3, "Equation 3 by hand = autograd"), (3, "Equation 3 by hand = central differences")),
    ),
    Entry(
        "(4)", "The same as a projection: ∇_v L = g/‖v‖ M_w ∇_w L with M_w = I - w wᵀ/‖w‖².",
        "wn.projection_matrix wn.project",
        (WN + "test_equation_4_is_equation_3", WN + "test_the_jacobian_that_autograd_finds_is_the_projection",
         WN + "test_the_projection_is_symmetric_idempotent_kills_w_and_has_rank_k_minus_1",
         WN + "test_projecting_is_multiplying_by_the_matrix"),
        ((3, "# What follows from equation 3"), (4, "M_w is a projection across w (eq. 4)"),
         (4, "∇_v L by autograd = (g/‖v‖) M_w ∇_w L")),
    ),
    Entry(
        "after (4)", "A step of relative size c = ‖Δv‖/‖v‖ lengthens v: ‖v'‖ = √(1 + c²) ‖v‖.", "wn.NormTracker",
        (GROWTH + "test_the_norm_grows_by_the_law_of_the_relative_step",
         GROWTH + "test_plain_gradient_descent_leads_to_the_predicted_norm"),
        ((3, "‖v'‖ = √(1 + c²) ‖v‖ in each step"), (5, "‖v'‖ = √(1 + c²) ‖v‖ in each step")),
    ),
    Entry(
        "§ 2.1", "The covariance of the gradient for v: D = (g²/‖v‖²) M_w C M_w.",
        "wn.gradient_covariance wn.preconditioned_covariance",
        (COVARIANCE + "test_it_is_the_formula_of_the_paper",
         COVARIANCE + "test_it_is_the_covariance_of_the_gradients_for_v",
         COVARIANCE + "test_it_is_the_covariance_of_what_autograd_computes"),
        ((4, "The covariance of 400 gradients of v, by autograd, is D"),),
    ),
    Entry(
        "before (5)", "Batch normalization of a pre-activation: t' = (t - μ[t])/σ[t].", "minigrad.nn.BatchNorm",
        ("nn/test_layers.py::test_batch_norm",), ((8, "# Batch normalization and its gradient"),),
    ),
    Entry(
        "(5)", "The first pass of data-dependent initialization: t = v·x/‖v‖, y = φ((t - μ[t])/σ[t]).",
        "wn.data_dependent_init",
        (INIT + "test_every_pre_activation_has_mean_0_and_variance_1",
         INIT + "test_the_network_becomes_the_batch_normalized_one_with_the_statistics_frozen"),
        ((7, "# Equations 5 and 6"), (7, "wn.data_dependent_init = equations 5 and 6 written out")),
    ),
    Entry(
        "(6)", "What it sets: g ← 1/σ[t] and b ← -μ[t]/σ[t].", "wn.data_dependent_init",
        (INIT + "test_initializing_again_on_the_same_batch_changes_nothing",
         INIT + "test_where_it_starts_from_does_not_matter_neither_g_nor_b_nor_an_earlier_batch"),
        ((7, "Twice is the same as once, from any g and b"), (7, "# Three ways to get it wrong")),
    ),
    Entry(
        "(7)", "Mean-only batch normalization: t = w·x, t̃ = t - μ[t] + b, y = φ(t̃).", "wn.MeanOnlyBatchNorm",
        (MEAN + "test_equation_7", MEAN + "test_its_gradients_match_finite_differences_to_second_order"),
        ((8, "# Mean-only batch normalization"),),
    ),
    Entry(
        "(8)", "Its gradient: ∇_t L = ∇_t̃ L - μ[∇_t̃ L].", "wn.mean_only_gradients wn.MeanOnlyBatchNorm",
        (MEAN + "test_equation_8_the_gradient_is_centered",
         MEAN + "test_equation_8_written_out_is_what_autograd_finds_and_adds_up_to_zero"),
        ((8, "Equation 8 written out = autograd"),),
    ),
]

INDEX["Introduction and section 2: the reparameterization"] = [
    Entry(
        "§ 1", "Curvature depends on the parameterization, and gradient descent is slow where the Hessian's condition "
        'number is large (the paper says "low", and means "high").', "minigrad.hessian wn.weight_norm",
        (WN + "test_the_hessian_at_a_minimum_is_that_of_w_between_two_jacobians",),
        ((3, "Hessian in (v, g) at the minimum"), (4, "# 6. Curvature")),
    ),
    Entry(
        "§ 1, 2.1", "No additional memory, and hardly any computation, which does not grow with the minibatch.",
        "wn.weight_norm", (), ((3, "The memory that weight normalization adds"), (8, "# What it costs")),
    ),
    Entry(
        "abstract", "No dependencies between the examples of a minibatch, and so no noise.", "wn.weight_norm",
        (LAYERS + "test_no_example_depends_on_another",), ((8, "Weight norm: influence of one example on another"),),
    ),
    Entry(
        "§ 2", "‖w‖ = g, independent of v.", "wn.weight_norm",
        (WN + "test_every_weight_vector_is_g_long_and_points_along_v",), ((3, "‖w‖ = g whatever v is"),),
    ),
    Entry(
        "§ 2", "To reparameterize is not the same as to normalize w after each step.", "", (), ((3, "# Exercises"),),
    ),
    Entry(
        "§ 2", "It improves the conditioning of the gradient, and convergence.", "wn.weight_norm", (),
        ((3, "Valley along w*, η λ_max = 2.2: weight normalization"), (3, "Steep along w*, η λ_max = 3"),
         (4, "White inputs: weight norm does not improve the condition number"),
         (4, "Inputs of mean 1, η = 0.3: it does")),
    ),
    Entry(
        "§ 2", "Learning s with g = e^s is no advantage, and slightly slower.", "wn.WeightNorm", (),
        ((3, "One neuron: the log-scale narrows the usable range"),
         (3, "Large inputs (times 4, g below 1): the log-scale is slower")),
    ),
]

INDEX["Section 2.1: gradients, growth, effective learning rate"] = [
    Entry(
        "§ 2.1", "∇_v L is scaled by g/‖v‖ and projected away from w: it is at a right angle to v.",
        "wn.explicit_gradients wn.project",
        (WN + "test_the_gradient_for_v_is_orthogonal_to_v", WN + "test_the_gradient_for_v_falls_with_the_length_of_v"),
        ((3, "∇_v L is at a right angle to v"), (9, "∇_v L is orthogonal to v in every unit")),
    ),
    Entry(
        "§ 2.1", "Under plain gradient descent ‖v‖ grows monotonically.", "wn.NormTracker",
        (GROWTH + "test_plain_gradient_descent_leads_to_the_predicted_norm",),
        ((3, "‖v‖ never shrinks"), (5, "‖v‖ grows monotonically without momentum")),
    ),
    Entry(
        "§ 2.1", "The projection also takes away the noise along w.", "wn.preconditioned_covariance",
        (COVARIANCE + "test_it_has_no_variance_along_v_and_is_positive_semidefinite",),
        ((4, "There is no noise along v"),),
    ),
    Entry(
        "§ 2.1", "Noisy gradients make ‖v‖ grow quickly; with small gradients it stops growing, and so the scaled "
        "gradient stabilizes its own size.", "wn.NormTracker",
        (WN + "test_the_gradient_for_v_falls_with_the_length_of_v",),
        ((5, "Noisy gradients make ‖v‖ grow quickly"), (6, "# A clock that needs no setting")),
    ),
    Entry(
        "§ 2.1", "Not strictly so with Adam or momentum, but qualitatively.", "wn.NormTracker",
        (GROWTH + "test_momentum_leaves_the_prediction",),
        ((5, "Momentum: each step lengthens v"), (5, "Adam with noise: qualitatively it does"),
         (9, "under Adam, ‖v‖ has grown in every layer")),
    ),
    Entry(
        "§ 2.1", "Too large a learning rate makes ‖v‖ grow until the effective learning rate is appropriate.",
        "wn.NormTracker", (),
        ((6, "# Too fast is too short"), (6, "# A learning rate 1000 times too large, step by step")),
    ),
    Entry(
        "§ 2.1", "So a much wider range of learning rates works than with the normal parameterization.",
        "wn.WeightNorm", (),
        ((3, "One neuron: weight norm widens the usable range"), (3, "Small network, one η for all parameters"),
         (3, "Small network, η for v only"), (6, "# How wide is the range?")),
    ),
    Entry(
        "§ 2.1", "Once ‖v‖ is large, the effective learning rate stabilizes.", "wn.NormTracker", (),
        ((5, "Network, label noise, η = 10: the effective rate does not stabilize"),
         (5, "Network without noise, η = 1: the effective rate stabilizes"),
         (6, "# Does the effective learning rate stabilize?")),
    ),
    Entry(
        "§ 2.1", "Batch normalization has this property too, for the same reason.", "minigrad.nn.BatchNorm", (),
        ((6, "# A thousand small networks"), (6, "Batch norm, one η for all"),
         (9, "full BN grows more than mean-only BN alone")),
    ),
    Entry(
        "§ 2.1", "w is often close to a dominant eigenvector of C, so that D is closer to the identity.",
        "wn.gradient_covariance wn.preconditioned_covariance",
        (COVARIANCE + "test_its_eigenvalues_across_v_interlace_with_those_of_c",),
        ((4, "w is close to a dominant eigenvector of C (sec. 2.1)"), (4, "There D is closer to the identity than C"),
         (4, "Elsewhere w is not close to a dominant eigenvector")),
    ),
    Entry(
        "§ 2.1", "Scaling by g/‖v‖, too, brings the covariance closer to the identity.", "wn.preconditioned_covariance",
        (),
        ((4, "Scaling evens out the noise between neurons (sec. 2.1)"),),
    ),
]

INDEX["Section 2.2: batch normalization"] = [
    Entry(
        "§ 2.2", "For one layer with whitened inputs, μ[t] = 0 and σ[t] = ‖v‖: batch and weight normalization are the "
        "same.", "minigrad.nn.BatchNorm wn.weight_norm",
        (WN + "test_with_whitened_inputs_batch_normalization_is_weight_normalization",),
        ((8, "Inputs whitened on the batch: BN and WN have equal outputs"),),
    ),
    Entry(
        "§ 2.2", "Not so in deeper networks.", "", (),
        ((8, "First of two layers, whitened, full batch"), (8, "Trained: in layers 2 to 5 the statistics have left")),
    ),
    Entry(
        "§ 2.2", "Convolutional networks have fewer weights than pre-activations, so normalizing weights is cheaper.",
        "", (),
        ((8, "CIFAR-10 network, minibatch of 100: pre-activations per weight"),),
    ),
    Entry(
        "§ 2.2", "‖v‖ is no random number; the mean and variance of a small minibatch are.", "", (),
        ((8, "# Minibatches"), (8, "# The size of the minibatch")),
    ),
    Entry(
        "§ 2.2", "It can be applied to recurrent networks, with w computed once for a sequence.",
        "wn.apply_weight_norm minigrad.nn.LSTMCell minigrad.nn.Module.computed_once",
        (CELL + "test_both_matrices_are_normalized_by_rows_and_the_function_stays",
         CELL + "test_weights_computed_once_give_the_same_gradients"), (),
        "the lesson on DRAW is not written",
    ),
]

INDEX["Section 3: data-dependent initialization"] = [
    Entry(
        "§ 3", "Weight normalization does not fix the scale of features across layers, so initialization matters.",
        "wn.data_dependent_init", (),
        ((7, "RMS changes by s√(n/2) per layer, six starts, 50 layers"), (7, "# Does it help?")),
    ),
    Entry(
        "§ 3", "All features start with mean 0 and variance 1, on the minibatch used.", "wn.data_dependent_init",
        (INIT + "test_every_pre_activation_has_mean_0_and_variance_1",),
        ((7, "Every pre-activation has mean 0"), (7, "Every pre-activation has variance 1")),
    ),
    Entry(
        "§ 3", "On other minibatches they are slightly different.", "wn.data_dependent_init", (),
        ((7, "Layer 1, N = 100: later minibatches' deviations are off by 1/√2N"),
         (7, "Layer 10, N = 300: 'slightly different statistics'"), (7, "Layer 10, N = 10: not slightly")),
    ),
    Entry(
        "§ 3", "The elements of v come from a normal distribution with deviation 0.05; their scale does not change the "
        "function.",
        "wn.data_dependent_init",
        (INIT + "test_every_pre_activation_has_mean_0_and_variance_1",
         INIT + "test_directions_are_left_alone_and_a_negative_g_stays_negative"),
        ((7, "Mistake: statistics of v·x instead of v·x/‖v‖"),
         (7, "Weight normalization after equations 5 and 6: the scale of v does matter"),
         (9, "# 3. One starting point")),
    ),
    Entry(
        "§ 3", "Networks without weight normalization can be initialized so, too.", "wn.data_dependent_init",
        (INIT + "test_every_pre_activation_has_mean_0_and_variance_1",),
        ((7, "Same function without and with weight normalization"), (7, "First step across w, weight norm / normal")),
    ),
    Entry(
        "§ 3", "Recurrent networks cannot: they keep their standard initialization.", "wn.data_dependent_init",
        (INIT + "test_layers_that_do_not_run_and_recurrent_cells_are_left_alone",),
        ((7, "# Where it does not apply"),),
    ),
]

INDEX["Section 4: mean-only batch normalization"] = [
    Entry(
        "§ 4", "Weight normalization leaves the scale of the activations nearly independent of v, but not their means.",
        "wn.weight_norm", (),
        ((8, "Trained: in layer 2 the means have moved more"),
         (8, "Trained: in layer 5 the deviations have moved too")),
    ),
    Entry(
        "§ 4", "A running average of the means takes their place at test time.", "wn.MeanOnlyBatchNorm",
        (MEAN + "test_the_running_mean_is_used_in_evaluation_and_followed_in_training_only",), (),
    ),
    Entry(
        "§ 4", "It centers the gradients that are backpropagated.", "wn.mean_only_gradients",
        (MEAN + "test_equation_8_the_gradient_is_centered",),
        ((8, "The backpropagated gradients are centred"),),
    ),
    Entry(
        "§ 4", "It costs less than full batch normalization.", "wn.MeanOnlyBatchNorm", (),
        ((8, "Weight norm + mean-only BN: bytes kept for each further example"),
         (8, "Batch norm: arrays of the size of t kept for each further example")),
    ),
    Entry(
        "§ 4", "Its noise is smaller, and nearly normal; that of an estimated variance is highly kurtotic.",
        "wn.MeanOnlyBatchNorm", (),
        ((8, "Gaussian, N = 256: variance of the noise"),
         (8, "Gaussian, N = 128: the variance estimate is not highly kurtotic"),
         (8, "Trained network, N = 128: the noise in gradients has heavier tails with BN")),
    ),
]

INDEX["Section 5.1: CIFAR-10"] = [
    Entry(
        "§ 5.1", "The networks have identical parameters starting out.", "wn.data_dependent_init wn.remove_weight_norm",
        (INIT + "test_the_network_becomes_the_batch_normalized_one_with_the_statistics_frozen",),
        ((9, "the five networks start as the same function"),),
    ),
    Entry(
        "§ 5.1", "The network of table 1 (supplement), on whitened pictures.", "minigrad.data.zca_cached", (),
        ((9, "# 1. Pictures"), (9, "# 2. The network")),
    ),
    Entry(
        "§ 5.1", "The learning rate is constant for the first half, then falls linearly to zero, and Adam's β₁ is 0.5 "
        "instead of 0.9.",
        "minigrad.optim.Adam minigrad.optim.schedules.constant_then_linear",
        ("test_optim.py::test_the_schedule_is_constant_then_linear",
         "test_optim.py::test_adam_with_beta1_changed_midway"), ((9, "# 4. Training"),),
    ),
    Entry(
        "§ 5.1", "Weight and batch normalization learn faster than the normal parameterization (figure 1).", "", (),
        ((9, "batch normalization ends with a lower training error"),
         (9, "WN + mean-only BN ends with a lower training error than the normal")),
    ),
    Entry(
        "§ 5.1", "Batch normalization is ahead of weight normalization at first, later they are equally fast, and the "
        "normal parameterization lags behind (figure 1).", "", (), ((9, "# 5. The curves"),),
        "a claim needs lesson 9 with --full; the quick run shows the beginning, results/cifar10 a run of 40 epochs",
    ),
    Entry(
        "§ 5.1", "Batch normalization is 16 % slower per epoch, weight normalization not noticeably.", "", (),
        ((9, "# 5. The curves"),), "printed, but not claimed: times depend on the machine",
    ),
    Entry(
        "§ 5.1", "Test errors (figure 2): 8.43 % normal, 8.46 % weight norm., 8.52 % mean-only BN, 8.05 % BN, 7.31 % "
        "WN + mean-only BN.", "", (), ((9, "# 5. The curves"),),
        "a claim needs lesson 9 with --full; the quick run cannot tell; results/cifar10 has a run of 40 epochs",
    ),
    Entry(
        "§ 5.1", "The noise of batch normalization can regularize; mean-only noise is better because of its "
        "distribution (a hypothesis).", "", (), ((8, "# The noise as a regularizer"),),
    ),
]

INDEX["Sections 5.2 to 5.4: generative models and reinforcement learning"] = [
    Entry(
        "§ 5.2", "Adamax, and Polyak averaging as an exponential moving average.",
        "minigrad.optim.Adamax minigrad.optim.ExponentialMovingAverage",
        ("test_optim.py::test_adamax_follows_algorithm_2",
         "test_optim.py::test_the_average_is_the_weighted_sum_of_all_parameters_so_far"), (),
        "the lesson on variational auto-encoders is not written",
    ),
    Entry(
        "§ 5.2", "A convolutional variational auto-encoder converges to a better bound, with less variance between "
        "seeds (figure 3).", "", (), (), "the lesson on variational auto-encoders is not written",
    ),
    Entry(
        "§ 5.3", "Weight normalization applies trivially to the weight vectors of each LSTM unit.",
        "minigrad.nn.LSTMCell wn.apply_weight_norm",
        (CELL + "test_both_matrices_are_normalized_by_rows_and_the_function_stays",), (),
        "the lesson on DRAW is not written",
    ),
    Entry(
        "§ 5.3", "DRAW converges much faster (figure 4), with the initialization and learning rate tuned for the "
        "normal parameterization.", "", (), (), "the lesson on DRAW is not written",
    ),
    Entry(
        "§ 5.4", "DQN learns faster, and better on average over four games (figures 5 and 6); batch normalization "
        "needs impractically large minibatches.", "", (), (), "the lesson on deep Q-learning is not written",
    ),
]
INDEX["Later work that the lessons put beside it"] = [
    Entry(
        "2018", "With noise that stays, the effective learning rate keeps falling, as 1/√t, whatever η is (Arora, Li & "
        "Lyu, arXiv:1812.03981).", "", (),
        ((5, "Tangent noise, well inside the window: η_eff = 1/(G√(2t)) whatever η is"),
         (6, "# A clock that needs no setting")),
    ),
    Entry(
        "2020", "Momentum multiplies the growth of ‖v‖² (Heo et al., arXiv:2006.08217).", "", (),
        ((5, "Momentum: ‖v_t‖² by the law of Heo et al. (2020)"),),
    ),
    Entry(
        "2017", "Weight decay on v only sets the effective learning rate (van Laarhoven, arXiv:1706.05350).", "", (),
        ((5, "(2v₀, 4η, λ/4) and (v₀, η, λ) go through the same functions"),),
    ),
    Entry(
        "2020, 2023", "Under weight decay ‖v‖ comes to a balance (Wan et al., arXiv:2006.08419; Kosson et al., "
        "arXiv:2305.17212).", "", (),
        ((5, "Balance under decay, tangent noise, SGD and momentum"),),
    ),
    Entry(
        "2019", "Weight decay without gradients shrinks ‖v‖ until the next step overflows (Li et al., "
        "arXiv:1911.05920).", "", (), ((5, "Decay for 2300 steps without gradients"),),
    ),
    Entry(
        "2019", "A ‖v‖ that stays constant regularizes (Wu et al., arXiv:1911.07956).", "", (),
        ((5, "Gradient flow: ‖w⊥‖ by the law of Wu et al. (2019)"),),
    ),
    Entry(
        "2018", "Batch normalization shortens gradients (Santurkar et al., arXiv:1805.11604).", "", (),
        ((8, "‖∇_t L‖² = (γ²/σ²)(‖δ‖² - mean part - radial part)"),),
    ),
    Entry(
        "2019", "Where every layer has variance 1 forward, gradients grow backward (Yang et al., arXiv:1902.08129).",
        "", (),
        ((7, "# Backwards"),),
    ),
    Entry(
        "2019", "Equi-normalization: of all equivalent networks, the one with the smallest Σ‖W‖² (Stock et al., "
        "arXiv:1902.10416).",
        "wn.equi_normalize",
        ("wn/test_equinorm.py::test_the_function_stays",
         "wn/test_equinorm.py::test_at_the_end_incoming_norms_times_c_are_outgoing_norms_and_it_stays_there",
         "wn/test_equinorm.py::test_the_end_does_not_depend_on_which_equivalent_network_one_starts_from"), (),
        "the lesson on equi-normalization is not written",
    ),
]
# fmt: on


def resolve(name):
    """The object with a dotted name: "wn.weight_norm" or "minigrad.nn.Linear"."""
    package, *attributes = name.split(".")
    found = importlib.import_module(package)
    for attribute in attributes:
        found = getattr(found, attribute)
    return found


def text():
    """The index for a terminal of 100 columns."""
    lines = ["Every equation and every testable claim of", PAPER, ""]
    for title, entries in INDEX.items():
        lines += [title, "─" * len(title)]
        for entry in entries:
            lines += _wrapped(entry.place, entry.says)
            lines += _wrapped("  function", ", ".join(entry.functions.split())) if entry.functions else []
            label, last = "  test", None
            for file, name in (test.split("::") for test in entry.tests):
                lines += _wrapped(label, f"tests/{file}") if file != last else []
                lines += _wrapped("", f"  {name}")
                label, last = "", file
            label = "  lesson"
            for number, anchor in entry.lessons:
                lines += _wrapped(label, f"{number:02d}, {_shown(anchor)}")
                label = ""
            lines += _wrapped("  not yet", entry.pending) if entry.pending else []
            lines.append("")
    return "\n".join(lines)


def _wrapped(label, content):
    indent = " " * 12
    first = f"{label:<11} " if len(label) <= 11 else f"{label}  "
    return textwrap.wrap(content, WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip


def markdown():
    """The index as a page, with links."""
    lines = [
        "# Where everything is",
        "",
        f"Every numbered equation, and every claim that can be tested, of {PAPER}: what it says, what computes it, "
        "which test holds it, and which lesson shows it. Whether a claim holds, and how far, the lessons measure.",
        "",
        "Generated by `python -m lessons.equations > docs/equations.md`; `python -m lessons --equations` prints it.",
    ]
    for title, entries in INDEX.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| equation | what it says | function | test | lesson |",
            "|---|---|---|---|---|",
        ]
        for entry in entries:
            functions = [f"[`{name}`](../{_source(name)})" for name in entry.functions.split()]
            tests = [f"[{name}](../tests/{file})" for file, name in (test.split("::") for test in entry.tests)]
            files = lessons.lesson_files()
            shown = [f"[{n:02d}](../lessons/{files[n].name}), {_shown(anchor)}" for n, anchor in entry.lessons]
            shown += [f"*not yet: {entry.pending}*"] if entry.pending else []
            cells = [entry.place, entry.says, *("<br>".join(cell) for cell in (functions, tests, shown))]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(anchor):
    return f"part: {anchor[2:]}" if anchor.startswith("# ") else f"claim: {anchor}"


def _source(name):
    return Path(inspect.getsourcefile(inspect.unwrap(resolve(name)))).relative_to(ROOT)


if __name__ == "__main__":
    print(markdown(), end="")
