// The live picture of lesson 03: gradient descent in the plane, on w and on (v, g), with the learning rate, the length
// of v and the start under the reader's hand. tests/test_site.py compares `paths` with the library.
"use strict";

{
  const MINIMUM = [2 * Math.cos(Math.PI / 6), 2 * Math.sin(Math.PI / 6)]; // w*
  const STEEP = 1, FLAT = 0.1; // the eigenvalues of H: across w*, and along it

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
  const plus = (a, k, b) => [a[0] + k * b[0], a[1] + k * b[1]];
  const norm = (a) => Math.hypot(a[0], a[1]);

  // H (w - w*), the gradient of the loss; H = STEEP I - (STEEP - FLAT) a aᵀ with a = w*/‖w*‖.
  function gradient(w) {
    const off = plus(w, -1, MINIMUM), a = [MINIMUM[0] / 2, MINIMUM[1] / 2];
    return plus([STEEP * off[0], STEEP * off[1]], -(STEEP - FLAT) * dot(a, off), a);
  }

  function loss(w) {
    return dot(plus(w, -1, MINIMUM), gradient(w)) / 2;
  }

  // From w = start, so many steps at the rate eta: on w itself, and by equation 3 on v, of this length at first, and g.
  function paths(eta, length, start, steps) {
    let plain = start, g = norm(start), v = [(length * start[0]) / g, (length * start[1]) / g];
    const path = { plain: [plain], v: [v], w: [start] };
    for (let t = 0; t < steps; t++) {
      plain = plus(plain, -eta, gradient(plain));
      const size = norm(v), direction = [v[0] / size, v[1] / size];
      const gradW = gradient([g * direction[0], g * direction[1]]);
      const gradG = dot(gradW, direction);
      v = plus(v, (-eta * g) / size, plus(gradW, -gradG, direction));
      g -= eta * gradG;
      const w = plus([0, 0], g / norm(v), v);
      path.plain.push(plain);
      path.v.push(v);
      path.w.push(w);
    }
    return path;
  }

  // ---- the picture --------------------------------------------------------------------------------------------------

  const STEPS = 60, NORMAL = "#0072B2", WEIGHT_NORM = "#D55E00";
  const CONTROLS = [ // name, words, least, most, first value, number of steps, logarithmic
    ["eta", "learning rate η", 0.05, 20, 2.2, 100, true],
    ["length", "length of v at first", 0.2, 5, 1, 100, true],
    ["angle", "direction of the start", 0, 360, 100, 180, false],
    ["far", "length of w at first", 0.2, 3, 1, 56, false],
  ];

  function element(name, attributes, text) {
    const svg = ["svg", "circle", "ellipse", "g", "line", "path", "text"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  }

  // Points as an SVG path, y upwards, cut off where they leave the picture for good.
  function line(points, reach) {
    const far = points.findIndex((p) => !(norm(p) < 40 * reach));
    const kept = far < 0 ? points : points.slice(0, far);
    return kept.map((p, i) => `${i ? "L" : "M"}${p[0].toFixed(4)} ${(-p[1]).toFixed(4)}`).join("");
  }

  function curve(points, colour, reach) {
    const group = element("g", { stroke: colour, fill: colour });
    group.append(element("path", { d: line(points, reach), fill: "none", "stroke-width": reach / 110 }));
    for (const p of points) {
      if (norm(p) < 2 * reach) group.append(element("circle", { cx: p[0], cy: -p[1], r: reach / 60, stroke: "none" }));
    }
    return group;
  }

  function label(x, y, text, reach, colour = "currentColor", anchor = "start") {
    return element("text", { x, y: -y, "font-size": reach / 9, fill: colour, "text-anchor": anchor }, text);
  }

  function axes(svg, reach, ...parts) {
    const faint = { stroke: "currentColor", "stroke-opacity": 0.3, "stroke-width": reach / 300 };
    svg.setAttribute("viewBox", `${-reach} ${-reach} ${2 * reach} ${2 * reach}`);
    svg.replaceChildren(
      element("line", { x1: -reach, x2: reach, y1: 0, y2: 0, ...faint }),
      element("line", { y1: -reach, y2: reach, x1: 0, x2: 0, ...faint }),
      ...parts,
    );
  }

  function drawV(svg, path) {
    const reach = 1.15 * Math.max(1, ...path.v.map(norm).filter(Number.isFinite));
    const ray = { stroke: "currentColor", "stroke-dasharray": reach / 25, "stroke-width": reach / 150 };
    axes(svg, reach,
      element("line", { x1: 0, y1: 0, x2: 2 * reach * MINIMUM[0], y2: -2 * reach * MINIMUM[1], ...ray }),
      curve(path.v, WEIGHT_NORM, reach),
      label(-0.96 * reach, 0.85 * reach, "plane of v", reach),
      label(0.98 * reach, 0.66 * reach, "to w*", reach, undefined, "end")); // where v never gets
  }

  function drawW(svg, path) {
    const reach = 3.6, turned = `translate(${MINIMUM[0]} ${-MINIMUM[1]}) rotate(-30)`;
    const contours = [0.05, 0.2, 0.5, 1, 2, 4, 7, 11].map((height) => element("ellipse", {
      rx: Math.sqrt((2 * height) / FLAT), ry: Math.sqrt((2 * height) / STEEP), transform: turned,
      fill: "none", stroke: "currentColor", "stroke-opacity": 0.35, "stroke-width": 0.015,
    }));
    axes(svg, reach, ...contours,
      curve(path.plain, NORMAL, reach), curve(path.w, WEIGHT_NORM, reach),
      element("circle", { cx: path.w[0][0], cy: -path.w[0][1], r: 0.14, fill: "none", stroke: "currentColor",
        "stroke-width": 0.05 }),
      label(MINIMUM[0] - 0.12, MINIMUM[1] - 0.12, "★", reach), label(MINIMUM[0] + 0.3, MINIMUM[1] - 0.1, "w*", reach),
      label(-3.45, 3.05, "plane of w", reach),
      label(-3.45, -2.95, "gradient descent on w", reach, NORMAL),
      label(-3.45, -3.4, "on v and g", reach, WEIGHT_NORM));
  }

  function words(x) {
    return Number.isFinite(x) && x < 1e6 ? x.toPrecision(3) : "beyond all bounds";
  }

  function liveplane(box) {
    const inputs = {}, outputs = {};
    const value = ([name, , least, most, , steps, logarithmic]) => {
      const x = Number(inputs[name].value) / steps;
      return logarithmic ? Number((least * (most / least) ** x).toPrecision(2)) : least + (most - least) * x;
    };
    const position = ([, , least, most, , steps, logarithmic], x) =>
      Math.round(steps * (logarithmic ? Math.log(x / least) / Math.log(most / least) : (x - least) / (most - least)));
    const left = element("svg", { role: "img" }), right = element("svg", { role: "img" });
    const says = element("p", { "aria-live": "polite" });

    function draw() {
      const now = {};
      for (const control of CONTROLS) {
        const [name] = control, x = value(control);
        now[name] = x;
        outputs[name].textContent = name === "angle" ? `${x.toFixed(0)}°` : x.toPrecision(3);
        inputs[name].setAttribute("aria-valuetext", outputs[name].textContent);
      }
      const angle = (now.angle * Math.PI) / 180;
      const path = paths(now.eta, now.length, [now.far * Math.cos(angle), now.far * Math.sin(angle)], STEPS);
      drawV(left, path);
      drawW(right, path);
      const [v, w, plain] = ["v", "w", "plain"].map((name) => path[name][STEPS]);
      says.textContent = `After ${STEPS} steps the loss is ${words(loss(plain))} with gradient descent on w, and ` +
        `${words(loss(w))} on v and g; ‖v‖ has gone from ${words(now.length)} to ${words(norm(v))}.`;
      left.setAttribute("aria-label", `The path of v. ${says.textContent}`);
      right.setAttribute("aria-label", `Two paths of w among the contours of the loss. ${says.textContent}`);
    }

    right.addEventListener("click", (event) => { // a click on the plane of w is the start
      const frame = right.getBoundingClientRect(), unit = Math.min(frame.width, frame.height) / 7.2;
      const x = (event.clientX - frame.left - frame.width / 2) / unit;
      const y = (frame.top + frame.height / 2 - event.clientY) / unit;
      const degrees = ((Math.atan2(y, x) * 180) / Math.PI + 360) % 360;
      inputs.angle.value = position(CONTROLS[2], degrees);
      inputs.far.value = position(CONTROLS[3], Math.min(3, Math.max(0.2, Math.hypot(x, y))));
      draw();
    });

    const planes = element("div", { class: "planes" });
    planes.append(left, right);
    const hint = "The same by hand. Every slider takes the arrow keys; a click on the right sets the start.";
    box.append(element("p", {}, hint), planes);
    for (const control of CONTROLS) {
      const [name, text, , , first, steps] = control, row = element("label", {});
      inputs[name] = element("input", { type: "range", min: 0, max: steps, step: 1, id: `plane-${name}` });
      inputs[name].value = position(control, first);
      inputs[name].addEventListener("input", draw);
      outputs[name] = element("output", { for: `plane-${name}` });
      row.append(element("span", {}, text), inputs[name], outputs[name]);
      box.append(row);
    }
    box.append(says);
    draw();
  }

  if (typeof module !== "undefined") {
    module.exports = { paths };
  } else {
    document.querySelectorAll(".live-plane").forEach(liveplane);
  }
}
