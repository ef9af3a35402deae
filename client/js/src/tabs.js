import { pass } from "./pauses.js";
import { parsed } from "./values.js";

const PLACES = [0, 1]; // for requests that are parked, of the six connections that a browser has to a server on HTTP/1.1
const TURN_MS = 15_000; // after which all tabs poll, whether there is something for them or not: it is their sign of life
const AGAIN_MS = 5_000; // the longest pause after a request that failed

/** What the tabs of one origin share where each connection counts: two have a place, for a stream or a poll that is parked. All
 * others poll when they are told to, by the one of them that waits for all. The browser's locks say which are which, so the end of a
 * tab is noticed at once. Each tab has a client socket, an identity and a token of its own. */
export class Tabs {
  #url;
  #address;
  #place; // gives it back
  #ends; // gives up whatever else there is of a tab without a place
  #channel;
  #name; // of the client socket, while it waits
  #wake = () => {};
  #names; // of all that wait, in the tab that waits for them
  #asking;

  constructor(url) {
    this.#url = url;
  }

  get crowded() { return !!this.#ends; }

  /** Takes a place, if there is one. */
  async enter(address) {
    this.#address = address;
    if (this.#place || this.#ends || !this.#shares()) return;
    const lock = (what, options) => new Promise((resolve) => {
      navigator.locks.request(`chime ${this.#url} ${what}`, options, (got) => got && new Promise(resolve)).then(resolve, () => resolve());
    });
    for (const n of PLACES) if ((this.#place = await lock(n, { ifAvailable: true }))) return;
    const { signal } = (this.#ends = new AbortController());
    this.#channel = new BroadcastChannel(this.#url);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    const gets = (what, use) => lock(what, { signal }).then((release) => (signal.aborted ? release?.() : use(release)));
    for (const n of PLACES) {
      gets(n, (place) => {
        this.leave();
        this.#place = place;
        this.#wake();
      });
    }
    gets("waits", (release) => this.#lead(signal).then(release));
  }

  leave() {
    this.#place?.();
    this.#ends?.abort();
    this.#asking?.abort();
    this.#channel?.close();
    this.#place = this.#ends = this.#names = null;
  }

  /** Resolves when the tab is to poll: what it asked for last brought nothing. */
  turn(name) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#say({ waits: (this.#name = name) });
    });
  }

  #say(message) {
    this.#channel.postMessage(message);
    this.#hear(message);
  }

  #hear({ waits, who, polls }) {
    if (who && this.#name) this.#say({ waits: this.#name });
    if (waits && this.#names?.add(waits)) this.#asking?.abort(); // to ask for it, too
    if (polls?.includes(this.#name)) {
      this.#name = null;
      this.#wake();
    }
  }

  // lead: a tab that is told says again that it waits, when it has polled. So one that has died is forgotten.
  async #lead(ended) {
    const names = (this.#names = new Set());
    this.#say({ who: true });
    for (let told = Date.now(); ;) {
      let polls = await this.#ask([...names], Math.max(0, told + TURN_MS - Date.now()));
      if (ended.aborted) return;
      if (Date.now() >= told + TURN_MS) {
        told = Date.now();
        polls = [...names];
      }
      for (const name of polls) names.delete(name);
      this.#say({ polls });
    }
  }

  // ask returns which of those that wait are to poll: none if the time is over, or others are to be asked for.
  async #ask(ids, holdMs) {
    const { signal } = (this.#asking = new AbortController());
    try {
      if (!ids.length) return await new Promise((resolve) => { signal.onabort = () => resolve([]); });
      const response = await this.#address.ask("/wait", { "Content-Type": "application/json", "Chime-Hold": String(holdMs) }, {
        method: "POST", signal, body: JSON.stringify({ ids }),
      });
      return [...parsed(await response.text()).ids];
    } catch {
      if (signal.aborted) return [];
      await pass(AGAIN_MS * Math.random());
      return ids; // nobody knows
    }
  }

  // shares reports whether this page shares few connections, and can speak of it with others: HTTP/2 has many.
  #shares() {
    return globalThis.document && globalThis.navigator?.locks &&
      !performance.getEntriesByType("resource").some(({ name, nextHopProtocol }) => name.startsWith(this.#url) && /^h[23]/.test(nextHopProtocol));
  }
}
