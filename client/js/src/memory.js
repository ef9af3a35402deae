const MEMO_MS = 30 * 60_000; // how long a transport is tried last that this network was seen to block
const DEATHS = 2; // so many connections of one transport that died young,
const DEATHS_MS = 10 * 60_000; // within this time, are a network that cuts it
const IDLE_MS = 1_500; // a connection that broke after a shorter silence was not cut for that
const NEAR = 1.25;

/** What is known of the network between this page and one server: for all pages of this origin, where the browser keeps it. */
export class Memory {
  #key;
  #facts = {}; // transport → { deaths: when, until: when it may be tried first again }
  #idleMs = 0; // the silence before the last connection broke
  pingMs = 0; // a silence that this network allows, if it allows less than the server's heartbeat

  constructor(url) {
    this.#key = `chime ${url}`;
    try {
      this.#facts = JSON.parse(localStorage.getItem(this.#key)) ?? {};
    } catch {
      // a page without storage remembers for itself alone
    }
  }

  get blocked() { return Object.keys(this.#facts).filter((name) => this.#facts[name].until > Date.now()); }

  // order puts what this network blocks behind the others.
  order(names) {
    const { blocked } = this;
    return [...names].sort((a, b) => blocked.includes(a) - blocked.includes(b));
  }

  // cuts reports whether connections of a transport have died young lately.
  cuts(name) {
    return this.#fact(name).deaths.some((at) => at > Date.now() - DEATHS_MS);
  }

  block(name) {
    this.#fact(name).until = Date.now() + MEMO_MS;
    this.#keep();
  }

  works(name) {
    if (!this.#fact(name).until) return;
    this.#fact(name).until = 0;
    this.#keep();
  }

  // died notes a connection that ended young, after a silence of so many ms.
  died(name, idleMs, heartbeat) {
    const fact = this.#fact(name);
    const near = Math.max(idleMs, this.#idleMs) < NEAR * Math.min(idleMs, this.#idleMs);
    if (near && idleMs > IDLE_MS && idleMs < heartbeat && !this.pingMs) {
      this.pingMs = 0.6 * idleMs; // it is cut for being idle, which can be cured
      fact.deaths = [];
    } else {
      fact.deaths = [...fact.deaths.filter((at) => at > Date.now() - DEATHS_MS), Date.now()].slice(-DEATHS);
      if (fact.deaths.length === DEATHS) fact.until = Date.now() + MEMO_MS;
    }
    this.#idleMs = idleMs;
    this.#keep();
  }

  #fact(name) {
    return (this.#facts[name] ??= { deaths: [], until: 0 });
  }

  #keep() {
    try {
      localStorage.setItem(this.#key, JSON.stringify(this.#facts));
    } catch {
      // full, not allowed, or there is none
    }
  }
}
