"use strict";

// A number with about four digits.
function short(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

// The point of a series that is nearest to x. The points are in the order of x.
function nearest(points, x) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1; else high = middle;
  }
  const before = points[Math.max(low - 1, 0)];
  return Math.abs(before[0] - x) <= Math.abs(points[low][0] - x) ? before : points[low];
}

// Under the pointer a curve shows its numbers. With the keyboard, left and right move from point to point, and with Shift
// farther.
for (const figure of document.querySelectorAll("figure[data-panel]")) {
  const panel = JSON.parse(figure.dataset.panel);
  const cursor = document.createElement("div");
  const reading = document.createElement("div");
  cursor.className = "cursor";
  reading.className = "reading";
  cursor.hidden = reading.hidden = true;
  figure.append(cursor, reading);
  // The places where the longest series has points.
  const longest = panel.series.map((series) => series.points).reduce((a, b) => (b.length > a.length ? b : a));
  const places = [...new Set(longest.map((point) => point[0]))];
  let at = panel.x[1];
  const show = (x) => {
    at = Math.min(Math.max(x, panel.x[0]), panel.x[1]);
    const found = panel.series.map((series) => [series, nearest(series.points, at)]);
    const place = found.map(([, point]) => point[0])
      .reduce((a, b) => (Math.abs(a - at) <= Math.abs(b - at) ? a : b));
    const [width, left, right] = panel.frame;
    const share = (place - panel.x[0]) / (panel.x[1] - panel.x[0]);
    const position = 100 * (left + share * (width - left - right)) / width;
    cursor.style.left = position + "%";
    reading.style.left = position < 50 ? "calc(" + position + "% + 8px)" : "";
    reading.style.right = position < 50 ? "" : "calc(" + (100 - position) + "% + 8px)";
    reading.replaceChildren(document.createTextNode(panel.label + " " + short(place)));
    for (const [series, point] of found) {
      const line = document.createElement("div");
      line.textContent = series.name + ": " + short(point[1]) + (point[0] === place ? "" : " (at " + short(point[0]) + ")");
      line.style.color = series.colour;
      reading.append(line);
    }
    cursor.hidden = reading.hidden = false;
  };
  const hide = () => { cursor.hidden = reading.hidden = true; };
  figure.addEventListener("pointermove", (event) => {
    const box = figure.querySelector("svg").getBoundingClientRect();
    const [width, left, right] = panel.frame;
    const x = (event.clientX - box.left) / box.width * width;
    show(panel.x[0] + (x - left) / (width - left - right) * (panel.x[1] - panel.x[0]));
  });
  figure.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const here = places.indexOf(nearest(longest, at)[0]);
    const jump = event.shiftKey ? Math.ceil(places.length / 20) : 1;
    show(places[Math.min(Math.max(here + move * jump, 0), places.length - 1)]);
  });
}

// The slider replays the search: the prior's most probable architecture at each step that is kept.
for (const replay of document.querySelectorAll(".replay")) {
  const steps = JSON.parse(replay.dataset.steps);
  const [slider, text] = [replay.querySelector("input"), replay.querySelector("output")];
  const target = document.getElementById(replay.dataset.target);
  const marks = document.querySelectorAll("[data-replay-mark]");
  const frames = [...document.querySelectorAll("[data-frame]")];
  const show = () => {
    const step = steps[slider.value];
    text.textContent = "step " + step.step + ", entropy " + short(step.entropy) + " nats";
    target.textContent = step.mode;
    const drawn = frames.filter((frame) => Number(frame.dataset.frame) <= Number(slider.value)).pop();
    for (const frame of frames) frame.hidden = frame !== (drawn || frames[0]);
    for (const mark of marks) {
      mark.setAttribute("x", Number(mark.dataset.left) + step.share * Number(mark.dataset.width));
    }
  };
  slider.addEventListener("input", show);
  show();
}
