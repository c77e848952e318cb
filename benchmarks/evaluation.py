"""The paper's network at work: a forward pass in evaluation, with nothing recorded.

minigrad under `no_grad`, PyTorch under `inference_mode`. GFLOP/s count the convolutions.
"""

from benchmarks import measure, training_step
from benchmarks.paper_network import BOTH, LIBRARIES


def run(size):
    answers, left_out = measure.made(LIBRARIES, size, "evaluation", measure.pictures(size.batch)[0])
    times = measure.compare(answers, size, share=0.5)
    operations = training_step.forward_operations(size.widths, size.batch)
    rows = measure.rows(times, BOTH, operations)
    return [measure.Table(f"Evaluation of the paper's network, batch {size.batch}", rows, left_out)]
