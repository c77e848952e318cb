r"""Likely causes: what a wrong gradient looks like
===============================================

``check_grads`` has raised, and its message ends with "Likely cause: …". Should you believe it? The numbers of a wrong
gradient often say what is wrong: all of one factor, the right ones in another order, zeros in one place. Here weight
normalization, whose backward rule is easy to get wrong, is the patient. We break it in six ways and read the messages;
the sixth mistake fits no pattern, but a law finds it.

Afterwards you can

- read a message of ``check_grads``, and know what its hint rests on;
- tell the common mistakes by their numbers;
- find a law that your function obeys, and test it without any step or tolerance for differences.

Read first: lesson 02 (checking gradients), parts 2 to 4.

Claims checked, and where they are made:

- a layer with weight normalization passes, to second order (part 1);
- of six planted mistakes, five are named and one is rightly not named (part 2);
- the gradient is orthogonal to v, and the sixth mistake breaks that by what a formula says (part 3).

Time: quick about 2 s, full about 2 s.
"""

# %%
# Everything here runs on one core of the CPU.

import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import Lesson
from minigrad.op import REGISTRY, op

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)

# %%
# 1. The patient
# --------------
#
# Weight normalization writes a weight vector $w$ as $w = g\, v / \lVert v\rVert$, a length times a direction, with one
# pair $(g, v)$ for each row of a layer's weight matrix. Lesson 03 says what that is good for; here it is only a
# function. Its backward rule is not obvious, because each entry of $v$ moves the norm, and with it the whole row. First
# we check the library's own rule, in a layer with inputs, for all of its four arguments.

rng = lesson.rng(1)
x, v, g, b = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.uniform(0.5, 2, 4), rng.normal(size=4)


def normalized_layer(x, v, g, b):
    return mg.tanh(x @ wn.weight_norm(v, g).T + b)


def message(f, args, **options):
    """What check_grads says, or "" if it passes."""
    try:
        mg.testing.check_grads(f, args, **options)
        return ""
    except AssertionError as error:
        return str(error)


print("check_grads, to second order:", message(normalized_layer, [x, v, g, b]) or "nothing to complain about")
lesson.claim("Alarms about a weight-normalized layer, first and second order",
             bool(message(normalized_layer, [x, v, g, b])), near=0, within=0)

# %%
# 2. Six mistakes
# ---------------
#
# The right rule for $g = 1$ is
#
# $$\nabla_v = \frac{1}{\lVert v\rVert}\left(\nabla_w - \frac{\nabla_w \cdot v}{\lVert v\rVert^2}\, v\right),$$
#
# for each row by itself. Each mistake changes what the rule returns. When the numbers differ, ``check_grads`` compares
# them: are the wrong entries all off by one factor? Are they the right ones, transposed? Are they zero? A cause is
# named only if it explains *every* wrong entry to within the tolerance.


def weight_norm_with(change):
    def rule(grad_w, _w, v):
        lengths = mg.norm(v, 1, keepdims=True)
        right = (grad_w - v * mg.sum(grad_w * v, 1, keepdims=True) / lengths**2) / lengths
        return change(right, grad_w, lengths)

    forward = lambda xp, v: v / xp.sqrt((v * v).sum(1, keepdims=True))
    function = op("planted", "v/‖v‖, row by row, with a mistake.", forward, rule)
    del REGISTRY["planted"]
    return function


square_v, last_row_0 = rng.normal(size=(3, 3)), np.array([[1.0], [1.0], [0.0]])
CAUSES = {  # the change, and what the message should say
    "sign": (lambda right, grad_w, lengths: -right, "the sign is flipped"),
    "factor": (lambda right, grad_w, lengths: right * 0.5, "half the difference quotient"),
    "transposed": (lambda right, grad_w, lengths: right.T, "a transposition"),
    "not wired": (lambda right, grad_w, lengths: right * 0, "not wired"),
    "row dropped": (lambda right, grad_w, lengths: right * last_row_0, "shares of the gradient are dropped"),
    "norm taken for a constant": (lambda right, grad_w, lengths: grad_w / lengths, None),
}
named = 0
for name, (change, words) in CAUSES.items():
    said = message(weight_norm_with(change), [square_v])
    print(f"{name}:\n  " + said.replace("\n", "\n  ") + "\n")
    named += bool(said) and (words in said if words else "Likely cause" not in said)
lesson.claim("Causes named rightly, or rightly not named, of 6", named, near=len(CAUSES), within=0)

# %%
# Read the second message: "half the difference quotient at every wrong entry". The hint rests on exactly that. A factor
# that is the same for nine entries to within $10^{-6}$ is no coincidence; for a single entry, only simple numbers such
# as 2 or 1/2 count. The transposition leaves the diagonal right, so 6 of 9 entries are wrong. The dropped row leaves
# six right.
#
# For the last mistake, which takes the norm for a constant, no pattern fits. So no cause is named: a wrong hint is
# worse than none.
#
# 3. A law for what has no name
# -----------------------------
#
# The function does not change when $v$ is made longer, so its gradient has no component along $v$:
# $v \cdot \nabla_v = 0$ in each row. This holds up to rounding, without any step size, and it says where to look. If
# the norm is taken for a constant, $\nabla_v = \nabla_w/\lVert v\rVert$, and what is left is
#
# $$v \cdot \nabla_v = \frac{v \cdot \nabla_w}{\lVert v\rVert} .$$

grad_w = rng.normal(size=(3, 3))
lengths = np.linalg.norm(square_v, axis=1)


def along_v(change):
    """v·∇_v for each row, when the gradient grad_w comes in."""
    return np.sum(square_v * mg.vjp(weight_norm_with(change), square_v)[1](grad_w).data, axis=1)


kept = along_v(lambda right, grad_w, lengths: right)
broken = along_v(CAUSES["norm taken for a constant"][0])
print("v·∇_v, right rule:", kept)
print("v·∇_v, norm constant:", broken)

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Each row takes about ten operations with numbers of size 1 to 10: $10^{-14}$ is ample for both.

lesson.claim("v·∇_v = 0 for the right rule: largest", abs(kept).max(), below=1e-14)
lesson.claim("With the norm taken for a constant, v·∇_v = v·∇_w/‖v‖", broken,
             predicted=np.sum(square_v * grad_w, axis=1) / lengths, rtol=0.0, atol=1e-14)

# %%
# Lesson 03 makes much of this law. Such laws are more common than one might think: softmax does not change when all its
# inputs grow by the same amount (so its gradients add up to zero), and a mean over a minibatch does not depend on its
# order.
#
# Questions
# ---------
#
# 1. Two mistakes at once: flip the sign *and* drop the last row. What does ``check_grads`` say, and why? What if the
#    sign is flipped in the last row only?
# 2. A rule for ``mg.logsumexp`` returns 1 for the largest entry and 0 for the others, the gradient of ``mg.max``. Find
#    a law that both the right gradient and this one obey; then one that only the right gradient obeys.

lesson.finish()
