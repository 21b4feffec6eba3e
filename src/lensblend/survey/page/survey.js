"use strict";
// The screens, and what keys and buttons do.

let order = [];
let at = 0;
let visit = 0;
let shownAt = null;
let hiddenAt = null;

function show(id) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
  if (id !== "trial") window.scrollTo(0, 0);
  $(`${id}-title`).focus({ preventScroll: true });
}

const viewer = new Viewer($("panes"), (enlargement) => {
  $("enlargement").textContent = `${Math.round(100 * enlargement)} %`;
});

const trialAt = (place) => STUDY.trials[order[place].trial];
const source = (image) => `images/${image}.${STUDY.suffix}`;

function lists(place) {
  const trial = trialAt(place);
  const original = { source: source(trial.target), says: "original" };
  const behind = { source: source(trial.target), says: "", isBehind: true };
  const [first, second] = order[place].isSwapped ? [...trial.shown].reverse() : trial.shown;
  if (STUDY.mode === "levels") return [[original], [{ source: source(first), says: "version" }, behind]];
  const sides = [[first, "version A"], [second, "version B"]];
  const [left, right] = sides.map(([image, says]) => [{ source: source(image), says }, behind]);
  return [left, [original], right];
}

// A choice as it is kept, 1 where the first of the pair is closer whichever side it is on; and back.
function kept(choice) {
  if (STUDY.mode === "levels") return Number(choice);
  return Number((choice === "left") !== isSwapped());
}

function choiceOf(value) {
  if (STUDY.mode === "levels") return String(value);
  return (value === 1) !== isSwapped() ? "left" : "right";
}

const isSwapped = () => order[at].isSwapped;
const chosen = () => $("answer").elements.value.value;

function choose(choice) {
  if (shownAt === null) return;
  const input = [...$("answer").elements.value].find((radio) => radio.value === choice);
  input.checked = true;
  input.focus({ preventScroll: true });
  refresh();
}

function refresh() {
  $("next").disabled = shownAt === null || !chosen();
  $("back").disabled = at === 0;
}

function go(place) {
  at = place;
  shownAt = null;
  hold(false);
  $("answer").reset();
  $("failed").hidden = true;
  $("trial-title").textContent = `Picture ${at + 1} of ${order.length}`;
  $("progress").value = at;
  show("trial");
  say();
  refresh();
  for (const radio of $("answer").elements.value) radio.disabled = true;
  load(++visit);
}

// Show the pictures, again and again until they are there, unless the rater has gone elsewhere.
async function load(own) {
  try {
    await viewer.load(lists(at), trialAt(at));
  } catch {
    if (own !== visit) return;
    $("failed").hidden = false;
    setTimeout(() => own === visit && load(own), RETRY);
    return;
  }
  if (own !== visit) return;
  viewer.show();
  hiddenAt = document.hidden ? performance.now() : null;
  $("failed").hidden = true;
  shownAt = performance.now();
  for (const radio of $("answer").elements.value) radio.disabled = false;
  const answer = state.answers[trialAt(at).id];
  if (answer) {
    const before = choiceOf(answer.value);
    [...$("answer").elements.value].find((radio) => radio.value === before).checked = true;
  }
  refresh();
  if (at + 1 < order.length) for (const { source: address } of lists(at + 1).flat()) new Image().src = address;
}

function submit() {
  if (shownAt === null || !chosen()) return;
  const id = trialAt(at).id;
  const before = state.answers[id]?.seconds ?? 0;
  const seconds = Math.min(86400, Math.round(10 * before + (performance.now() - shownAt) / 100) / 10);
  state.answers[id] = { value: kept(chosen()), seconds, isKept: false };
  remember();
  send();
  if (at + 1 < order.length) go(at + 1);
  else end();
}

function back() {
  if (at > 0) go(at - 1);
}

function end() {
  visit++;
  hold(false);
  $("code").textContent = state.rater;
  if (!IS_SERVED) prepareDownload();
  show("end");
  say();
}

async function resume() {
  order = orderOf(STUDY.seed, state.rater, STUDY.trials.length);
  await compare();
  remember();
  send();
  const open = order.findIndex(({ trial }) => !state.answers[STUDY.trials[trial].id]);
  if (open < 0) {
    at = order.length - 1;
    end();
  } else go(open);
}

function hold(isShown) {
  viewer.original(isShown);
  $("original").setAttribute("aria-pressed", String(isShown));
}

const STEP = 0.15; // of a pane
const pan = (x, y) => viewer.pan(x * STEP * viewer.pane.width, y * STEP * viewer.pane.height);
const KEYS = {
  o: () => hold(true), "+": () => viewer.enlarge(1.5), "=": () => viewer.enlarge(1.5), "-": () => viewer.enlarge(1 / 1.5),
  f: () => viewer.fit(), z: () => viewer.full(), backspace: back,
  w: () => pan(0, -1), a: () => pan(-1, 0), s: () => pan(0, 1), d: () => pan(1, 0),
};
if (STUDY.mode === "pairs") Object.assign(KEYS, { arrowleft: () => choose("left"), arrowright: () => choose("right") });
else for (let level = 0; level < 5; level++) KEYS[level] = () => choose(String(level));

document.addEventListener("keydown", (event) => {
  if ($("trial").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" && !event.repeat && !event.target.closest("button")) {
    event.preventDefault();
    submit();
    return;
  }
  const action = KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});
document.addEventListener("keyup", (event) => {
  if (event.key.toLowerCase() === "o") hold(false);
});
// What a rater does elsewhere is not time spent on a picture.
document.addEventListener("visibilitychange", () => {
  if (shownAt !== null && !document.hidden && hiddenAt !== null) shownAt += performance.now() - hiddenAt;
  hiddenAt = document.hidden ? performance.now() : null;
});
window.addEventListener("blur", () => hold(false));

$("agree").addEventListener("click", () => show("instructions"));
$("begin").addEventListener("click", () => {
  state = { rater: randomId(), begun: true, answers: {} };
  resume();
});
$("answer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("answer").addEventListener("change", refresh);
$("back").addEventListener("click", back);
$("download")?.addEventListener("click", () => {
  isDownloaded = true;
  say();
});
$("revise").addEventListener("click", () => go(order.length - 1));
$("another").addEventListener("click", () => {
  state = null;
  try {
    localStorage.removeItem(PLACE);
  } catch {
    // Nothing was remembered.
  }
  $("status").textContent = "";
  show("consent");
});
$("smaller").addEventListener("click", () => viewer.enlarge(1 / 1.5));
$("larger").addEventListener("click", () => viewer.enlarge(1.5));
$("fit").addEventListener("click", () => viewer.fit());
$("full").addEventListener("click", () => viewer.full());
$("original").addEventListener("click", () => hold(!$("panes").classList.contains("original")));

if (state) resume();
else show("consent");
