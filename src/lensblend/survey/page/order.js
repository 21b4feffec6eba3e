"use strict";
// Who sees what when: a Williams design. Over its rows, each trial stands at each place equally often, and after each
// other one; so does each method at each place. The second half of the rows is the first backwards, with the sides
// changed in pairs. A rater's row follows from the study's seed and the rater's id.

function rowOf(seed, rater, rows) {
  let hash = 2166136261;
  for (const letter of `${seed}:${rater}`) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619);
  hash = Math.imul(hash ^ (hash >>> 16), 2246822507);
  hash = Math.imul(hash ^ (hash >>> 13), 3266489909);
  return ((hash ^ (hash >>> 16)) >>> 0) % rows;
}

function orderOfRow(row, count) {
  const start = row % count;
  const isMirrored = row >= count;
  const places = [];
  for (let place = 0; place < count; place++) {
    const step = place % 2 ? (place + 1) / 2 : -place / 2;
    const trial = (start + step + count) % count;
    places.push({ trial, isSwapped: (trial % 2 === 1) !== isMirrored });
  }
  return isMirrored ? places.reverse() : places;
}

function orderOf(seed, rater, count) {
  return orderOfRow(rowOf(seed, rater, 2 * count), count);
}
