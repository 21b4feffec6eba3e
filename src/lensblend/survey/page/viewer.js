"use strict";
// Pictures beside each other that are moved and enlarged together, by mouse, wheel, touch and keys.

class Viewer {
  // A picture's place is said in parts of it: `centre` is what lies in the middle of each pane, `zoom` is against fitting.
  constructor(box, changed) {
    this.box = box;
    this.changed = changed;
    this.panes = [...box.querySelectorAll(".pane")];
    this.size = { width: 1, height: 1 };
    this.pointers = new Map();
    this.fit();
    box.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    box.addEventListener("pointerdown", (event) => this.down(event));
    box.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      box.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    box.addEventListener("dblclick", (event) => this.toggle(event));
    new ResizeObserver(() => this.draw()).observe(this.panes[0]);
  }

  // Load pictures, one list for each pane: what is seen, and behind it the original. Waits until all could be shown.
  async load(lists, size) {
    this.box.classList.add("waiting");
    this.size = size;
    this.box.style.setProperty("--ratio", `${size.width} / ${size.height}`);
    const images = lists.flatMap((list, at) => {
      const made = list.map((picture) => this.image(picture));
      this.panes[at].replaceChildren(...made);
      return made;
    });
    this.fit();
    await Promise.all(images.map((image) => image.decode()));
  }

  show() {
    this.box.classList.remove("waiting");
  }

  image({ source, says, isBehind }) {
    const image = new Image(this.size.width, this.size.height);
    image.src = source;
    image.alt = says;
    image.draggable = false;
    if (isBehind) image.className = "behind";
    return image;
  }

  get pane() {
    return { width: this.panes[0].clientWidth || 1, height: this.panes[0].clientHeight || 1 };
  }

  // CSS pixels for each pixel of a picture that fits.
  get fitting() {
    return Math.min(this.pane.width / this.size.width, this.pane.height / this.size.height);
  }

  get scale() {
    return this.fitting * this.zoom;
  }

  // Pixels of the screen for each pixel of a picture.
  get enlargement() {
    return this.scale * window.devicePixelRatio;
  }

  // The zoom at which a picture's pixel is one of the screen's.
  get exact() {
    return 1 / (this.fitting * window.devicePixelRatio);
  }

  get isWhole() {
    return this.zoom <= 1;
  }

  fit() {
    this.zoom = 1;
    this.centre = { x: 0.5, y: 0.5 };
    this.draw();
  }

  full(at) {
    this.enlarge(this.exact / this.zoom, at);
  }

  toggle(event) {
    if (this.zoom === 1) this.full(this.place(event));
    else this.fit();
  }

  // Enlarge by a factor, and leave what lies at a place of the pane there.
  enlarge(factor, at = { x: this.pane.width / 2, y: this.pane.height / 2 }) {
    const before = this.scale;
    this.zoom = Math.min(Math.max(this.zoom * factor, Math.min(1, this.exact)), Math.max(1, 8 * this.exact));
    for (const [axis, side] of [["x", "width"], ["y", "height"]]) {
      const away = at[axis] - this.pane[side] / 2;
      this.centre[axis] += (away / before - away / this.scale) / this.size[side];
    }
    this.draw();
  }

  pan(right, down) {
    this.centre.x += right / (this.size.width * this.scale);
    this.centre.y += down / (this.size.height * this.scale);
    this.draw();
  }

  draw() {
    for (const [axis, side] of [["x", "width"], ["y", "height"]]) {
      const margin = Math.min(0.5, this.pane[side] / 2 / (this.size[side] * this.scale));
      this.centre[axis] = Math.min(Math.max(this.centre[axis], margin), 1 - margin);
    }
    const left = this.pane.width / 2 - this.centre.x * this.size.width * this.scale;
    const top = this.pane.height / 2 - this.centre.y * this.size.height * this.scale;
    for (const image of this.box.querySelectorAll("img")) {
      image.style.transform = `translate(${left}px, ${top}px) scale(${this.scale})`;
    }
    this.box.classList.toggle("whole", this.isWhole);
    this.box.classList.toggle("large", this.enlargement >= 2);
    this.changed(this.enlargement);
  }

  original(isShown) {
    this.box.classList.toggle("original", isShown);
  }

  // Where in its pane a pointer is.
  place(event) {
    const pane = event.target.closest(".pane") ?? this.panes[0];
    const box = pane.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  wheel(event) {
    if (!event.target.closest(".pane")) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.enlarge(Math.exp(-event.deltaY * lines / 400), this.place(event));
  }

  down(event) {
    if (!event.target.closest(".pane") || event.button !== 0) return;
    this.box.setPointerCapture?.(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, at: this.place(event) });
  }

  move(event) {
    const known = this.pointers.get(event.pointerId);
    if (!known) return;
    const step = { x: event.clientX - known.x, y: event.clientY - known.y };
    const [first, second] = this.pointers.values();
    const apart = () => Math.hypot(first.x - second.x, first.y - second.y) || 1;
    const before = second && apart();
    known.x += step.x;
    known.y += step.y;
    known.at = { x: known.at.x + step.x, y: known.at.y + step.y };
    const share = second ? 2 : 1;
    this.pan(-step.x / share, -step.y / share);
    if (second) {
      this.enlarge(apart() / before, { x: (first.at.x + second.at.x) / 2, y: (first.at.y + second.at.y) / 2 });
    }
  }
}
