// Whether messages are taken, as the server says at /healthz: a connection may be open while what keeps the messages is away, as a
// broker is. The connection says nothing of it, so the server is asked now and then, and more often when there is a doubt.

const EVERY_MS = 15_000;
const AGAIN_MS = 2_000; // while something is wrong
const ANSWER_MS = 4_000; // the server takes 2 s at most

export class Health {
  wrong = ""; // what the server says is
  #changed;
  #timer = 0;
  #asked = false;
  #round = 0;

  // changed is called when wrong is another.
  constructor(changed) {
    this.#changed = changed;
  }

  // watch asks from now on, until rest.
  watch() {
    this.#asked = true;
    this.#ask();
  }

  rest() {
    this.#asked = false;
    this.#round++;
    clearTimeout(this.#timer);
    this.#say("");
  }

  // doubt asks at once.
  doubt() {
    if (this.#asked) this.#ask();
  }

  async #ask() {
    clearTimeout(this.#timer);
    const round = ++this.#round;
    const wrong = document.hidden ? this.wrong : await ask();
    if (round !== this.#round) return;
    this.#timer = setTimeout(() => this.#ask(), wrong ? AGAIN_MS : EVERY_MS);
    this.#say(wrong);
  }

  #say(wrong) {
    if (wrong === this.wrong) return;
    this.wrong = wrong;
    this.#changed();
  }
}

// ask returns what is wrong, or "". That there is no answer is for the connection to say.
async function ask() {
  try {
    const response = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    if (response.status !== 503) return "";
    const text = (await response.text()).trim();
    return text.length < 80 && !text.startsWith("<") ? text : "no server is ready"; // a proxy has a page of its own
  } catch {
    return "";
  }
}
