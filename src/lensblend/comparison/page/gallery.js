"use strict";
// The sides of a picture are numbered: 0 the photo, 1 the target, then each run in the table's order.
(() => {
  const images = [...document.querySelectorAll("section.image")];
  const control = (id) => document.getElementById(id);

  function show(image, side, number) {
    const figures = [...image.querySelectorAll(".strip figure")];
    const source = figures[number].querySelector("img");
    const slider = image.querySelector("img-comparison-slider");
    const shown = slider.querySelector(`[slot=${side === "left" ? "first" : "second"}]`);
    shown.src = source.src;
    shown.alt = source.alt;
    shown.className = source.className;
    image.querySelector(`select.${side}`).value = number;
    figures.forEach((figure, i) => figure.classList.toggle(`on-${side}`, i === Number(number)));
    const [left, right] = slider.querySelectorAll("img");
    slider.setAttribute("aria-label", `${left.alt} on the left, ${right.alt} on the right`);
  }

  function sort() {
    const [metric, of, minus] = ["metric", "of", "minus"].map((id) => control(id)?.value ?? "");
    const value = (image) => {
      const scores = JSON.parse(image.dataset.scores)[metric];
      return Number(scores[of]) - (minus === "" ? 0 : Number(scores[minus]));
    };
    const direction = Number(control("direction").value);
    const keyed = images.map((image) => ({ image, key: metric === "" ? 0 : value(image) }));
    // What is not a number comes last, whatever the direction.
    keyed.sort((a, b) => Number.isNaN(a.key) - Number.isNaN(b.key) || (a.key === b.key ? 0 : direction * (a.key - b.key)));
    for (const { image, key } of keyed) {
      const signed = minus !== "" && key > 0 ? "+" : "";
      const { heading, decimals } = control("metric").selectedOptions[0].dataset;
      const name = `${minus === "" ? "" : "Δ "}${heading}`;
      image.querySelector(".sorted").textContent = metric === "" ? "" : `${name} ${signed}${key.toFixed(decimals)}`;
    }
    document.querySelector("main").append(...keyed.map(({ image }) => image));
  }

  for (const image of images) {
    for (const side of ["left", "right"]) {
      const select = image.querySelector(`select.${side}`);
      select.addEventListener("change", () => show(image, side, select.value));
      show(image, side, control(`all-${side}`).value);
    }
    image.querySelectorAll(".strip button").forEach((button, number) => {
      button.addEventListener("click", (event) => show(image, event.shiftKey ? "left" : "right", number));
    });
    const slider = image.querySelector("img-comparison-slider");
    slider.addEventListener("slide", () => slider.setAttribute("aria-valuenow", Math.round(slider.value)));
  }
  for (const side of ["left", "right"]) {
    control(`all-${side}`).addEventListener("change", (event) => images.forEach((image) => show(image, side, event.target.value)));
  }
  for (const id of ["metric", "of", "minus", "direction"]) control(id)?.addEventListener("change", sort);
  control("all-weights").addEventListener("change", (event) => {
    document.querySelectorAll("details.weights").forEach((details) => { details.open = event.target.checked; });
  });
  document.addEventListener("keydown", (event) => {
    const step = { j: 1, k: -1 }[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    const order = [...document.querySelectorAll("section.image")];
    const here = order.findIndex((image) => image.contains(document.activeElement));
    const next = order[here < 0 ? 0 : Math.min(Math.max(here + step, 0), order.length - 1)];
    next?.scrollIntoView({ block: "start" });
    next?.querySelector("img-comparison-slider").focus({ preventScroll: true });
  });
  // A browser restores what was chosen when a page is loaded again, without saying so.
  if (control("metric").value !== "") sort();
  if (control("all-weights").checked) control("all-weights").dispatchEvent(new Event("change"));
})();
