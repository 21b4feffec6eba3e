"use strict";
const pairs = [...document.querySelectorAll(".pair")];
let current = 0;

function say(pair, text) {
  pair.querySelector("output").textContent = text;
}

function blink(pair) {
  const button = pair.querySelector(".blink");
  button.querySelector("canvas").hidden = true;
  say(pair, button.classList.toggle("wide") ? "wide aperture" : "narrow aperture");
}

function difference(pair) {
  const button = pair.querySelector(".blink");
  const canvas = button.querySelector("canvas");
  const [narrow, wide] = button.querySelectorAll("img");
  canvas.hidden = !canvas.hidden;
  if (canvas.hidden) {
    say(pair, button.classList.contains("wide") ? "wide aperture" : "narrow aperture");
    return;
  }
  const pixels = [narrow, wide].map((image) => {
    canvas.width = narrow.naturalWidth;
    canvas.height = narrow.naturalHeight;
    const drawing = canvas.getContext("2d", { willReadFrequently: true });
    drawing.drawImage(image, 0, 0, canvas.width, canvas.height);
    return drawing.getImageData(0, 0, canvas.width, canvas.height);
  });
  const [first, second] = pixels;
  for (let i = 0; i < first.data.length; i++) {
    if (i % 4 !== 3) first.data[i] = 128 + 4 * (second.data[i] - first.data[i]);
  }
  canvas.getContext("2d").putImageData(first, 0, 0);
  say(pair, "difference");
}

function go(step) {
  current = Math.min(Math.max(current + step, 0), pairs.length - 1);
  pairs[current].scrollIntoView();
  pairs[current].focus({ preventScroll: true });
}

pairs.forEach((pair, index) => {
  pair.querySelector(".blink").addEventListener("click", () => {
    current = index;
    blink(pair);
  });
});
document.addEventListener("keydown", (event) => {
  if (!pairs.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = { j: () => go(1), k: () => go(-1), b: () => blink(pairs[current]), d: () => difference(pairs[current]) };
  const action = actions[event.key.toLowerCase()];
  if (action) action();
});
