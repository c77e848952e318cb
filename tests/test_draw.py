"""The tape as text and as a figure: every node once, every array counted once, no box on another."""

import itertools
import re
import subprocess
import sys

import matplotlib
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import draw

matplotlib.use("Agg")


def leaf(*shape, dtype=numpy.float32):
    return mg.tensor(numpy.linspace(0.1, 0.9, int(numpy.prod(shape))).reshape(shape), dtype=dtype, requires_grad=True)


def test_importing_minigrad_does_not_import_matplotlib():
    code = "import sys, minigrad; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_table_names_ops_arguments_shapes_and_what_is_kept():
    x, w = mg.tensor(numpy.ones((8, 3), numpy.float32)), leaf(3, 2)
    h = mg.tanh(x @ w)
    lines = draw.text((h * 2.0).sum(axis=0), {"x": x, "w": w, "h": h}).splitlines()
    assert lines[1].split() == ["0", "w", "3×2", "float32", "-"]
    assert "matmul(x 8×3, #0 w)" in lines[2]
    assert "h = tanh(#1)" in lines[3] and "y 64 B" in lines[3]
    assert "multiply(#2, 2.0)" in lines[4]
    assert "sum(#3, axis=0)" in lines[5]
    assert lines[-1].startswith("1 leaf, 4 ops")


def test_an_array_that_is_kept_twice_or_as_a_view_is_counted_once():
    a = leaf(10)
    y = a * a  # the leaf's array, twice
    assert draw.bytes_kept(y) == 40
    assert "40 B of them the leaves' own" in draw.text(y)
    z = mg.exp(y)  # exp keeps its result; its reshaped view is kept by the product
    assert draw.bytes_kept(z.reshape(2, 5) * z.reshape(2, 5)) == 40 + 40
    assert "as in #" in draw.text(z.reshape(2, 5) * z.reshape(2, 5))
    wide = mg.broadcast_to(a, (1000, 10))  # a view with stride 0 keeps 40 bytes alive, not 40,000
    assert draw.bytes_kept(mg.sin(wide)) == 40


def test_what_backward_has_freed_is_said_to_be_freed():
    a = leaf(4)
    loss = mg.sin(a * a).sum()
    assert draw.bytes_kept(loss) > 0
    loss.backward()
    assert draw.bytes_kept(loss) == 0
    assert draw.text(loss).count("freed") == 3
    draw.figure(loss).clear()


def test_a_tensor_without_a_record_is_said_to_have_none():
    plain = mg.tensor([1.0, 2.0])
    assert "does not require a gradient" in draw.text(plain)
    assert draw.bytes_kept(plain) == 0
    assert "no record" in {t.get_text() for t in draw.figure(plain).axes[0].texts}


def test_a_deep_graph_is_listed_without_recursion_but_refused_as_a_figure():
    y = leaf(1)
    for _ in range(20_000):
        y = -y
    assert len(draw.text(y).splitlines()) == 20_003
    with pytest.raises(ValueError, match=r"mg\.draw\.text"):
        draw.figure(y)


def test_the_figure_has_a_box_for_every_node_and_every_constant():
    x, w = mg.tensor(numpy.ones((8, 3), numpy.float32)), leaf(3, 2)
    h = x @ w
    loss = mg.concatenate([h, mg.where(h > 0, h, x[:, :2])], axis=1).mean()
    axes = draw.figure(loss, {"x": x, "w": w, "h": h}).axes[0]
    titles = [text.get_text() for text in axes.texts]
    assert len([t for t in titles if re.match(r"#\d+ ", t)]) == len(draw.entries(loss))
    assert {"#0 w", "#1 h = matmul", "x"} <= set(titles)


@st.composite
def graphs(draw_from):
    """Boxes of various sizes and edges from earlier to later ones."""
    count = draw_from(st.integers(1, 25))
    side = st.floats(0.1, 3.0)
    sizes = draw_from(st.lists(st.tuples(side, side), min_size=count, max_size=count))
    edges = [
        (source, target)
        for target in range(1, count)
        for source in draw_from(st.lists(st.integers(0, target - 1), max_size=3))
    ]
    return sizes, edges


@settings(deadline=None)
@given(graphs())
def test_no_box_lies_on_another_and_every_edge_points_down(graph):
    sizes, edges = graph
    centres, paths, (width, height) = draw.layout(sizes, edges)
    rims = [(x - w / 2, x + w / 2, y - h / 2, y + h / 2) for (x, y), (w, h) in zip(centres, sizes, strict=True)]
    for i, (left, right, top, bottom) in enumerate(rims):
        assert left >= -1e-6 and right <= width + 1e-6 and top >= -1e-6 and bottom <= height + 1e-6
        for left2, right2, top2, bottom2 in rims[:i]:
            assert right <= left2 + 1e-6 or right2 <= left + 1e-6 or bottom <= top2 + 1e-6 or bottom2 <= top + 1e-6
    for (source, target), path in zip(edges, paths, strict=True):
        assert path[0][1] == pytest.approx(rims[source][3]) and path[-1][1] == pytest.approx(rims[target][2])
        assert all(a[1] <= b[1] for a, b in itertools.pairwise(path))
