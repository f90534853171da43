// captions.js - the words on the stage: finals stay, the interim after them is replaced until it is final.
export class Captions {
  constructor(list) {
    this.list = list;
    this.segments = new Map();
  }

  add(element) {
    const nearEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 120;
    this.list.querySelector('.empty')?.remove();
    if (element.parentNode !== this.list) this.list.append(element);
    // Who has scrolled back to read is left there.
    if (nearEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  // One text stream: the whole text of a segment as it is known now.
  show(id, text, final) {
    let element = this.segments.get(id);
    if (element?.dataset.final === 'true') return; // an interim that was overtaken by its final
    if (!element) {
      element = document.createElement('p');
      element.dataset.segment = id;
      this.segments.set(id, element);
    }
    element.textContent = text.trim();
    element.dataset.final = String(final);
    element.className = final ? '' : 'interim';
    this.add(element);
  }

  // Something that happened, between the words.
  mark(text, bad = false) {
    const element = document.createElement('p');
    element.className = bad ? 'mark bad' : 'mark';
    element.textContent = text;
    this.add(element);
  }
}
