// strip.js - the last minute: loudness as spoken above the line, as the cloud received it below, troubles as ticks across.
const SECONDS = 60;
const FRAME_MS = 60; // a bar is 2 px and 100 ms: more frames would only cost
const ROW_PX = 13, ROWS = 2; // of labels
const LABEL_PX = ROW_PX * ROWS + 3;

// Loudness for eyes: -60 dB is nothing, 0 dB full height.
export const loud = (rms) => (rms <= 0 ? 0 : Math.max(0, 1 + (20 * Math.log10(rms)) / 60));

export class Strip {
  constructor(canvas) {
    this.canvas = canvas;
    this.bars = { spoken: [], received: [] };
    this.marks = [];
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    if (now - (this.drawn ?? -FRAME_MS) >= FRAME_MS) {
      this.drawn = now;
      this.draw();
    }
    requestAnimationFrame((next) => this.frame(next));
  }

  level(kind, rms) {
    this.bars[kind].push({ at: performance.now(), value: loud(rms) });
  }

  mark(text) {
    this.marks.push({ at: performance.now(), text });
  }

  draw() {
    const { canvas } = this, scale = devicePixelRatio, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const context = canvas.getContext('2d'), style = getComputedStyle(canvas), now = performance.now();
    const colour = (name) => style.getPropertyValue(name).trim();
    const x = (at) => width - ((now - at) / 1000) * (width / SECONDS);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const middle = LABEL_PX + (height - LABEL_PX) / 2, room = (height - LABEL_PX) / 2 - 3;
    context.fillStyle = colour('--line');
    context.fillRect(0, middle - 0.5, width, 1);
    const bar = Math.max(1.5, width / SECONDS / 10 - 1);
    for (const [kind, name, up] of [['spoken', '--flow', true], ['received', '--received', false]]) {
      this.bars[kind] = this.bars[kind].filter(({ at }) => now - at < SECONDS * 1000);
      context.fillStyle = colour(name);
      for (const { at, value } of this.bars[kind]) {
        const tall = value * room;
        if (tall > 0) context.fillRect(x(at) - bar, up ? middle - 1.5 - tall : middle + 1.5, bar, tall);
      }
    }
    this.drawMarks(context, now, x, height, colour);
  }

  drawMarks(context, now, x, height, colour) {
    this.marks = this.marks.filter(({ at }) => now - at < SECONDS * 1000);
    context.fillStyle = colour('--trouble');
    context.font = `11px ${colour('--mono')}`;
    for (const { at } of this.marks) context.fillRect(x(at), 0, 1, height);
    const free = Array(ROWS).fill(-Infinity); // where the label before ends
    for (const { at, text } of this.marks) {
      const left = x(at), wide = context.measureText(text).width;
      const begin = left + wide + 4 > x(now) ? left - wide - 5 : left + 4;
      const row = free.findIndex((end) => begin >= end);
      if (row < 0) continue;
      // Other marks' lines do not run through the words.
      context.fillStyle = colour('--ground');
      context.fillRect(begin - 2, row * ROW_PX, wide + 4, ROW_PX);
      context.fillStyle = colour('--trouble');
      context.fillText(text, begin, 10 + row * ROW_PX);
      free[row] = begin + wide + 8;
    }
  }
}
