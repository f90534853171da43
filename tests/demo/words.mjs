// words.mjs - two texts word by word: how many are lost, added, and how wrong one is of the other.

// The words both have, in order (longest common subsequence), as pairs of places.
function common(a, b) {
  const length = Array.from({ length: a.length + 1 }, () => new Int32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  return length[0][0];
}

export const wordsOf = (text) => text.toLowerCase().replace(/[^a-z' ]+/g, ' ').split(' ').filter(Boolean);

// Of what an undisturbed run heard: words that are missing, and words that are too many.
export function compare(undisturbed, disturbed) {
  const a = wordsOf(undisturbed), b = wordsOf(disturbed), same = common(a, b);
  return { lost: a.length - same, doubled: b.length - same };
}

// Word error rate: substitutions, insertions and deletions against the words of the reference.
export function errorRate(reference, heard) {
  const a = wordsOf(reference), b = wordsOf(heard);
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  a.forEach((word, i) => {
    const next = [i + 1];
    b.forEach((other, j) => next.push(Math.min(row[j] + (word === other ? 0 : 1), row[j + 1] + 1, next[j] + 1)));
    row = next;
  });
  return row[b.length] / a.length;
}
