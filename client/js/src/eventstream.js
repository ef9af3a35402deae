// EventStream turns the bytes of a text/event-stream into the data of its events, however the bytes are split.
export class EventStream {
  #decoder = new TextDecoder(); // drops a byte order mark, and keeps an incomplete character
  #line = "";
  #data = null;
  #afterCR;
  comments = 0;

  *push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (this.#afterCR && text[0] === "\n") text = text.slice(1); // the second half of a CRLF
    this.#afterCR = text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data) yield this.#data;
        this.#data = null;
      } else if (line[0] === ":") {
        this.comments++;
      } else if (/^data(:|$)/.test(line)) {
        const value = line.slice(5).replace(/^ /, "");
        this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
      }
    }
  }
}
