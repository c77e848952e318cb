"""What each parameterization of the paper's network costs, beside the normal one, in minigrad.

The paper's section 5.1: "with our implementation, training with batch normalization was about 16% slower compared to
the standard parameterization. In contrast, weight normalization was not noticeably slower." Steps of all five take
turns.
"""

from benchmarks import measure, training_step


def run(size):
    from benchmarks import in_minigrad

    data = measure.pictures(size.batch)
    steps = {
        name: in_minigrad.training_step(in_minigrad.paper_network(size.widths, name), *data)
        for name in training_step.PARAMETERIZATIONS
    }
    return [
        measure.Table(
            f"Training step of the paper's network by parameterization, widths {size.widths}, batch {size.batch}",
            measure.rows(measure.compare(steps, size), references=("normal",)),
        )
    ]
