r"""What weight normalization costs: memory and time
================================================

"No additional memory is required", says the paper's introduction, and "the computational overhead is low". Open this
chapter when you have to decide whether you can afford it: for a wide layer, for a small minibatch, on a small machine.
The answer is a formula, in bytes, and one question: how often is each weight used?

Afterwards you can

- say which arrays are kept for the backward pass because of weight normalization, with equation 2 in ordinary
  operations and as one op, and count their bytes;
- explain why this does not depend on the minibatch, and what does depend on it in batch normalization.

Read first: lesson 03 (weight normalization); of lesson 01, what the tape keeps (``mg.draw``).

Claims checked:

- one op whose backward rule is equation 3 keeps nothing but its own parameters;
- "no additional memory" (introduction): one array of the size of the weights, and the g, whatever the minibatch;
- the extra work does not depend on the size of the minibatch (section 2.1).

Time: quick about 2 s, full about 2 s.
"""

# %%
# On the tape
# -----------
#
# Equation 2 is $w = g\,v/\|v\|$ for each weight vector: a direction $v$ and a length $g$. Each operation in it leaves a
# node on the tape, and a node keeps the arrays that its backward rule will need. ``wn.weight_norm_composite`` is
# equation 2 in ordinary operations; ``wn.weight_norm`` is the same function as a single op, whose backward rule is
# equation 3. ``mg.draw`` says what the tape of $w$ keeps, and which of these arrays are $v$ and $g$ themselves
# (``of_leaf``). A layer of 100 neurons with 500 inputs, float32 as in training:

import time

import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)
rng = lesson.rng(1)
NEURONS, INPUTS, FLOAT32 = 100, 500, 4  # bytes of a number
FORMS = {"ordinary ops": wn.weight_norm_composite, "one op": wn.weight_norm}


def parameters(neurons, inputs):
    """v and g of a layer."""
    v = mg.tensor(rng.normal(size=(neurons, inputs)).astype(np.float32), requires_grad=True)
    return v, mg.tensor(np.ones(neurons, np.float32), requires_grad=True)


v, g = parameters(NEURONS, INPUTS)
kept = {}
for name, function in FORMS.items():
    entries = [entry for entry in mg.draw.entries(function(v, g)) if not entry.is_leaf]
    kept[name] = sum(array.bytes for entry in entries for array in entry.kept if not array.of_leaf)
    ops = ", ".join(entry.title for entry in entries)
    print(f"{name:12}: {len(entries)} on the tape ({ops}); keeps {kept[name]:,} bytes besides v and g")
lesson.claim("wn.weight_norm keeps for its backward rule nothing but v and g: further bytes", kept["one op"], near=0,
             within=0)
lesson.claim("In ordinary ops: one more array of the size of the weights, and two of a number per neuron, in bytes",
             kept["ordinary ops"], predicted=FLOAT32 * NEURONS * (INPUTS + 2), rtol=0)

# %%
# The four operations keep one array of the size of $v$, the quotient or product, and the norms and $g$ in the shape in
# which they are broadcast. The single op computes the norms again in the backward pass.
#
# A whole layer
# -------------
#
# Now the whole layer, $t = X w^{\mathsf T}$, for several sizes $B$ of the *minibatch*: the examples, a row of $X$ each,
# that one step of training looks at. With weight normalization the product needs $w$, which is no longer a parameter
# and has to be kept beside $v$; and the op keeps $g$. That makes
# $4\,(\text{neurons} \cdot \text{inputs} + \text{neurons})$ bytes, whatever $B$ is.


def bytes_for_layer(batch, neurons, inputs, normalized):
    """What the tape of one linear layer keeps for the backward pass."""
    v, g = parameters(neurons, inputs)
    x = mg.tensor(np.ones((batch, inputs), np.float32), requires_grad=True)  # as if a layer came before this one
    w = wn.weight_norm(v, g) if normalized else v
    return mg.draw.bytes_kept(x @ w.swapaxes(0, 1))


def bytes_for_batch_norm(batch):
    """What batch normalization of the layer's pre-activations keeps."""
    t = mg.tensor(rng.normal(size=(batch, NEURONS)).astype(np.float32), requires_grad=True)
    return mg.draw.bytes_kept(mg.nn.BatchNorm(NEURONS)(t))


print("       layer       B   extra bytes    for comparison, batch normalization")
extra, formula = [], []
for neurons, inputs in ((NEURONS, INPUTS), (300, 20)):
    for batch in (10, 100, 1000):
        more = bytes_for_layer(batch, neurons, inputs, True) - bytes_for_layer(batch, neurons, inputs, False)
        extra.append(more)
        formula.append(FLOAT32 * neurons * (inputs + 1))
        other = f"{bytes_for_batch_norm(batch):25,}" if neurons == NEURONS else ""
        print(f"{inputs:5} to {neurons:3} {batch:7} {more:13,} {other}")
lesson.claim("The memory that weight normalization adds: w and g, the same for minibatches of 10 and of 1000, in bytes",
             extra, predicted=formula, rtol=0)

# %%
# So "no additional memory" is not quite true: $w$ has to exist beside $v$, one array of the size of the weights. The
# authors compare with batch normalization, which keeps arrays of the size of the *pre-activations* $t$; those grow with
# the minibatch, as the last column shows. "Independent of the minibatch size" (section 2.1) is exact.
#
# Time
# ----
#
# The whole overhead is reading and writing the weights a few more times. It is the same for each minibatch, while the
# layer's own work, two products in the backward pass and one in the forward pass, grows with it. So the overhead per
# example falls as $1/B$. Time on a shared machine is too noisy for a claim; we print the fastest of many passes, which
# the machine's other work disturbs least.


def seconds(make_weight, batch, repeats=40):
    """The time of a forward and backward pass through the layer."""
    x, times = rng.normal(size=(batch, INPUTS)).astype(np.float32), []
    for _ in range(repeats):
        start = time.perf_counter()
        mg.square(x @ make_weight().swapaxes(0, 1)).mean().backward()
        times.append(time.perf_counter() - start)
    return min(times)


makers = {"normal": lambda: v, "ordinary ops": lambda: wn.weight_norm_composite(v, g),
          "one op": lambda: wn.weight_norm(v, g)}
print("forward and backward pass, in ms; in brackets, what weight normalization adds to the normal parameterization")
print("     B " + "".join(f"{name:>18}" for name in makers))
for batch in (10, 100, 1000):
    times = [1e3 * seconds(make, batch) for make in makers.values()]
    print(f"{batch:6} " + "".join(f"{t:9.2f} ({100 * (t / times[0] - 1):+4.0f} %)" for t in times))

# %%
# Whether that is "low" depends on how often each weight is used: $B$ times per pass in a linear layer; in a
# convolution, once for each place in each image, so that there the overhead is hard to measure at all. A linear layer
# and a small minibatch are the expensive case.
#
# Questions
# ---------
#
# 1. *A convolution.* Take ``mg.nn.Conv2d(16, 32, 3)`` on pictures of 16 × 16 and ``wn.WeightNorm``. By the formula, how
#    many bytes does weight normalization add, and what share is that of all that the layer keeps, for 10 and for 100
#    pictures?
# 2. *Recompute instead of keeping.* ``mg.checkpoint`` drops what a function keeps and computes it again in the backward
#    pass. Wrap the layer's product, together with equation 2, in it. How many of the extra bytes are left, and what
#    does it cost in time?

lesson.finish()
