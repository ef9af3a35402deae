import { PollLink } from "./poll.js";
import { StreamLink } from "./stream.js";
import { WebSocketLink } from "./websocket.js";

const FALLBACK_MS = 2_000; // without a hello, or a proof, for this long: another connection starts beside the former
const SLOW_MS = 5_000; // the same where the server is known to be far away, at most
const POLL_MS = 3_000; // and for long-polling, which is slower than any other that is only late
const HURRY_MS = 1_000; // and after the page woke up, when the first connections often hang
const MOST = 4; // at one time, and in all unless the page woke up

/** The class of each transport's connections. */
export const kinds = { websocket: WebSocketLink, sse: StreamLink, longpoll: PollLink };

/** One attempt to get a connection. It starts one after the other, each beside the former, and ends with the first that is proven
 * to carry both ways. hooks: note(record) of each; carry(link), for the one that frames are to be sent on from now; won(link), when
 * that is proven; unlinked(link, why), when it ended before, which returns whether the client socket goes on; lost(race, why), when
 * all failed; refused(link, why); and frame, slept and broke of the one that won. */
export class Race {
  #address;
  #order;
  #queue = []; // the transports of the connections to come
  #hooks;
  #plan;
  #racing = new Set();
  #carrying;
  #timer;
  #greeted;
  #over;
  names = []; // the transports of those that were started
  failures = [];

  // plan: session, to be resumed, or null; beside, a connection that carries it meanwhile and is in no doubt; rttMs; woken.
  constructor(address, order, plan, hooks) {
    this.#address = address;
    this.#order = order;
    this.#plan = plan;
    this.#hooks = hooks;
    this.#line();
    this.#next();
  }

  // woke: what hangs since before the page slept delays nothing.
  woke() {
    this.#plan.woken = true;
    this.#line();
    this.#wait();
  }

  // alone: the connection beside is gone.
  alone() {
    this.#plan.beside = null;
  }

  cancel() {
    this.#over = true;
    clearTimeout(this.#timer);
    for (const link of this.#racing) link.close();
    this.#racing.clear();
    if (this.#plan.session) this.#plan.session.keepsAll = false;
  }

  // line: after the page woke up the first transport, which is likely to work as before, has three connections before the others.
  // And there are more in all: a browser uses again what it has kept, and that may be dead.
  #line() {
    const order = this.#order;
    const turns = [...order, ...order, ...order, ...order];
    this.#queue = this.#plan.woken ? [order[0], order[0], ...turns].slice(0, 2 * MOST) : turns.slice(0, MOST);
  }

  // once: a transport that opened, or failed, gives its further turns to the others.
  #once({ name }) {
    const other = this.#queue.findIndex((next) => next !== name);
    if (other > 0) this.#queue.splice(0, other);
  }

  get #fresh() { return this.#queue.length && !this.names.includes(this.#queue[0]); }

  #next() {
    if (this.#over) return;
    const { session, woken } = this.#plan;
    const name = this.#queue.shift();
    this.names.push(name);
    // Browsers have one WebSocket at a time that is not open yet: another would wait for the one that hangs.
    const hangs = [...this.#racing].find((link) => !link.since && (this.#racing.size >= MOST || (woken && link.name === name && name === "websocket")));
    hangs?.close();
    this.#racing.delete(hangs);
    const link = new kinds[name](this.#address, {
      ...this.#hooks,
      hello: () => this.#hello(link),
      proven: () => this.#proven(link),
      broke: (why) => (this.#racing.has(link) ? this.#failed(link, why) : this.#hooks.broke(why)),
    }, session);
    this.#hooks.note(link.record);
    this.#racing.add(link);
    if (session) session.keepsAll = true;
    this.#wait();
  }

  // wait has the next connection start: another transport, or until a hello the same ones again.
  #wait() {
    clearTimeout(this.#timer);
    const { rttMs, woken } = this.#plan;
    const started = this.names.length;
    const due = () => !this.#over && (this.#greeted ? this.#fresh : this.#queue.length);
    if (!due()) return;
    const far = Math.min(4 * rttMs, SLOW_MS);
    const ms = woken ? Math.max(started < MOST ? HURRY_MS : FALLBACK_MS, far)
      : started === 1 ? Math.max(FALLBACK_MS, far)
      : this.#queue[0] === "longpoll" ? POLL_MS : FALLBACK_MS;
    this.#timer = setTimeout(() => due() && this.#next(), ms);
  }

  // hello: a stream and a poll are promoted by what would prove them, so they carry at once what they resume. All others do if
  // nothing else could win, which saves the time that the proof takes.
  #hello(link) {
    const { session, beside } = this.#plan;
    this.#greeted = true;
    this.#once(link);
    if (beside && !link.resumed && session.graceMs) {
      return link.end({ reason: "the server did not resume the client socket", over: true }); // that is worse than what there is
    }
    this.#plan.session ??= link.session;
    if (link.resumed && link.name !== "websocket" || !beside && this.#racing.size === 1) this.#carry(link);
    if (!link.ended && !this.#over) link.prove();
  }

  // carry ends all others: the promotion of this connection makes their secrets bad. Those that begin later show its own.
  #carry(link) {
    this.#carrying = link;
    this.#hooks.carry(link);
    for (const other of this.#racing) {
      if (other === link) continue;
      this.#racing.delete(other);
      other.close();
      if (other.since) this.failures.push({ name: other.name, greeted: true, reason: "not proven to work" });
    }
  }

  #proven(link) {
    if (this.#carrying !== link) this.#carry(link);
    if (this.#over || link.ended) return;
    this.#racing.delete(link);
    this.cancel();
    link.session.keepsAll = false;
    this.#hooks.won(link, this);
  }

  #failed(link, why) {
    this.#racing.delete(link);
    this.failures.push({ name: link.name, greeted: link.since > 0, ...why });
    if (link === this.#carrying) {
      this.#carrying = null;
      if (!this.#hooks.unlinked(link, why)) this.#plan.session = null;
      if (this.#over) return; // a caller of push has called disconnect or connect
    }
    if (!this.#plan.beside && isRefusal(why)) return this.#hooks.refused(link, why);
    this.#once(link);
    if (!link.since && this.#fresh) return this.#next();
    if (this.#racing.size) return;
    this.cancel();
    this.#hooks.lost(this, why);
  }
}

export function isRefusal({ code, status, said }) {
  return (said && code === 4003) || status === 401 || status === 403;
}
