"""The tape as text and as a figure: which ops ran, on what, and which arrays they keep for the backward pass.

Nodes are numbered by age, from 0 for the oldest. Arrows follow the forward pass; backward goes against them.

The boxes are placed here because no maintained library does it from Python alone: Graphviz is a program to install
beside Python, networkx has no layered layout with routed edges, igraph's takes no box sizes, and grandalf has had no
release since January 2023. Only `figure` needs matplotlib, and imports it when called.
"""

import inspect
import itertools
from typing import NamedTuple

from minigrad import backend
from minigrad.graph import _reachable
from minigrad.op import Spec

MOST_NODES = 150  # nobody can read a larger figure


class Kept(NamedTuple):
    """An array that a node keeps for the backward pass, by the name that the op's backward rules give it.

    Its bytes are charged to the oldest node that keeps it, number `charged_to`; for all others `bytes` is 0. `of_leaf`
    says whether the array is a leaf's own data, which would be in memory anyway.
    """

    name: str
    bytes: int
    charged_to: int
    of_leaf: bool


class Entry(NamedTuple):
    """A node of the tape, in words and numbers."""

    number: int
    title: str  # the op's name, or the leaf's
    is_leaf: bool
    sources: tuple  # per argument: ("node", number), ("constant", name, shape, key) or ("value", text)
    shape: tuple
    dtype: object
    kept: tuple
    freed: bool


# ---- reading the tape -----------------------------------------------------------------------------------------------


def entries(tensor, names=None):
    """The nodes that `tensor` was computed from, oldest first, as a list of `Entry`; empty if nothing was recorded.

    Parameters
    ----------
    tensor : Tensor
    names : dict of str to Tensor or array, optional
        What to call leaves, intermediate results and constants.
    """
    if tensor._node is None:
        return []
    node_names, array_names = {}, {}
    for name, named in (names or {}).items():
        node = getattr(named, "_node", None)
        if node is not None:
            node_names[node] = name
        else:
            array_names[id(getattr(named, "_data", named))] = name
    nodes = _reachable([tensor._node])[::-1]
    numbers = {node: number for number, node in enumerate(nodes)}
    of_leaves = {
        id(backend.owner(argument))
        for node in nodes
        for argument, parent in zip(node.args or (), node.parents, strict=False)
        if parent is not None and parent.op is None and backend.is_array(argument)
    }
    charged, found = {}, []
    for number, node in enumerate(nodes):
        is_leaf = node.op is None
        title = node_names.get(node, "leaf") if is_leaf else node.op.name
        if node in node_names and not is_leaf:
            title = f"{node_names[node]} = {title}"
        freed = not is_leaf and node.args is None
        sources = () if is_leaf else tuple(_sources(node, numbers, array_names))
        kept = () if is_leaf or freed else tuple(_kept(node, number, charged, of_leaves))
        found.append(Entry(number, title, is_leaf, sources, node.shape, node.dtype, kept, freed))
    return found


def bytes_kept(tensor):
    """The bytes of all arrays that the tape of `tensor` keeps alive for the backward pass, each array counted once."""
    return sum(kept.bytes for entry in entries(tensor) for kept in entry.kept)


def _sources(node, numbers, array_names):
    if node.args is None:  # freed: only the parents are still known
        yield from (("node", numbers[parent]) for parent in node.parents if parent is not None)
        return
    names = _argument_names(node.op, len(node.args))
    for position, argument in enumerate(node.args):
        parent = node.parents[position] if position < len(node.parents) else None
        if parent is not None:
            yield "node", numbers[parent]
        elif backend.is_array(argument) or isinstance(argument, Spec):
            yield "constant", array_names.get(id(argument), ""), _shape(argument.shape), id(argument)
        elif position < len(node.parents):
            yield "value", _short(argument)
        else:
            yield "value", f"{names[position]}={_short(argument)}"
    yield from (("value", f"{name}={_short(value)}") for name, value in node.params.items())


def _kept(node, number, charged, of_leaves):
    """The arrays that `node` keeps; `charged` maps memory to the number of the node that is charged for it."""
    names = [*_argument_names(node.op, len(node.args)), *node.params, "y"]
    for name, value in zip(names, [*node.args, *node.params.values(), node.value], strict=True):
        if backend.is_array(value):
            memory = backend.owner(value)
            size = 0 if id(memory) in charged else memory.nbytes
            yield Kept(name, size, charged.setdefault(id(memory), number), id(memory) in of_leaves)


def _argument_names(op, count):
    """What the backward rules of `op` call its arguments, without the underscores."""
    rule = op.joint or next(rule for rule in op.rules if rule is not None)
    names = [name.lstrip("_") for name in list(inspect.signature(rule).parameters)[2:]]
    return names[:count] if op.operands is not None else [f"{names[0]}[{i}]" for i in range(count)]


def _short(value, longest=24):
    words = _words(value)
    return words if len(words) <= longest else words[: longest - 1] + "…"


def _words(value):
    if backend.is_array(value):
        return f"array {_shape(value.shape)}"
    if isinstance(value, slice):
        start, stop, step = ("" if part is None else str(part) for part in (value.start, value.stop, value.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    if isinstance(value, tuple):
        return f"({', '.join(map(_words, value))})"
    return "..." if value is Ellipsis else repr(value)


def _shape(shape):
    return "×".join(map(str, shape)) if shape else "number"


# ---- as text --------------------------------------------------------------------------------------------------------


def text(tensor, names=None):
    """The tape of `tensor` as a table, one line per node, oldest first: op, arguments, shape, dtype, and bytes kept.

    An array that several nodes keep is counted at the oldest of them; the others say "as in" and that node's number.

    Parameters
    ----------
    tensor : Tensor
    names : dict of str to Tensor or array, optional
        What to call leaves, intermediate results and constants.

    Returns
    -------
    str
    """
    found = entries(tensor, names)
    if not found:
        return f"no record: a tensor of shape {tensor.shape}, {tensor.dtype}, that does not require a gradient"
    rows = [("#", "op", "shape", "dtype", "kept for backward")]
    for entry in found:
        arguments = ", ".join(_argument(source, found) for source in entry.sources)
        call = entry.title if entry.is_leaf else f"{entry.title}({arguments})"
        rows.append((str(entry.number), call, _shape(entry.shape), str(entry.dtype), _kept_in_words(entry) or "-"))
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = []
    for number, *cells in rows:
        padded = [number.rjust(first), *(cell.ljust(width) for cell, width in zip(cells, others, strict=True))]
        lines.append("  ".join(padded).rstrip())
    return "\n".join([*lines, _summary(found)])


def _argument(source, found):
    if source[0] == "node":
        number = source[1]
        return f"#{number} {found[number].title}" if found[number].is_leaf else f"#{number}"
    if source[0] == "constant":
        return f"{source[1] or 'constant'} {source[2]}"
    return source[1]  # a value


def _kept_in_words(entry):
    if entry.freed:
        return "freed"
    words = []
    for kept in entry.kept:
        counted_here = kept.bytes or kept.charged_to == entry.number
        words.append(f"{kept.name} {kept.bytes:,} B" if counted_here else f"{kept.name} as in #{kept.charged_to}")
    return ", ".join(words)


def _summary(found):
    leaves = sum(entry.is_leaf for entry in found)
    kept = [kept for entry in found for kept in entry.kept]
    total, of_leaves = sum(k.bytes for k in kept), sum(k.bytes for k in kept if k.of_leaf)
    ops = len(found) - leaves
    counts = f"{leaves} {'leaf' if leaves == 1 else 'leaves'}, {ops} {'op' if ops == 1 else 'ops'}"
    own = f", {of_leaves:,} B of them the leaves' own data" if of_leaves else ""
    return f"{counts}; {total:,} B kept{own}"


# ---- as a figure ----------------------------------------------------------------------------------------------------

KINDS = {
    "leaf": {"facecolor": "#CFE4F2", "edgecolor": "#0072B2", "linestyle": "-"},
    "op that keeps arrays": {"facecolor": "#FBE3D2", "edgecolor": "#D55E00", "linestyle": "-"},
    "op that keeps nothing": {"facecolor": "#FFFFFF", "edgecolor": "#666666", "linestyle": "-"},
    "constant, not on the tape": {"facecolor": "#F0F0F0", "edgecolor": "#888888", "linestyle": "--"},
}
TITLE_FONT = {"fontsize": 9, "fontweight": "bold"}
DETAIL_FONT = {"fontsize": 7.5, "fontweight": "normal"}
LINE, MARGIN, GAP = 0.155, 0.07, 0.27  # of text, inside a box, between boxes; in inches


class Box(NamedTuple):
    """The text in a box, and the size that it needs, in inches."""

    kind: str
    title: str
    details: tuple

    @property
    def width(self):
        # The mean width of a letter is about 0.74 of the font's size in bold, 0.62 in normal type; 72 points an inch.
        widths = [0.74 * 9 * len(self.title), *(0.62 * 7.5 * len(line) for line in self.details)]
        return max(widths) / 72 + 2 * MARGIN

    @property
    def height(self):
        return (1 + len(self.details)) * LINE + 2 * MARGIN


def figure(tensor, names=None, ax=None):
    """The tape of `tensor` as a figure: a box per node, from the inputs at the top to `tensor` at the bottom.

    Parameters
    ----------
    tensor : Tensor
    names : dict of str to Tensor or array, optional
        What to call leaves, intermediate results and constants.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a figure of its own, as large as the graph needs.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the graph has more nodes than anybody could read; use `text`.
    """
    import matplotlib.pyplot as plt

    boxes, edges = _boxes(entries(tensor, names), tensor)
    centres, paths, (width, height) = layout([(box.width, box.height) for box in boxes], edges)
    if ax is None:
        _, ax = plt.subplots(figsize=(max(width, 4.6) + 0.4, height + 0.75), layout="constrained")
    ax.set(xlim=(-0.05, width + 0.05), ylim=(height + 0.05, -0.05), aspect="equal")
    ax.axis("off")
    for path in paths:
        _draw_arrow(ax, path)
    for box, centre in zip(boxes, centres, strict=True):
        _draw_box(ax, box, *centre)
    _draw_legend(ax, [kind for kind in KINDS if any(box.kind == kind for box in boxes)])
    return ax.figure


def _boxes(found, tensor):
    """The boxes to draw, and the edges between their positions in the list, in the order of the ops' arguments."""
    if len(found) > MOST_NODES:
        raise ValueError(
            f"a graph of {len(found)} nodes is too large for a figure (at most {MOST_NODES}); "
            "print mg.draw.text(tensor) instead"
        )
    if not found:
        return [Box("constant, not on the tape", "no record", (f"{_shape(tensor.shape)} {tensor.dtype}",))], []
    boxes, edges, constants = [_box(entry) for entry in found], [], {}
    for entry in found:
        for source in entry.sources:
            if source[0] == "node":
                edges.append((source[1], entry.number))
            elif source[0] == "constant":
                _, name, shape, key = source
                if key not in constants:
                    constants[key] = len(boxes)
                    boxes.append(Box("constant, not on the tape", name or "constant", (shape,)))
                edges.append((constants[key], entry.number))
    return boxes, edges


def _box(entry):
    values = [source[1] for source in entry.sources if source[0] == "value"]
    title = f"#{entry.number} {entry.title}" + (f"({', '.join(values)})" if values else "")
    details = [f"{_shape(entry.shape)}  {entry.dtype}"]
    if words := _kept_in_words(entry):
        details.append(words if entry.freed else f"keeps {words}")
    kind = "leaf" if entry.is_leaf else "op that keeps arrays" if entry.kept else "op that keeps nothing"
    return Box(kind, title, tuple(details))


def _draw_box(ax, box, x, y):
    from matplotlib.patches import FancyBboxPatch

    pad = 0.04  # added on all sides, with rounded corners
    corner = (x - box.width / 2 + pad, y - box.height / 2 + pad)
    inside = (box.width - 2 * pad, box.height - 2 * pad)
    outline = {"boxstyle": f"round,pad={pad}", "linewidth": 1.1} | KINDS[box.kind]
    ax.add_patch(FancyBboxPatch(corner, *inside, zorder=2, **outline))
    top = y - len(box.details) / 2 * LINE
    ax.text(x, top, box.title, ha="center", va="center", zorder=3, **TITLE_FONT)
    for i, line in enumerate(box.details, start=1):
        ax.text(x, top + i * LINE, line, ha="center", va="center", zorder=3, **DETAIL_FONT)


def _draw_arrow(ax, points):
    """A smooth curve through the points, vertical at each of them."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    vertices, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        vertices += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        codes += [Path.CURVE4] * 3
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.0, "color": "#444444"}
    ax.add_patch(FancyArrowPatch(path=Path(vertices, codes), zorder=1, **style))


def _draw_legend(ax, kinds):
    from matplotlib.patches import Patch

    handles = [Patch(label=kind, **KINDS[kind]) for kind in kinds]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=8, frameon=False)


# ---- where to put the boxes -----------------------------------------------------------------------------------------
#
# The layered drawing of Sugiyama, Tagawa and Toda (1981), in four steps. Put every box in the layer below the lowest
# of its sources. Give an edge that passes a layer a point there, of width 0, so that it has room between the boxes.
# Sort each layer by the mean position of its neighbours, which leaves few crossings. Then move everything as near to
# its neighbours as the widths allow.


def layout(sizes, edges):
    """Where boxes of the given sizes go, so that none overlap and every edge points down.

    Parameters
    ----------
    sizes : list of (width, height)
    edges : list of (int, int)
        From box to box. `sizes` must be in topological order, but boxes that no edge leads to may stand anywhere.

    Returns
    -------
    centres : list of (x, y), y downwards
    paths : list of lists of (x, y), one per edge, from the bottom of one box to the top of another
    extent : (width, height)
    """
    layer_of = _layers(len(sizes), edges)
    widths = [width for width, _ in sizes]
    routes = [_route(source, target, layer_of, widths) for source, target in edges]
    layers = [[] for _ in range(max(layer_of) + 1)]
    by_first_use = [vertex for route in routes for vertex in route[:-1]]
    for vertex in dict.fromkeys([*by_first_use, *range(len(widths))]):
        layers[layer_of[vertex]].append(vertex)
    neighbours = _neighbours(routes, len(widths))
    _sort(layers, neighbours)
    x = _x_positions(layers, neighbours, widths)
    heights = [max((sizes[v][1] for v in layer if v < len(sizes)), default=0.0) for layer in layers]
    tops = [sum(heights[:level]) + GAP * level for level in range(len(layers))]
    centres = [(x[v], tops[layer_of[v]] + heights[layer_of[v]] / 2) for v in range(len(sizes))]
    paths = []
    for number, (route, (source, target)) in enumerate(zip(routes, edges, strict=True)):
        arriving = [i for i, edge in enumerate(edges) if edge[1] == target]  # side by side
        shift = (arriving.index(number) - (len(arriving) - 1) / 2) * min(0.25, 0.6 * widths[target] / len(arriving))
        path = [(centres[source][0], centres[source][1] + sizes[source][1] / 2)]
        for vertex in route[1:-1]:  # straight down between the boxes of the layer
            top = tops[layer_of[vertex]]
            path += [(x[vertex], top), (x[vertex], top + heights[layer_of[vertex]])]
        paths.append([*path, (centres[target][0] + shift, centres[target][1] - sizes[target][1] / 2)])
    right = max(x[v] + widths[v] / 2 for v in range(len(widths)))
    return centres, paths, (right, tops[-1] + heights[-1])


def _layers(count, edges):
    """The layer of each box: below all of its sources, or, without sources, just above the first box that needs it."""
    layer_of = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layer_of[target] = max(layer_of[target], layer_of[source] + 1)
    for vertex in set(range(count)) - {target for _, target in edges}:
        layer_of[vertex] = min((layer_of[target] - 1 for source, target in edges if source == vertex), default=0)
    return layer_of


def _route(source, target, layer_of, widths):
    """The vertices that an edge goes through; those between its ends are new, and of width 0."""
    passed = range(layer_of[source] + 1, layer_of[target])
    points = range(len(widths), len(widths) + len(passed))
    layer_of += passed
    widths += [0.0] * len(passed)
    return [source, *points, target]


def _neighbours(routes, count):
    """For each vertex its neighbours in the layers above and below, and how much each of these links weighs.

    A chain of ops, and an edge that passes a layer, should run straight; what enters from the side gives way.
    """
    targets, neighbours = {route[-1] for route in routes}, [[] for _ in range(count)]
    for route in routes:
        weight = 16.0 if len(route) > 2 else 8.0 if route[0] in targets else 1.0
        for upper, lower in itertools.pairwise(route):
            neighbours[upper].append((lower, weight))
            neighbours[lower].append((upper, weight))
    return neighbours


def _sort(layers, neighbours, sweeps=6):
    """Sort each layer by the mean position of its neighbours in the layer below, then above, and so on."""
    for sweep in range(sweeps):
        for fixed, layer in itertools.pairwise(layers if sweep % 2 else layers[::-1]):
            place = {vertex: i / max(1, len(fixed) - 1) for i, vertex in enumerate(fixed)}
            means = {}
            for i, vertex in enumerate(layer):
                near = [place[n] for n, _ in neighbours[vertex] if n in place]
                means[vertex] = sum(near) / len(near) if near else i / max(1, len(layer) - 1)
            layer.sort(key=means.get)


def _x_positions(layers, neighbours, widths, sweeps=100):
    """The x of each vertex, from 0: layer by layer, repeatedly, as near to its neighbours as the widths allow."""
    x = [0.0] * len(widths)
    for layer in layers:
        _place(layer, [0.0] * len(layer), [1.0] * len(layer), widths, x)
    for sweep in range(sweeps):
        for layer in layers if sweep % 2 else reversed(layers):
            weights = [sum(w for _, w in neighbours[v]) or 1.0 for v in layer]
            sums = [sum(w * x[n] for n, w in neighbours[v]) if neighbours[v] else x[v] for v in layer]
            wanted = [total / weight for total, weight in zip(sums, weights, strict=True)]
            _place(layer, wanted, weights, widths, x)
    left = min(x[v] - widths[v] / 2 for v in range(len(widths)))
    return [value - left for value in x]


def _place(layer, wanted, weights, widths, x):
    """Set x to minimize Σ weight (x - wanted)² over a layer in its order with gaps: isotonic regression.

    Less the room that those before it need, each x may be no smaller than the one before. Where `wanted` violates
    that, neighbours are pooled and move to their weighted mean (pool adjacent violators).
    """
    offset, pools = 0.0, []  # a pool: (weighted mean of wanted - offset, weight, [(vertex, offset)])
    for i, vertex in enumerate(layer):
        if i:
            offset += (widths[layer[i - 1]] + widths[vertex]) / 2 + GAP
        pool = (wanted[i] - offset, weights[i], [(vertex, offset)])
        while pools and pools[-1][0] > pool[0]:
            mean, weight, members = pools.pop()
            total = weight + pool[1]
            pool = ((mean * weight + pool[0] * pool[1]) / total, total, members + pool[2])
        pools.append(pool)
    for mean, _, members in pools:
        for vertex, offset in members:
            x[vertex] = mean + offset
