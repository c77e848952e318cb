"""The gates of an LSTM: c', h' and the gradients of each, one launch each.

A row of `gates` holds i, f, g and o one after the other, as they are before σ and tanh. The gradients compute σ and
tanh again: a GPU does that faster than it would write them into memory and read them.
"""

from minigrad import backend
from minigrad.fast.cuda.kernel import Kernel, blocks_for, usable
from minigrad.fast.replace import faster, instead
from minigrad.nn.recurrent import check_gates

_SOURCE = r"""
__device__ T sigmoid(T x) { return T(0.5) * (1 + tanh(T(0.5) * x)); }

// A thread for each entry of c: `k` is where it is, and `at` where its i is. Its f, g and o follow, `hidden` apart.
#define ENTRY                                                            \
    long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x;      \
    if (k >= count) return;                                              \
    long long at = k + 3 * hidden * (k / hidden);                        \
    long long of_i = at, of_f = at + hidden, of_g = at + 2 * hidden, of_o = at + 3 * hidden;

extern "C" __global__ void lstm_cell_state(const T* gates, const T* c, T* next, long long count, long long hidden) {
    ENTRY
    next[k] = sigmoid(gates[of_f]) * c[k] + sigmoid(gates[of_i]) * tanh(gates[of_g]);
}

extern "C" __global__ void lstm_cell_state_gradients(const T* grad, const T* gates, const T* c, T* grad_gates,
                                                     T* grad_c, long long count, long long hidden) {
    ENTRY
    T i = sigmoid(gates[of_i]), f = sigmoid(gates[of_f]), g = tanh(gates[of_g]);
    grad_gates[of_i] = grad[k] * g * i * (1 - i);
    grad_gates[of_f] = grad[k] * c[k] * f * (1 - f);
    grad_gates[of_g] = grad[k] * i * (1 - g * g);
    grad_gates[of_o] = 0;
    grad_c[k] = grad[k] * f;
}

extern "C" __global__ void lstm_output(const T* gates, const T* c, T* h, long long count, long long hidden) {
    ENTRY
    h[k] = sigmoid(gates[of_o]) * tanh(c[k]);
}

extern "C" __global__ void lstm_output_gradients(const T* grad, const T* gates, const T* c, T* grad_gates, T* grad_c,
                                                 long long count, long long hidden) {
    ENTRY
    T o = sigmoid(gates[of_o]), t = tanh(c[k]);
    grad_gates[of_i] = grad_gates[of_f] = grad_gates[of_g] = 0;
    grad_gates[of_o] = grad[k] * t * o * (1 - o);
    grad_c[k] = grad[k] * o * (1 - t * t);
}
"""
_CELL_STATE, _OUTPUT = Kernel("lstm_cell_state", _SOURCE), Kernel("lstm_output", _SOURCE)
_CELL_STATE_GRADIENTS = Kernel("lstm_cell_state_gradients", _SOURCE)
_OUTPUT_GRADIENTS = Kernel("lstm_output_gradients", _SOURCE)


def cell_state(gates, c):
    """c' (…, hidden), for gates (…, 4·hidden) and c (…, hidden)."""
    return _forward(_CELL_STATE, gates, c)


def output(gates, c):
    """h' (…, hidden), for gates (…, 4·hidden) and c' (…, hidden)."""
    return _forward(_OUTPUT, gates, c)


def cell_state_gradients(grad, gates, c):
    """The gradients for gates and c, from that of c'."""
    return _backward(_CELL_STATE_GRADIENTS, grad, gates, c)


def output_gradients(grad, gates, c):
    """The gradients for gates and c', from that of h'."""
    return _backward(_OUTPUT_GRADIENTS, grad, gates, c)


def _forward(kernel, gates, c):
    check_gates(gates, c)
    xp = backend.array_module(c)
    result = xp.ndarray(c.shape, c.dtype)
    gates, c = xp.ascontiguousarray(gates), xp.ascontiguousarray(c)
    kernel(c.dtype, blocks_for(c.size), gates, c, result, c.size, c.shape[-1])
    return result


def _backward(kernel, grad, gates, c):
    xp = backend.array_module(c)
    grad, gates, c = map(xp.ascontiguousarray, (grad, gates, c))
    grad_gates, grad_c = xp.ndarray(gates.shape, c.dtype), xp.ndarray(c.shape, c.dtype)
    kernel(c.dtype, blocks_for(c.size), grad, gates, c, grad_gates, grad_c, c.size, c.shape[-1])
    return grad_gates, grad_c


for name, forward, gradients in [
    ("lstm_cell_state", cell_state, cell_state_gradients),
    ("lstm_output", output, output_gradients),
]:
    faster(
        name,
        "cuda",
        instead(lambda xp, gates, c, run=forward: run(gates, c), lambda xp, gates, c: usable(gates, c)),
        joint=instead(
            lambda grad, y, gates, c, run=gradients: run(grad, gates, c),
            lambda grad, y, gates, c: usable(gates, c, grad),
        ),
    )
