"use strict";
// What a rater has answered: remembered by the browser, and sent to the server or written as a file.
const STUDY = JSON.parse(document.getElementById("study").textContent);
const IS_SERVED = document.body.dataset.kept === "server";
const PLACE = `lensblend-survey-${STUDY.study}`;
const RETRY = 2000; // milliseconds
const $ = (id) => document.getElementById(id);

// What this browser remembers: the rater's id, and value, seconds and whether it is on the server by trial.
let state = remembered();
let isSending = false;
let isDownloaded = false;

function remembered() {
  try {
    const found = JSON.parse(localStorage.getItem(PLACE));
    if (/^[0-9a-f]{16}$/.test(found.rater) && found.answers && found.begun) return found;
  } catch {
    // Nothing is remembered, or the browser forbids it.
  }
  return null;
}

function remember() {
  try {
    localStorage.setItem(PLACE, JSON.stringify(state));
  } catch {
    // Then a closed page begins anew.
  }
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function prepareDownload() {
  isDownloaded = false;
  const answers = Object.entries(state.answers).map(([trial, { value, seconds }]) => ({ trial, value, seconds }));
  const text = JSON.stringify({ study: STUDY.study, rater: state.rater, answers }, null, 1);
  const link = $("download");
  if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `answers-${state.rater}.json`;
}

const unsent = () => Object.entries(state?.answers ?? {}).filter(([, answer]) => !answer.isKept);

function say(isLost = false) {
  const count = IS_SERVED ? unsent().length : 0;
  $("another").disabled = IS_SERVED ? count > 0 : !isDownloaded;
  const words = `${count} ${count === 1 ? "answer is" : "answers are"} not saved yet`;
  if (count && (isLost || !$("end").hidden)) $("status").textContent = `${words}. Keep this page open; it tries again.`;
  else if (IS_SERVED && !count && !$("end").hidden) $("status").textContent = "All your answers are saved.";
  else if (!count) $("status").textContent = "";
}

// Answers go to the server one by one, again and again until it says that they are kept.
async function send() {
  if (!IS_SERVED || isSending) return;
  isSending = true;
  const own = state;
  let isLost = false;
  while (own === state && unsent().length && !isLost) {
    const [trial, answer] = unsent()[0];
    const body = JSON.stringify({ value: answer.value, seconds: answer.seconds });
    try {
      const reply = await fetch(`answers/${own.rater}/${trial}`, { method: "PUT", body, cache: "no-store" });
      if (!reply.ok) throw new Error(reply.status);
      answer.isKept = true;
      remember();
    } catch {
      isLost = true;
    }
  }
  isSending = false;
  say(isLost);
  if (isLost) setTimeout(send, RETRY);
  else if (own !== state) send();
}

// What the server has is the truth about which answers are kept, and may know more than this browser.
async function compare() {
  if (!IS_SERVED) return;
  try {
    const reply = await fetch(`answers/${state.rater}`, { cache: "no-store" });
    if (!reply.ok) return;
    const known = await reply.json();
    for (const [trial, answer] of Object.entries(state.answers)) {
      answer.isKept = known[trial]?.[0] === answer.value;
    }
    for (const [trial, [value, seconds]] of Object.entries(known)) {
      state.answers[trial] ??= { value, seconds, isKept: true };
    }
  } catch {
    // It is away; answers are sent when it is there again.
  }
}
