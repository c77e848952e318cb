"""Adam's step for all parameters in one launch.

The new parameters go into one new buffer, of which each gets its part. The old arrays stay as they are: a graph made
before the step may still need them, and CuPy's arrays cannot be made read-only. The running means m and v belong to
the optimizer alone and are changed in place.
"""

import functools
import struct

from minigrad import backend
from minigrad.fast.cuda import gpu
from minigrad.fast.cuda.kernel import Kernel, has_no_gaps, like, pieces, usable
from minigrad.fast.replace import faster_method
from minigrad.optim import Adam, AdamW

TENSORS = 56  # in a launch: the table of them is an argument, and those have 4 KiB in all
ALIGNMENT = 64  # entries: where in the buffer a parameter may begin
_ENTRY = struct.Struct("<6q2d")  # of the table

_STEP = Kernel(
    "adam",
    r"""
struct Tensor { const T* x; const T* grad; T* m; T* v; T* out; long long size; double rate, root; };
struct Tensors { Tensor of[56]; };

extern "C" __global__ void adam(const Tensors tensors, const int* owner, const int* first, double beta1_, double beta2_,
                                double eps_, double pull_, double keep_) {
    const Tensor t = tensors.of[owner[blockIdx.x]];
    const T beta1 = beta1_, beta2 = beta2_, eps = eps_, pull = pull_, keep = keep_, rate = t.rate, root = t.root;
    const T rest1 = 1 - beta1_, rest2 = 1 - beta2_;
    long long start = first[blockIdx.x] * 4096LL, end = start + 4096 < t.size ? start + 4096 : t.size;
    #pragma unroll 4
    for (long long i = start + threadIdx.x; i < end; i += blockDim.x) {
        T x = t.x[i], g = t.grad[i] + pull * x;
        T m = t.m[i] * beta1 + g * rest1, v = t.v[i] * beta2 + g * g * rest2;
        t.m[i] = m;
        t.v[i] = v;
        t.out[i] = x * keep - rate * m / (sqrt(v) / root + eps);
    }
}
""",
)


def takes(params, grads):
    return bool(params) and usable(*params, *grads)


def step(params, grads, states, lr, betas, eps, pull=0.0, keep=1.0):
    """The new arrays for parameters; m, v and steps in their states move on.

    x ← keep · x - lr · m̂ / (√v̂ + eps), with pull · x added to the gradient. All arrays are of one dtype.

    Parameters
    ----------
    params, grads : list of array
    states : list of dict
        With "m", "v" and "steps", or empty before the first step.
    """
    xp, dtype = backend.array_module(params[0]), params[0].dtype
    sizes = tuple(p.size for p in params)
    offsets, total = _layout(sizes)
    buffer = xp.ndarray(total, dtype)
    new, kept, table = [], [], []
    for x, grad, state, offset in zip(params, grads, states, offsets, strict=True):
        x = x if has_no_gaps(x) else xp.ascontiguousarray(x)
        if "m" not in state:
            state["m"], state["v"], state["steps"] = xp.zeros_like(x), xp.zeros_like(x), 0
        elif type(state["m"]) is not type(x):  # they follow the model where it has been moved
            state["m"], state["v"] = (backend.to_device(state[name], backend.device_of(x)) for name in "mv")
        grad, m, v = like(grad, x), like(state["m"], x), like(state["v"], x)
        state["m"], state["v"] = m, v
        t = state["steps"] = state["steps"] + 1
        out = _part(buffer, offset, x)
        new.append(out)
        kept.append((x, grad))  # until the kernel has been started
        rate, root = lr / (1 - betas[0] ** t), (1 - betas[1] ** t) ** 0.5
        table.append(_ENTRY.pack(*map(gpu.address, (x, grad, m, v, out)), x.size, rate, root))
    for start in range(0, len(params), TENSORS):
        owner, first = pieces(xp, sizes[start : start + TENSORS])
        tensors = bytearray(b"".join(table[start : start + TENSORS]).ljust(TENSORS * _ENTRY.size, b"\0"))
        numbers = map(float, (*betas, eps, pull, keep))
        _STEP(dtype, len(owner), tensors, owner, first, *numbers)
    return new


@functools.lru_cache(maxsize=8)
def _layout(sizes):
    """Where in the buffer each parameter begins, and how long it is."""
    lengths = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
    return [sum(lengths[:i]) for i in range(len(lengths))], sum(lengths)


def _part(buffer, offset, x):
    """The entries from `offset` on as an array of the shape and memory order of x."""
    flat = buffer[offset : offset + x.size]
    if x.flags.c_contiguous:
        return flat.reshape(x.shape)
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    return flat.reshape([x.shape[axis] for axis in order]).transpose([order.index(axis) for axis in range(x.ndim)])


def in_one_launch(plain):
    """`Adam.step` and `AdamW.step` for parameters on a GPU."""

    def change_all(self):
        pairs = [(p, state) for p, state in zip(self.params, self.state, strict=True) if p.grad is not None]
        params, grads = [p._data for p, _ in pairs], [p.grad._data for p, _ in pairs]
        if type(self) not in (Adam, AdamW) or not takes(params, grads):
            return plain(self)
        decay = (self.weight_decay, 1.0) if type(self) is Adam else (0.0, 1 - self.lr * self.weight_decay)
        new = step(params, grads, [state for _, state in pairs], self.lr, self.betas, self.eps, *decay)
        for (parameter, _), array in zip(pairs, new, strict=True):
            parameter.replace(array)

    return change_all


faster_method(Adam, "step", "cuda", in_one_launch)
