"""The tape as text and as a figure: what ran, on what, and which arrays are kept for the way back.

Nodes are numbered by age, from 0 for the oldest, and an arrow or an argument points the way the program ran; the
backward pass goes the other way. Only `figure` needs matplotlib, and imports it when called.
"""

import inspect
import itertools
from typing import NamedTuple

from minigrad import backend
from minigrad.graph import _reachable
from minigrad.op import Spec

MOST_NODES = 150  # more than this, nobody can read as a figure


class Kept(NamedTuple):
    """An array that a node keeps: what the op's backward rules call it, its size, and whether it is charged elsewhere.

    An array is charged to the oldest node that keeps it; for the others `bytes` is 0 and `charged_to` is its number.
    """

    name: str
    bytes: int
    charged_to: int
    of_leaf: bool


class Entry(NamedTuple):
    """A node of the tape in words."""

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
    """The nodes that `tensor` was made from, oldest first, as a list of `Entry`; empty for one without a record.

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
    """The bytes of all arrays that the record of `tensor` keeps alive for the way back, each array counted once."""
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
    """The arrays that `node` keeps; `charged` remembers who has been charged for what is in memory."""
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
    """The tape of `tensor` as a table, a line per node, oldest first: op, arguments, shape, dtype, and bytes kept.

    An array that several nodes keep is counted at the oldest of them; the others say "as in" and its number.

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
        return _without_record(tensor)
    rows = [("#", "op", "shape", "dtype", "kept for the way back")]
    for entry in found:
        call = (
            entry.title if entry.is_leaf else f"{entry.title}({', '.join(_argument(s, found) for s in entry.sources)})"
        )
        rows.append((str(entry.number), call, _shape(entry.shape), str(entry.dtype), _kept_in_words(entry) or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{row[0]:>{widths[0]}}  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    return "\n".join([*(line.rstrip() for line in lines), _summary(found)])


def _argument(source, found):
    if source[0] == "node":
        number = source[1]
        return f"#{number} {found[number].title}" if found[number].is_leaf else f"#{number}"
    return " ".join(source[1:3]).strip()  # a constant's name and shape, or a value


def _kept_in_words(entry):
    if entry.freed:
        return "freed"
    return ", ".join(
        f"{kept.name} {kept.bytes:,} B" if kept.bytes or kept.charged_to == entry.number
        else f"{kept.name} as in #{kept.charged_to}"
        for kept in entry.kept
    )  # fmt: skip


def _summary(found):
    leaves = sum(entry.is_leaf for entry in found)
    kept = [kept for entry in found for kept in entry.kept]
    total, of_leaves = sum(k.bytes for k in kept), sum(k.bytes for k in kept if k.of_leaf)
    own = f", {of_leaves:,} B of them the leaves' own numbers" if of_leaves else ""
    return f"{_many(leaves, 'leaf', 'leaves')}, {_many(len(found) - leaves, 'op', 'ops')}; {total:,} B kept{own}"


def _many(count, one, more):
    return f"{count} {one if count == 1 else more}"


def _without_record(tensor):
    return f"no record: a tensor of shape {tensor.shape}, {tensor.dtype}, that does not require a gradient"


# ---- as a figure ----------------------------------------------------------------------------------------------------

KINDS = {  # fill, edge, line style
    "leaf": ("#CFE4F2", "#0072B2", "-"),
    "op that keeps arrays": ("#FBE3D2", "#D55E00", "-"),
    "op that keeps nothing": ("#FFFFFF", "#666666", "-"),
    "constant, not on the tape": ("#F0F0F0", "#888888", "--"),
}
TITLE_POINTS, DETAIL_POINTS, LINE, MARGIN, GAP = 9, 7.5, 0.155, 0.07, 0.27  # points; the others in inches


class Box(NamedTuple):
    """What is written in a box, and its size in inches."""

    kind: str
    lines: tuple  # the first is the title

    @property
    def width(self):
        sizes = (TITLE_POINTS, *(DETAIL_POINTS,) * (len(self.lines) - 1))
        widest = (0.74, *(0.62,) * (len(self.lines) - 1))  # a letter's width over its height: bold, then plain
        inches = [w * len(line) * p / 72 for line, p, w in zip(self.lines, sizes, widest, strict=True)]
        return max(inches) + 2 * MARGIN

    @property
    def height(self):
        return len(self.lines) * LINE + 2 * MARGIN


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
    """What to draw: boxes, and edges between their positions in the list, in the order of the op's arguments."""
    if len(found) > MOST_NODES:
        raise ValueError(f"a graph of {len(found)} nodes is too large for a figure (at most {MOST_NODES}); "
                         "print mg.draw.text(tensor) instead")  # fmt: skip
    if not found:
        return [Box("constant, not on the tape", ("no record", f"{_shape(tensor.shape)} {tensor.dtype}"))], []
    boxes, edges, constants = [], [], {}
    for entry in found:
        values = [source[1] for source in entry.sources if source[0] == "value"]
        title = f"#{entry.number} {entry.title}" + (f"({', '.join(values)})" if values else "")
        lines = [title, f"{_shape(entry.shape)}  {entry.dtype}"]
        words = _kept_in_words(entry)
        if words:
            lines.append(f"keeps {words}" if not entry.freed else words)
        kind = "leaf" if entry.is_leaf else ("op that keeps arrays" if entry.kept else "op that keeps nothing")
        boxes.append(Box(kind, tuple(lines)))
    for entry in found:
        for source in entry.sources:
            if source[0] == "node":
                edges.append((source[1], entry.number))
            elif source[0] == "constant":
                _, name, shape, key = source
                if key not in constants:
                    constants[key] = len(boxes)
                    boxes.append(Box("constant, not on the tape", (name or "constant", shape)))
                edges.append((constants[key], entry.number))
    return boxes, edges


def _draw_box(ax, box, x, y):
    from matplotlib.patches import FancyBboxPatch

    fill, edge, style = KINDS[box.kind]
    corner = (x - box.width / 2 + 0.04, y - box.height / 2 + 0.04)
    ax.add_patch(FancyBboxPatch(corner, box.width - 0.08, box.height - 0.08, boxstyle="round,pad=0.04",
                                facecolor=fill, edgecolor=edge, linestyle=style, linewidth=1.1, zorder=2))  # fmt: skip
    top = y - (len(box.lines) - 1) / 2 * LINE
    for i, line in enumerate(box.lines):
        ax.text(x, top + i * LINE, line, ha="center", va="center", zorder=3,
                fontsize=DETAIL_POINTS if i else TITLE_POINTS, fontweight="normal" if i else "bold")  # fmt: skip


def _draw_arrow(ax, points):
    """A smooth curve through the points, leaving and arriving vertically."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    vertices, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        vertices += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        codes += [Path.CURVE4] * 3
    ax.add_patch(FancyArrowPatch(path=Path(vertices, codes), arrowstyle="-|>", mutation_scale=9, linewidth=1.0,
                                 color="#444444", zorder=1))  # fmt: skip


def _draw_legend(ax, kinds):
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=KINDS[k][0], edgecolor=KINDS[k][1], linestyle=KINDS[k][2], label=k) for k in kinds]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=8, frameon=False)


# ---- where to put the boxes -----------------------------------------------------------------------------------------
#
# The layered drawing of Sugiyama, Tagawa and Toda (1981): every box in the layer below the lowest of its sources; an
# edge that passes a layer gets an invisible point there, so that no box lies on it; boxes are ordered within layers
# by the mean position of their neighbours, which leaves few crossings; then each is moved as near to its neighbours
# as the widths allow.


def layout(sizes, edges):
    """Where boxes of the given sizes go, so that none overlap and every edge points down.

    Parameters
    ----------
    sizes : list of (width, height)
    edges : list of (int, int)
        From box to box; without cycles, and for boxes that are not sources in an order such that sources come first.

    Returns
    -------
    centres : list of (x, y), y downwards
    paths : list of lists of (x, y), one per edge, from the lower rim of a box to the upper rim of another
    extent : (width, height)
    """
    depth = _depths(len(sizes), edges)
    widths = [width for width, _ in sizes]
    routes, links = [], []  # per edge all points it passes; (upper, lower, weight) between neighbouring layers
    for source, target in edges:
        route = [source]
        for level in range(depth[source] + 1, depth[target]):
            route.append(len(widths))
            widths.append(0.0)
            depth.append(level)
        route.append(target)
        routes.append(route)
    made = {target for _, target in edges}
    for route in routes:
        # A chain of ops, and an edge that passes by, should run straight; what enters from the side gives way.
        weight = 16.0 if len(route) > 2 else (8.0 if route[0] in made else 1.0)
        links += [(a, b, weight) for a, b in itertools.pairwise(route)]
    neighbours = [[] for _ in widths]
    for upper, lower, weight in links:
        neighbours[upper].append((lower, weight))
        neighbours[lower].append((upper, weight))
    layers = [[] for _ in range(max(depth) + 1)]
    for vertex in _by_first_use(len(widths), routes):
        layers[depth[vertex]].append(vertex)
    x = _abscissas(_ordered(layers, neighbours, depth), neighbours, widths)
    left = min(x[v] - widths[v] / 2 for v in range(len(widths)))
    x = [value - left for value in x]
    heights = [max((sizes[v][1] for v in layer if v < len(sizes)), default=0.0) for layer in layers]
    middle = [sum(heights[:level]) + GAP * level + heights[level] / 2 for level in range(len(layers))]
    centres = [(x[v], middle[depth[v]]) for v in range(len(sizes))]
    paths = [
        _path(route, x, middle, heights, depth, sizes, rank, count)
        for route, (rank, count) in zip(routes, _ranks(edges), strict=True)
    ]
    extent = (max(x[v] + widths[v] / 2 for v in range(len(widths))), sum(heights) + GAP * (len(layers) - 1))
    return centres, paths, extent


def _depths(count, edges):
    """The layer of each box: below all of its sources; a box without sources just above the first that needs it."""
    sources, targets = [[] for _ in range(count)], [[] for _ in range(count)]
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    depth = [0] * count
    for vertex in range(count):
        if sources[vertex]:
            depth[vertex] = 1 + max(depth[s] for s in sources[vertex])
    for vertex in range(count):
        if not sources[vertex] and targets[vertex]:
            depth[vertex] = min(depth[t] for t in targets[vertex]) - 1
    return depth


def _by_first_use(count, routes):
    """All vertices such that those of one layer come in the order of the arguments that they are."""
    last = {}
    for position, route in reversed(list(enumerate(routes))):
        for vertex in route[:-1]:
            last[vertex] = position
    return sorted(range(count), key=lambda vertex: last.get(vertex, len(routes)))


def _ordered(layers, neighbours, depth, sweeps=6):
    """The layers, each sorted by the mean position of its members' neighbours in the layer before or after."""
    for sweep in range(sweeps):
        down = sweep % 2 == 1
        for level in range(len(layers)) if down else reversed(range(len(layers))):
            beside = level + (-1 if down else 1)
            if not 0 <= beside < len(layers):
                continue
            place = {vertex: i / max(1, len(layers[beside]) - 1) for i, vertex in enumerate(layers[beside])}
            own = {vertex: i / max(1, len(layers[level]) - 1) for i, vertex in enumerate(layers[level])}

            def mean(vertex, place=place, own=own):
                near = [place[n] for n, _ in neighbours[vertex] if n in place]
                return sum(near) / len(near) if near else own[vertex]

            layers[level] = sorted(layers[level], key=mean)
    return layers


def _abscissas(layers, neighbours, widths, sweeps=100):
    """The x of each vertex: repeatedly, layer by layer, the place nearest to its neighbours that leaves room."""
    x = [0.0] * len(widths)
    for layer in layers:
        _place(layer, [0.0] * len(layer), [1.0] * len(layer), widths, x)
    for sweep in range(sweeps):
        for layer in layers if sweep % 2 else reversed(layers):
            weights = [sum(w for _, w in neighbours[v]) or 1.0 for v in layer]
            wanted = [
                sum(w * x[n] for n, w in neighbours[v]) / weight if neighbours[v] else x[v]
                for v, weight in zip(layer, weights, strict=True)
            ]
            _place(layer, wanted, weights, widths, x)
    return x


def _place(layer, wanted, weights, widths, x):
    """Set x to minimize Σ weight (x - wanted)² with the layer's boxes in order, GAP apart: pool adjacent violators."""
    offset, blocks = 0.0, []  # a block: (weighted mean of wanted - offset, weight, members with their offsets)
    for i, vertex in enumerate(layer):
        if i:
            offset += (widths[layer[i - 1]] + widths[vertex]) / 2 + GAP
        block = (wanted[i] - offset, weights[i], [(vertex, offset)])
        while blocks and blocks[-1][0] > block[0]:
            mean, weight, members = blocks.pop()
            total = weight + block[1]
            block = ((mean * weight + block[0] * block[1]) / total, total, members + block[2])
        blocks.append(block)
    for mean, _, members in blocks:
        for vertex, offset in members:
            x[vertex] = mean + offset


def _ranks(edges):
    """Per edge, its place among the edges into the same box and their number: they arrive side by side."""
    count, seen = {}, {}
    for _, target in edges:
        count[target] = count.get(target, 0) + 1
    for _, target in edges:
        rank = seen.get(target, 0)
        seen[target] = rank + 1
        yield rank, count[target]


def _path(route, x, middle, heights, depth, sizes, rank, count):
    source, target = route[0], route[-1]
    start = (x[source], middle[depth[source]] + sizes[source][1] / 2)
    shift = (rank - (count - 1) / 2) * min(0.25, 0.6 * sizes[target][0] / count)
    end = (x[target] + shift, middle[depth[target]] - sizes[target][1] / 2)
    between = []
    for vertex in route[1:-1]:  # straight down past the boxes of the layer
        half = heights[depth[vertex]] / 2
        between += [(x[vertex], middle[depth[vertex]] - half), (x[vertex], middle[depth[vertex]] + half)]
    return [start, *between, end]
