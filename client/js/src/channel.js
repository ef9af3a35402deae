import { Drafts } from "./drafts.js";
import { ChimeError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { jitter, STEADY_MS } from "./pauses.js";
import { presence } from "./presence.js";
import { checkedName, encoded, keyed, misuse, only, valueOf } from "./values.js";

const ANSWER_MS = 20_000; // longer than the default grace period of a server
const RESERVED = /^(phx_|@)/;
const POSITION = "@position"; // of a message that this client is not shown
const UNANSWERED = 500; // pushes of one channel without an answer: all of them fit into its inbox on the server, which has 512 places

/** One topic, joined by one client. Made by Socket.channel. */
export class Channel {
  #wire;
  #topic;
  #params;
  #state = "closed";
  #joinRef = null; // of the join on the present client socket; null before it is sent
  #joining; // the promise that join() returned
  #accepted; // since join()
  #timer;
  #rejoins = 0;
  #joinedAt;
  #epoch = null;
  #offset = null; // with the epoch the position; null in a topic without history, and before the first join
  #recovered = null;
  #oldest = null; // before this offset history() reads on; null in a topic without history, and before the first join
  #paging = Promise.resolve(); // until the last call of history() is settled
  #pushes = new Set(); // without an answer, in the order of push(); those without an entry wait for the join
  #handlers = new Map();
  #onState = new Listeners();
  #onGap = new Listeners();
  #drafts;
  #presence;
  #member;

  constructor(wire, topic, params) {
    this.#wire = wire;
    this.#topic = topic;
    this.#params = params;
    this.#drafts = new Drafts(wire.report);
    this.#presence = presence(wire.report);
    this.#member = {
      topic,
      up: () => this.#joinRef === null && this.#sendJoin(),
      down: (error) => this.#rest(error),
      halt: (error) => this.#close(error ?? new ChimeError("closed", `${topic}: disconnect() was called`), !error, this.#accepted),
      wanted: () => this.#state !== "closed",
      take: (...frame) => this.#take(...frame),
    };
  }

  get topic() { return this.#topic; }
  get state() { return this.#state; }
  get position() { return this.#epoch === null ? null : { epoch: this.#epoch, offset: this.#offset }; }
  get recovered() { return this.#recovered; }
  get presence() { return this.#presence.shown; }

  on(event, fn) {
    if (!this.#handlers.has(checkedName("event", event, RESERVED))) this.#handlers.set(event, new Listeners());
    return this.#handlers.get(event).add(fn);
  }

  onState(fn) {
    return this.#onState.add(fn);
  }

  onGap(fn) {
    return this.#onGap.add(fn);
  }

  onDraft(fn) {
    return this.#drafts.add(fn);
  }

  join(options = {}) {
    let timeout;
    try {
      timeout = timeoutOf("join", options);
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#state !== "closed" && (this.#accepted || !this.#joining.settled)) return this.#joining.promise;
    const joining = deferred();
    joining.promise.catch(() => {}); // a page that does not await its join learns of it by onState, not by an unhandled rejection
    this.#joining = joining;
    const timer = after(timeout, () => {
      const why = this.#wire.why();
      joining.reject(new ChimeError("timeout", `${this.#topic} phx_join: no answer within ${timeout} ms${why && `: ${why}`}; joining goes on`));
    });
    joining.promise.finally(() => clearTimeout(timer)).catch(() => {});
    if (this.#state !== "closed") return joining.promise; // the former call has timed out, and its join goes on
    this.#accepted = false;
    this.#rejoins = 0;
    this.#state = "joining";
    try {
      this.#wire.enter(this.#member);
    } catch (error) {
      this.#state = "closed";
      joining.reject(error);
      return joining.promise;
    }
    if (this.#state === "joining") this.#onState.call(this.#wire.report, "joining");
    return joining.promise;
  }

  leave() {
    if (this.#state === "closed") {
      this.#wire.exit(this.#member); // it may be due to join with the next connect()
      return Promise.resolve();
    }
    const joinRef = this.#joinRef;
    this.#close(new ChimeError("closed", `${this.#topic}: leave() was called`), true);
    if (joinRef === null) return Promise.resolve(); // no join was sent
    return new Promise((resolve) => {
      const done = () => resolve();
      this.#wire.send({ member: this.#member, joinRef, ref: this.#wire.ref(), event: "phx_leave", body: "{}", answer: done, fail: done, interrupted: done });
    });
  }

  push(event, payload = {}, options = {}) {
    return new Promise((resolve, reject) => {
      const timeout = timeoutOf("push", options, "key");
      const body = keyed(encoded(payload, `${this.#topic} ${checkedName("event", event, RESERVED)}`), options.key); // now: the application may change the payload later
      this.#ask({ event, body: () => body }, timeout, resolve, reject);
    });
  }

  history(options = {}) {
    const epoch = this.#epoch; // now: `before` is of it
    const page = this.#paging.then(() => new Promise((resolve, reject) => { // one after the other, so that each goes on where the former ended
      const timeout = timeoutOf("history", options, "before", "limit");
      const { before, limit } = options;
      for (const [name, value] of [["before", before], ["limit", limit]]) {
        if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) throw misuse(`history: ${name}`, value, "an integer from 1");
      }
      // Made when it is sent: a join that has to come first may begin somewhere else. It changes nothing, so it may be sent twice.
      const body = () => JSON.stringify({ before: this.#oldest === null ? undefined : { epoch: (before && epoch) ?? this.#epoch, offset: before ?? this.#oldest }, limit });
      this.#ask({ event: "@history", body, again: true }, timeout, (older) => {
        const first = older.messages[0]?.offset; // of one that is withheld, too
        if (first < this.#oldest) this.#oldest = first;
        resolve({ ...older, before: first, messages: older.messages.filter((message) => message.event !== POSITION) });
      }, reject);
    }));
    this.#paging = page.catch(() => {});
    return page;
  }

  // ask sends a push, now or when the channel is joined.
  #ask(push, timeout, resolve, reject) {
    const what = `${this.#topic} ${push.event}`;
    if (this.#state === "closed") throw new ChimeError("closed", `${what}: not joined: join() is needed`);
    if (this.#pushes.size >= UNANSWERED) throw new ChimeError("full", `${what}: ${UNANSWERED} pushes have no answer: no more are allowed`);
    push.entry = null;
    const timer = after(timeout, () => {
      if (push.entry) this.#wire.forget(push.entry);
      push.fail("timeout", `no answer within ${timeout} ms`);
    });
    const settle = (how, value) => {
      clearTimeout(timer);
      this.#pushes.delete(push);
      how(value);
    };
    push.resolve = (response) => settle(resolve, response);
    push.reject = (error) => settle(reject, error);
    push.fail = (code, why, more) => push.reject(new ChimeError(code, `${what}: ${why}`, { sent: push.entry?.sent, ...more }));
    this.#pushes.add(push);
    if (this.#state === "joined") this.#transmit(push);
  }

  #transmit(push) {
    push.entry = {
      member: this.#member, joinRef: this.#joinRef, ref: this.#wire.ref(), event: push.event, body: push.body(),
      answer: (status, response) => {
        if (status === "ok") push.resolve(response);
        else push.fail("error", response?.reason ?? status, { response, sent: true });
      },
      fail: (error) => push.reject(error),
      interrupted: (cause) => {
        if (push.entry.sent && !push.again) push.fail("outcome_unknown", "sent, and the join ended before the answer", { cause });
        else if (this.#state === "closed") push.fail("closed", "leave() was called");
        else push.entry = null; // it waits for the next join
      },
    };
    this.#wire.send(push.entry);
  }

  #sendJoin() {
    clearTimeout(this.#timer);
    const ref = (this.#joinRef = this.#wire.ref());
    let position, body;
    try {
      const { "@since": since, "@last": last, ...params } = valueOf(this.#params) ?? {};
      position = this.position ?? since;
      body = encoded(position ? { ...params, "@since": position } : last === undefined ? params : { ...params, "@last": last }, `${this.#topic} phx_join`);
    } catch (error) {
      return this.#close(error);
    }
    const current = (fn) => (...reply) => this.#joinRef === ref && fn(...reply); // not if it was left or joined again meanwhile
    this.#wire.send({
      member: this.#member, joinRef: ref, ref, event: "phx_join", body, again: this.#accepted,
      answer: current((status, response) => (status === "ok" ? this.#letIn(position, response) : this.#refused(response))),
      fail: current((error) => this.#close(error)),
      interrupted: () => {}, // the socket calls down() of every channel
    });
  }

  #letIn(position, { "@history": history, ...response }) {
    const ref = this.#joinRef;
    this.#joinedAt = Date.now();
    // There is a gap too if the reply says nothing of a position that was sent, and if a rejoin had no position to send.
    this.#recovered = history?.recovered ?? (position || this.#accepted ? false : null);
    // Where this join begins: each retained message moves it, so a rejoin in the middle of a replay goes on from there.
    this.#epoch = history?.epoch ?? null;
    this.#offset = history?.offset ?? null;
    this.#drafts.state([]); // until the server says that there are any
    if (!this.#recovered || this.#oldest === null) this.#oldest = history ? history.offset + 1 : null;
    if (this.#recovered === false) this.#onGap.call(this.#wire.report);
    if (this.#joinRef === ref) this.#setState("joined");
    if (this.#joinRef !== ref) return; // a listener called leave
    this.#accepted = true;
    this.#joining.resolve(response);
    for (const push of [...this.#pushes]) if (!push.entry && this.#joinRef === ref) this.#transmit(push);
  }

  #refused(response) {
    const reason = response?.reason ?? "refused";
    const later = reason === "rate_limited"; // too many at once: it is asked again, a first join too
    const passing = later || reason === "join crashed" || reason === "internal"; // a failure of the server, not a refusal
    const error = new ChimeError(passing ? "error" : "refused", `${this.#topic}: ${reason}`, { response, sent: true });
    if (later || (passing && this.#accepted)) this.#rejoin(error);
    else this.#close(error);
  }

  #take(joinRef, ref, event, payload) {
    if (joinRef !== null && joinRef !== this.#joinRef) return; // of an earlier join
    if (event === "phx_error") return this.#rejoin(new ChimeError("error", `${this.#topic}: ${payload?.reason ?? event}`, { response: payload }));
    if (event === "phx_close") {
      const error = new ChimeError("closed", `${this.#topic}: the server ended the join`, { response: payload });
      this.#close(error);
      return this.#wire.drop(this.#member, error);
    }
    if (this.#state !== "joined") return; // a broadcast for an earlier join
    const offset = typeof ref === "string" && ref.startsWith("@") ? Number(ref.slice(1)) : null;
    if (offset !== null) {
      if (this.#offset !== null && offset <= this.#offset) return;
      this.#offset = offset; // before the handlers: if one throws, the message must not come again
    }
    if (event === POSITION) return;
    this.#drafts.take(event, payload);
    this.#presence.take(event, payload);
    for (const name of [event, "*"]) this.#handlers.get(name)?.call(this.#wire.report, payload, { event, offset });
  }

  #rejoin(error) {
    if (this.#state === "joined" && Date.now() - this.#joinedAt >= STEADY_MS) this.#rejoins = 0;
    this.#rest(error);
    this.#wire.drop(this.#member, error);
    if (this.#state === "joining") this.#timer = setTimeout(() => this.#sendJoin(), jitter(this.#rejoins++, 500, 20_000));
  }

  #rest(error) {
    clearTimeout(this.#timer);
    this.#joinRef = null;
    this.#setState("joining", error);
  }

  // halt: the socket stays away until the application calls connect(). Then this channel joins again if its join was ever
  // accepted; a join without an answer is rejected.
  #close(error, wanted = false, returns = false) {
    clearTimeout(this.#timer);
    this.#joinRef = null;
    if (!returns) {
      this.#wire.exit(this.#member);
      this.#presence.clear();
    }
    this.#drafts.state([]);
    this.#joining.reject(error);
    for (const push of [...this.#pushes]) if (!push.entry) push.fail("closed", "not sent: the channel was closed", { cause: error });
    this.#setState("closed", wanted ? undefined : error); // last: a listener may call join
  }

  #setState(state, error) {
    if (this.#state === state) return;
    this.#state = state;
    this.#onState.call(this.#wire.report, state, error);
  }
}

// timeoutOf returns the timeout among the options of a method, which has these others.
function timeoutOf(what, options, ...others) {
  const { timeout = ANSWER_MS } = only(options, ["timeout", ...others]);
  if (typeof timeout !== "number" || !(timeout >= 0)) throw misuse(`${what}: the timeout`, timeout, "a number of ms from 0");
  return timeout;
}

// after calls fn after a timeout, if there is one.
function after(ms, fn) {
  return ms > 0 && ms < 2 ** 31 ? setTimeout(fn, ms) : 0;
}

function deferred() {
  const one = { settled: false };
  one.promise = new Promise((resolve, reject) => {
    one.resolve = (value) => { one.settled = true; resolve(value); };
    one.reject = (error) => { one.settled = true; reject(error); };
  });
  return one;
}
