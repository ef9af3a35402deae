// chime.js is the client of chime for browsers, and for Node 20 and later. One module, no build, no dependency.
//
//   import { Socket } from "/socket/chime.js";
//
//   const socket = new Socket("/socket");
//   socket.connect();
//
//   const room = socket.channel("chat_room:lobby", { name: "Ann" });
//   room.on("message_new", ({ name, message }) => show(name, message));
//   await room.join();
//   await room.push("message_new", { message: "hello" });
//
// It carries the channels over a WebSocket, or, where the network lets none through, over a stream and POSTs. It reconnects,
// joins again from the last position, and hands no retained message to the application twice. What every name promises is in
// chime.d.ts; the frames are in docs/protocol.md.

const FALLBACK_MS = 2_000; // how long one transport may stay without a hello before the next starts beside it
const HELLO_MS = 10_000; // and before it is given up
const MEMO_MS = 30 * 60_000; // how long a network is remembered as one that lets no WebSocket through
const STEADY_MS = 10_000; // a connection or a join that lived this long worked: the next retry is quick again
const RETRY_CAP_MS = 60_000; // no server may send a client away for longer
const ACK_FRAMES = 64; // the server keeps what is not acknowledged, so tell it after so many frames
const ACK_MS = 10_000; // or so long
const POST_MS = 10_000;
const BYE_MS = 1_000;
const PUSH_MS = 10_000;
const UNANSWERED = 500; // pushes of one channel that may wait for the connection or for their answer: fewer than a server queues for a handler

/** Every failure this module speaks of, told apart by its code. */
export class ChimeError extends Error {
  constructor(code, message, { response, status, sent = false, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ChimeError";
    this.code = code;
    this.response = response;
    this.status = status;
    this.sent = sent;
  }
}

/** One client of one server: it keeps a connection, and the channels that travel on it. */
export class Socket {
  #url;
  #options;
  #transport; // what was asked for: "auto", "websocket" or "sse"
  #state = "closed";
  #link = null; // the connection that said hello first; the only one that carries frames
  #told = null; // the transport the listeners know of
  #trying = new Set(); // connections that have not said hello yet
  #untried = []; // transports that this attempt may still start
  #failures = []; // why the others failed
  #timer = 0; // the next transport of this attempt, or the next attempt
  #waiting = false; // for the next attempt
  #round = 0; // tells an attempt that it was overtaken while it waited for a token
  #attempts = 0;
  #webSocketWorked = false;
  #streamUntil = 0;
  #members = new Map(); // topic → the channel that is joined, or wants to be, or will with the next connect()
  #pending = new Map(); // ref → the entry whose reply is due
  #refs = 0;
  #listeners = { state: new Listeners(), transport: new Listeners(), error: new Listeners() };
  #online = () => this.#waiting && this.#attempt();

  constructor(url, options = {}) {
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace(/^ws/, "http");
    this.#options = { ...options };
    this.#options.WebSocket ??= globalThis.WebSocket;
    this.#options.fetch ??= (...request) => globalThis.fetch(...request); // a browser's fetch refuses any other `this`
    this.#transport = this.#checked(options.transport ?? "auto");
  }

  get state() { return this.#state; }
  get transport() { return this.#link?.name ?? null; }

  on(name, fn) {
    if (!Object.hasOwn(this.#listeners, name)) throw new TypeError(`chime: a socket tells nothing of "${name}"`);
    return this.#listeners[name].add(fn);
  }

  connect() {
    if (this.#state === "connecting" || this.#state === "open") return;
    globalThis.addEventListener?.("online", this.#online);
    this.#attempts = 0;
    this.#setState("connecting");
    // Any listener may have disconnected again.
    for (const member of this.#members.values()) if (this.#state === "connecting") member.down();
    if (this.#state === "connecting") this.#attempt();
  }

  disconnect() {
    this.#stop("closed");
  }

  force(transport) {
    this.#transport = this.#checked(transport);
    const settled = this.#state === "open" && this.#link.name === this.#order()[0];
    if (settled || (this.#state !== "open" && this.#state !== "connecting")) return;
    this.#attempts = 0;
    if (this.#away("connecting")) this.#attempt();
  }

  channel(topic, params) {
    return new Channel(this.#wire, topic, params);
  }

  // What a channel may ask of its socket.
  #wire = {
    ref: () => String(++this.#refs),
    enter: (member) => {
      const other = this.#members.get(member.topic);
      if (other && other !== member && other.wanted()) {
        throw new ChimeError("duplicate", `${member.topic} is joined by another channel of this socket`);
      }
      this.#members.set(member.topic, member);
      if (this.#link) member.up();
    },
    exit: (member) => this.#members.get(member.topic) === member && this.#members.delete(member.topic),
    send: (entry) => this.#send(entry),
    forget: (entry) => this.#forget(entry),
    drop: (member) => this.#drop((entry) => entry.member === member),
    report: (error) => this.#report(error),
  };

  #checked(transport) {
    if (!["auto", "websocket", "sse"].includes(transport)) throw new TypeError(`chime: no transport "${transport}"`);
    if (transport === "websocket" && !this.#options.WebSocket) throw new TypeError("chime: there is no WebSocket here; give one as an option");
    return transport;
  }

  #order() {
    if (this.#transport !== "auto") return [this.#transport];
    if (!this.#options.WebSocket) return ["sse"];
    return Date.now() < this.#streamUntil ? ["sse", "websocket"] : ["websocket", "sse"];
  }

  async #attempt() {
    const round = ++this.#round;
    clearTimeout(this.#timer);
    this.#waiting = false;
    this.#failures = [];
    const { params, token } = this.#options;
    let address;
    try {
      address = addressOf(this.#url, await valueOf(params), await valueOf(token), this.#options);
    } catch (cause) {
      if (round !== this.#round) return;
      this.#listeners.error.call(this.#report, new ChimeError("credentials", "params or token of the socket failed", { cause }));
      if (round === this.#round) this.#retry({}); // else a listener has disconnected, or begun anew
      return;
    }
    if (round !== this.#round) return; // disconnected, or switched, meanwhile
    this.#untried = this.#order();
    this.#next(address);
  }

  // next starts the attempt's next transport. The former one is not stopped: the first to say hello wins, and a slow network
  // is not taken for one that lets no WebSocket through.
  #next(address) {
    clearTimeout(this.#timer);
    const name = this.#untried.shift();
    const link = new (name === "websocket" ? WebSocketLink : StreamLink)(address, {
      hello: () => this.#opened(link),
      frame: (frame) => this.#receive(frame),
      lost: (why) => (link === this.#link ? this.#lost(why) : this.#failed(link, why, address)),
    });
    this.#trying.add(link);
    if (this.#untried.length) this.#timer = setTimeout(() => this.#next(address), FALLBACK_MS);
  }

  #opened(link) {
    clearTimeout(this.#timer);
    this.#trying.delete(link);
    const tried = this.#failures.length || this.#trying.size;
    for (const other of this.#trying) other.close();
    this.#trying.clear();
    this.#untried = [];
    this.#link = link;
    if (link.name === "websocket") {
      this.#webSocketWorked = true;
      this.#streamUntil = 0;
    } else if (this.#transport === "auto" && tried && !this.#webSocketWorked) {
      this.#streamUntil = Date.now() + MEMO_MS;
    }
    this.#setState("open");
    for (const member of this.#members.values()) if (this.#link === link) member.up();
  }

  #failed(link, why, address) {
    this.#trying.delete(link);
    if (isRefusal(why)) return this.#refused(why);
    this.#failures.push({ name: link.name, ...why });
    if (this.#untried.length) return this.#next(address);
    if (this.#trying.size) return;
    const reasons = this.#failures.map(({ name, reason, code, status }) => `${name}: ${reason || code || status}`);
    const page = globalThis.location?.origin;
    if (page && page !== this.#url.origin && this.#failures.every(({ unanswered }) => unanswered)) {
      reasons.push(`if the server is up, its WithOrigins may not name ${page} (a browser hides why)`);
    }
    const { status, retryMs } = this.#failures.find((failure) => failure.status) ?? why; // a WebSocket is told neither
    if (this.#away("connecting", new ChimeError("unreachable", reasons.join("; "), { status }))) this.#retry({ retryMs });
  }

  #lost(why) {
    if (Date.now() - this.#link.since >= STEADY_MS) this.#attempts = 0;
    const round = this.#round;
    for (const entry of why.failed ?? []) {
      this.#forget(entry);
      entry.fail(why.error);
    }
    if (round !== this.#round) return; // who heard of that has disconnected, or begun anew
    if (isRefusal(why)) return this.#refused(why);
    // Another connection took this client socket over. To come back would throw that one out, and so on for ever.
    if (why.code === 4001) return this.#stop("closed", new ChimeError("replaced", "another connection took over", { status: 4001 }));
    const error = new ChimeError("lost", why.reason || `the connection was lost (${why.code})`, { status: why.code });
    if (this.#away("connecting", error)) this.#retry(why);
  }

  #refused({ code, status = code, reason }) {
    this.#stop("refused", new ChimeError("refused", reason || "the server refused the connection", { status, response: { reason } }));
  }

  #retry({ retryMs = jitter(this.#attempts) }) {
    this.#attempts++;
    this.#waiting = true;
    this.#timer = setTimeout(() => this.#attempt(), Math.min(retryMs, RETRY_CAP_MS));
  }

  // away ends every connection and attempt, takes back what they carried, and says so. It returns false when a listener that
  // heard of it has already started or stopped the socket anew.
  #away(state, error) {
    const round = ++this.#round;
    clearTimeout(this.#timer);
    this.#waiting = false;
    for (const link of this.#trying) link.close();
    this.#trying.clear();
    this.#link?.close();
    this.#link = null;
    this.#drop(() => true);
    if (state === "connecting") for (const member of this.#members.values()) member.down();
    this.#setState(state, error);
    if (error && error.code !== "lost") this.#listeners.error.call(this.#report, error);
    return round === this.#round;
  }

  // stop is away until the application calls connect(). A listener that does so at once has set the channels to joining.
  #stop(state, error) {
    globalThis.removeEventListener?.("online", this.#online);
    if (!this.#away(state, error)) return;
    for (const member of [...this.#members.values()]) if (this.#state === state) member.halt(error);
  }

  #setState(state, error) {
    const { transport } = this;
    const [moved, changed] = [transport !== this.#told, state !== this.#state];
    this.#told = transport;
    this.#state = state;
    if (moved) this.#listeners.transport.call(this.#report, transport);
    if (changed) this.#listeners.state.call(this.#report, state, error);
  }

  #send(entry) {
    const { joinRef, ref, member, event, body } = entry;
    entry.text = `[${JSON.stringify([joinRef, ref, member.topic, event]).slice(1, -1)},${body}]`;
    entry.bytes = new TextEncoder().encode(entry.text).length;
    entry.sent = entry.dropped = false;
    if (!this.#link) return entry.lost(); // a listener that is told of the loss before this channel is
    if (entry.bytes > this.#link.limits.message_bytes) {
      return entry.fail(new ChimeError("too_large", `${event} has ${entry.bytes} bytes, the server takes ${this.#link.limits.message_bytes}`));
    }
    this.#pending.set(ref, entry);
    this.#link.send(entry);
  }

  #forget(entry) {
    entry.dropped = true;
    this.#pending.delete(entry.ref);
  }

  #drop(which) {
    for (const entry of [...this.#pending.values()].filter(which)) {
      this.#forget(entry);
      entry.lost();
    }
  }

  #receive([joinRef, ref, topic, event, payload]) {
    if (event !== "phx_reply") return this.#members.get(topic)?.take(joinRef, ref, event, payload);
    const entry = this.#pending.get(ref); // by ref alone: some refusals carry no join_ref
    if (!entry) return;
    this.#forget(entry);
    entry.answer(payload?.status, payload?.response);
  }

  // report tells of an exception that an application's function threw. An arrow function, since listeners are handed it.
  #report = (cause) => {
    const error = new ChimeError("handler", `a listener threw: ${cause?.message ?? cause}`, { cause });
    const unheard = globalThis.reportError ?? console.error;
    if (this.#listeners.error.empty) unheard(cause);
    else this.#listeners.error.call(unheard, error);
  };
}

/** One topic, joined by one client. Made by Socket.channel. */
export class Channel {
  #wire;
  #topic;
  #params;
  #state = "closed";
  #joinRef = null; // of the join that was sent on the connection there is now
  #joining = null; // the promise that join() gave
  #timer = 0;
  #rejoins = 0;
  #joinedAt = 0;
  #epoch = null;
  #offset = null; // of the last retained message; null while none is known
  #cut = 0; // the last offset that was history when we joined
  #recovered = null;
  #pushes = new Set(); // unanswered, in the order of push(); those without an entry wait for the join
  #handlers = new Map();
  #onState = new Listeners();
  #onReset = new Listeners();
  #member;

  constructor(wire, topic, params = {}) {
    this.#wire = wire;
    this.#topic = topic;
    this.#params = params;
    this.#member = {
      topic,
      up: () => this.#joinRef === null && this.#sendJoin(),
      down: () => this.#rest(),
      halt: (error) => this.#halt(error),
      wanted: () => this.#state !== "closed",
      take: (...frame) => this.#take(...frame),
    };
  }

  get topic() { return this.#topic; }
  get state() { return this.#state; }
  get position() { return this.#epoch === null || this.#offset === null ? null : { epoch: this.#epoch, offset: this.#offset }; }
  get recovered() { return this.#recovered; }

  on(event, fn) {
    if (!this.#handlers.has(event)) this.#handlers.set(event, new Listeners());
    return this.#handlers.get(event).add(fn);
  }

  onState(fn) {
    return this.#onState.add(fn);
  }

  onReset(fn) {
    return this.#onReset.add(fn);
  }

  join() {
    if (this.#state !== "closed") return this.#joining.promise;
    const joining = deferred();
    joining.promise.catch(() => {}); // a page that does not await its join is told by onState, not by an unhandled rejection
    this.#joining = joining;
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
      this.#wire.exit(this.#member); // it may have waited for connect()
      return Promise.resolve();
    }
    const joinRef = this.#joinRef;
    this.#close(new ChimeError("closed", `${this.#topic} was left`), true);
    if (joinRef === null) return Promise.resolve(); // the server does not know of us
    return new Promise((resolve) => {
      const done = () => resolve();
      this.#wire.send({ member: this.#member, joinRef, ref: this.#wire.ref(), event: "phx_leave", body: "{}", answer: done, fail: done, lost: done });
    });
  }

  push(event, payload = {}, { timeout = PUSH_MS } = {}) {
    return new Promise((resolve, reject) => {
      const body = JSON.stringify(payload); // now: what the application changes later is not what it pushed
      const what = `${this.#topic} ${event}`;
      if (body === undefined) throw new TypeError(`chime: the payload of ${what} is no JSON`);
      if (this.#state === "closed") throw new ChimeError("closed", `${what}: the channel is not joined`);
      if (this.#pushes.size >= UNANSWERED) throw new ChimeError("full", `${what}: ${UNANSWERED} pushes are unanswered`);
      const push = { event, what, body, entry: null };
      const timer = timeout > 0 && timeout < Infinity ? setTimeout(() => {
        if (push.entry) this.#wire.forget(push.entry);
        push.fail("timeout", `no answer within ${timeout} ms`);
      }, timeout) : 0;
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
    });
  }

  #transmit(push) {
    push.entry = {
      member: this.#member, joinRef: this.#joinRef, ref: this.#wire.ref(), event: push.event, body: push.body,
      answer: (status, response) => {
        if (status === "ok") push.resolve(response);
        else push.fail("error", response?.reason ?? status, { response, sent: true });
      },
      fail: (error) => push.reject(error),
      lost: () => {
        if (push.entry.sent) push.fail("unknown_fate", "sent, but the connection or the channel broke before the answer");
        else if (this.#state === "closed") push.fail("closed", "the channel was left");
        else push.entry = null; // it never left: it waits for the next join
      },
    };
    this.#wire.send(push.entry);
  }

  #sendJoin() {
    clearTimeout(this.#timer);
    const ref = (this.#joinRef = this.#wire.ref());
    let asked, body;
    try {
      const { "@since": since, "@last": last, ...params } = valueOf(this.#params) ?? {};
      asked = this.position ?? since;
      body = JSON.stringify(asked ? { ...params, "@since": asked } : last === undefined ? params : { ...params, "@last": last });
    } catch (error) {
      return this.#close(error);
    }
    const current = (fn) => (...reply) => this.#joinRef === ref && fn(...reply); // left, or joined anew, meanwhile
    this.#wire.send({
      member: this.#member, joinRef: ref, ref, event: "phx_join", body,
      answer: current((status, response) => (status === "ok" ? this.#accepted(asked, response) : this.#refused(response))),
      fail: current((error) => this.#close(error)),
      lost: () => {}, // the socket says so to every channel
    });
  }

  #accepted(asked, { "@history": history, ...response }) {
    const ref = this.#joinRef;
    this.#joinedAt = Date.now();
    // A server that says nothing of a position it was asked for has not covered it.
    this.#recovered = history?.recovered ?? (asked ? false : null);
    this.#epoch = history?.epoch ?? null;
    this.#cut = history?.offset ?? 0;
    // Where replay follows, the position moves with each message of it, so that a break in mid-replay goes on from there.
    if (history?.count === 0) this.#offset = history.offset;
    else this.#offset = this.#recovered ? (asked?.offset ?? null) : null;
    if (this.#recovered === false) this.#onReset.call(this.#wire.report);
    if (this.#joinRef === ref) this.#setState("joined");
    if (this.#joinRef !== ref) return; // a listener left
    this.#joining.resolve(response);
    for (const push of [...this.#pushes]) if (!push.entry && this.#joinRef === ref) this.#transmit(push);
  }

  #refused(response) {
    const reason = response?.reason ?? "refused";
    const passing = reason === "join crashed" || reason === "internal"; // the server's trouble, not its verdict on us
    if (passing && this.#joining.settled) return this.#rejoin();
    this.#close(new ChimeError(passing ? "error" : "refused", `${this.#topic}: ${reason}`, { response, sent: true }));
  }

  #take(joinRef, ref, event, payload) {
    if (joinRef !== null && joinRef !== this.#joinRef) return; // of an earlier join
    if (event === "phx_error") return this.#rejoin();
    if (event === "phx_close") {
      this.#close(new ChimeError("closed", `${this.#topic} was closed by the server`, { response: payload }));
      return this.#wire.drop(this.#member);
    }
    if (this.#state !== "joined") return; // a broadcast that was under way to an earlier join
    const offset = typeof ref === "string" && ref.startsWith("@") ? Number(ref.slice(1)) : null;
    if (offset !== null) {
      if (this.#offset !== null && offset <= this.#offset) return;
      this.#offset = offset; // before the handlers: one that throws must not bring the message back
    }
    const meta = { event, offset, replayed: offset !== null && offset <= this.#cut };
    this.#handlers.get(event)?.call(this.#wire.report, payload, meta);
    this.#handlers.get("*")?.call(this.#wire.report, payload, meta);
  }

  #rejoin() {
    if (this.#state === "joined" && Date.now() - this.#joinedAt >= STEADY_MS) this.#rejoins = 0;
    this.#rest();
    this.#wire.drop(this.#member);
    if (this.#state === "joining") this.#timer = setTimeout(() => this.#sendJoin(), jitter(this.#rejoins++));
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#joinRef = null;
    this.#setState("joining");
  }

  // halt: the socket stays away until the application connects it again. Then this channel comes back if it ever was joined;
  // a join that is still awaited is rejected, and is over.
  #halt(error) {
    this.#close(error ?? new ChimeError("closed", "the socket was disconnected"), !error, this.#joining.settled);
  }

  #close(error, wanted = false, returns = false) {
    clearTimeout(this.#timer);
    this.#joinRef = null;
    if (!returns) this.#wire.exit(this.#member);
    this.#joining.reject(error);
    this.#abandon(error);
    this.#setState("closed", wanted ? undefined : error); // last: a listener may join again
  }

  #abandon(cause) {
    for (const push of [...this.#pushes]) if (!push.entry) push.fail("closed", "never sent: the channel or the socket was closed", { cause });
  }

  #setState(state, error) {
    if (this.#state === state) return;
    this.#state = state;
    this.#onState.call(this.#wire.report, state, error);
  }
}

// A Link is one connection: it greets, counts, acknowledges, and notices silence. Its kinds know how frames travel: send(entry),
// ack(), beat() and shut(wanted). hooks.lost is called once, unless close came first; nothing is called after either.
class Link {
  #hooks;
  #heard = 0;
  #watch;
  #ackTimer = 0;
  #retryMs;
  name;
  since = 0; // hello came, or 0
  secret = "";
  limits = {};
  silence = 0; // ms without a word after which the connection is dead
  received = 0; // counted frames
  ended = false;
  acked = 0; // of them, those the server knows were received

  constructor(name, hooks) {
    this.name = name;
    this.#hooks = hooks;
    this.#watch = setTimeout(() => this.end({ code: 1006, reason: "no hello" }), HELLO_MS);
  }

  take(text) {
    if (this.ended) return;
    this.#heard = Date.now();
    const frame = parsed(text);
    if (!Array.isArray(frame) || frame.length < 5) return this.end({ code: 1007, reason: "the server sent no frame" });
    const [, , topic, event, payload] = frame;
    if (!this.since) {
      if (topic !== "chime" || event !== "hello") return this.end({ code: 1002, reason: "the server sent no hello" });
      return this.#greet(payload);
    }
    if (topic === "chime") return this.#control(event, payload);
    if (topic !== "phoenix") this.received++;
    this.#hooks.frame(frame, text);
    this.told(this.acked);
  }

  // told notes that the server knows of the first n counted frames, and sees to it that it learns of the rest.
  told(n) {
    if (n > this.acked) {
      this.acked = n;
      clearTimeout(this.#ackTimer);
      this.#ackTimer = 0;
    }
    if (this.ended || this.received === this.acked) return;
    if (this.received - this.acked >= ACK_FRAMES) this.ack();
    else this.#ackTimer ||= setTimeout(() => this.ack(), ACK_MS);
  }

  end(why) {
    if (this.#finish(false)) this.#hooks.lost({ retryMs: this.#retryMs, ...why });
  }

  close() {
    this.#finish(true);
  }

  #greet({ secret, heartbeat_ms: heartbeat = 15_000, limits }) {
    this.since = Date.now();
    this.secret = secret;
    this.limits = { message_bytes: Infinity, batch_bytes: 262_144, batch_messages: 100, ...limits };
    this.silence = 2 * heartbeat + 5_000;
    clearTimeout(this.#watch);
    this.#listen();
    this.#hooks.hello();
  }

  // One timer that looks back, not one that every frame winds up anew.
  #listen() {
    const left = this.#heard + this.silence - Date.now();
    if (left <= 0) this.end({ code: 1006, reason: "the server fell silent" });
    else this.#watch = setTimeout(() => this.#listen(), left);
  }

  #control(event, payload) {
    if (event === "heartbeat") this.beat();
    else if (event === "drain") this.#retryMs = payload.retry_ms;
    else if (event === "closed") this.end({ code: payload.code, reason: payload.reason });
  }

  #finish(wanted) {
    if (this.ended) return false;
    this.ended = true;
    clearTimeout(this.#watch);
    clearTimeout(this.#ackTimer);
    this.shut(wanted);
    return true;
  }
}

class WebSocketLink extends Link {
  #ws;

  constructor(address, hooks) {
    super("websocket", hooks);
    const protocols = ["chime.v1"];
    if (address.token) protocols.push(`base64url.bearer.phx.${base64url(address.token)}`);
    try {
      this.#ws = new address.WebSocket(address.of("/websocket").replace(/^http/, "ws"), protocols);
    } catch (error) {
      return void queueMicrotask(() => this.end({ code: 1006, reason: error.message })); // once the socket holds this link
    }
    this.#ws.onmessage = ({ data }) => this.take(data);
    this.#ws.onclose = ({ code, reason }) => this.end({ code, reason, unanswered: code === 1006 });
    this.#ws.onerror = () => {}; // close follows and says more
  }

  send(entry) {
    if (this.#ws.readyState !== 1) return; // closing: the browser would drop it without a word, and onclose is under way
    this.#ws.send(entry.text);
    entry.sent = true;
  }

  ack() {
    if (this.#ws.readyState === 1) this.#ws.send(`[null,null,"chime","ack",{"received":${this.received}}]`);
    this.told(this.received);
  }

  beat() {
    this.ack(); // the server knows by this that we live
  }

  shut() {
    this.#ws?.close(1000);
  }
}

/** A connection: the stream carries frames down, POSTs carry them up, one in flight, so that they arrive in order, and numbered,
 * so that one which is sent again after a lost answer is applied once. Exported for phoenix-stream.js alone. */
export class StreamLink extends Link {
  #address;
  #stream = new AbortController();
  #post = null;
  #queue = []; // entries the server has not confirmed, oldest first
  #first = 1; // the number of the oldest
  #most = Infinity; // entries in a batch, after a 413
  #ackDue = false;
  #pumping = false;
  #wake = () => {};

  constructor(address, hooks) {
    super("sse", hooks);
    this.#address = address;
    this.#read();
  }

  get buffered() { return this.#queue.reduce((sum, { bytes }) => sum + bytes, 0); }

  send(entry) {
    this.#queue.push(entry);
    this.#pump();
  }

  ack() {
    this.#ackDue = true;
    this.#pump();
  }

  beat() {} // silent when idle: a POST for every heartbeat would keep radios awake

  shut(wanted) {
    this.#post?.abort();
    this.#wake();
    if (!wanted || !this.since) return this.#stream.abort();
    // The stream ends after the goodbye: before it, the server would take us for a client that vanished.
    const headers = this.#address.headers({ "Content-Type": "text/plain" });
    const bye = this.#address.fetch(this.#address.of("/bye"), { method: "POST", headers, body: this.secret, keepalive: true });
    const timer = setTimeout(() => this.#stream.abort(), BYE_MS);
    bye.catch(() => {}).then(() => {
      clearTimeout(timer);
      this.#stream.abort();
    });
  }

  async #read() {
    await null; // whatever fails, fails when the socket holds this link
    let response;
    try {
      response = await this.#address.fetch(this.#address.of("/sse"), {
        headers: this.#address.headers({ Accept: "text/event-stream", "Chime-Received": "0" }),
        cache: "no-store",
        signal: this.#stream.signal,
      });
      const { status } = response;
      if (status !== 200 || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        const body = parsed(await response.text());
        return this.end({ status, reason: body?.reason ?? `answered ${status} and no stream`, retryMs: retryAfter(response) });
      }
      const reader = response.body.getReader();
      const events = new EventStream();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return this.end({ code: 1006, reason: "the stream ended" });
        for (const data of events.push(value)) {
          this.take(data);
          await null; // as on a WebSocket, whoever awaited a reply goes on before the next frame is handled
        }
      }
    } catch (error) {
      this.end({ code: 1006, reason: error.message, unanswered: !response });
    }
  }

  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    await null; // what is pushed in one go travels in one batch
    for (let batch; !this.ended; await this.#deliver(batch)) {
      batch = this.#batch();
      if (!batch.length && !(this.#ackDue && this.received > this.acked)) break;
    }
    this.#pumping = false;
  }

  #batch() {
    this.#queue = this.#queue.filter((entry) => entry.sent || !entry.dropped);
    let bytes = 128; // the envelope
    let count = 0;
    for (const entry of this.#queue) {
      bytes += entry.bytes + 1;
      if (count && (bytes > this.limits.batch_bytes || count >= Math.min(this.#most, this.limits.batch_messages))) break;
      entry.sent = true;
      count++;
    }
    return this.#queue.slice(0, count);
  }

  // deliver sends one batch again and again until its fate is known.
  async #deliver(batch) {
    const started = Date.now();
    for (let tries = 0; !this.ended; tries++) {
      const { status, body, retryMs } = await this.#send(batch);
      if (this.ended) return;
      const want = status === 200 ? body?.applied + 1 : status === 409 ? body?.want : NaN;
      const due = batch.some((entry) => !entry.uncounted);
      if (Number.isInteger(want) && (want !== this.#first || !due)) return this.#settle(want, batch);
      if (status === 400 || status === 413) return this.#refused(batch, status, body);
      const final = status >= 400 && status < 500 && ![408, 409, 429].includes(status);
      if (final || Date.now() - started > this.silence) {
        // Without the status: it is the next connection that learns whether we are refused.
        return this.end({ code: 1006, reason: `a POST was answered ${status || "by nothing"}` });
      }
      await this.#pause(Math.max(Math.min(retryMs ?? 0, RETRY_CAP_MS), jitter(tries, 250, 5_000)));
    }
  }

  // settle: the server has every frame before number want.
  #settle(want, batch) {
    let has = want - this.#first;
    if (has < 0 || has > batch.filter((entry) => !entry.uncounted).length) {
      return this.end({ code: 1006, reason: `the server wants frame ${want}, which is not here` });
    }
    this.#first = want;
    for (const { uncounted } of batch) { // what has no number went with what is in front of it
      if (!uncounted && has-- === 0) break;
      this.#queue.shift();
    }
  }

  // refused: nothing of the batch was applied. A frame that cannot be sent leaves a number nothing can fill, so the others need a
  // new client socket.
  #refused(batch, status, body) {
    for (const entry of batch) entry.sent = false;
    if (status === 413 && batch.length > 1) return void (this.#most = batch.length >> 1);
    const bad = batch[body?.frame - 1];
    const reason = `the server refused a frame: ${body?.reason ?? status}`;
    const error = new ChimeError(status === 413 ? "too_large" : "invalid", reason, { response: body, status });
    this.end({ code: 1006, reason, error, failed: bad ? [bad] : batch });
  }

  async #send(batch) {
    const post = (this.#post = new AbortController());
    const timer = setTimeout(() => post.abort(), POST_MS);
    const { received } = this;
    this.#ackDue = false;
    try {
      const response = await this.#address.fetch(this.#address.of("/sse"), {
        method: "POST",
        headers: this.#address.headers({ "Content-Type": "application/json", "Chime-Secret": this.secret }),
        body: `{"first":${this.#first},"received":${received},"frames":[${batch.map((entry) => entry.text).join(",")}]}`,
        signal: post.signal,
      });
      const body = parsed(await response.text());
      if (response.status === 200 && body) this.told(received);
      return { status: response.status, body, retryMs: retryAfter(response) };
    } catch {
      return { status: 0 };
    } finally {
      clearTimeout(timer);
    }
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

// EventStream turns the bytes of a text/event-stream into the data of its events, wherever the bytes are cut.
class EventStream {
  #decoder = new TextDecoder(); // drops a byte order mark, and waits for the rest of a cut character
  #line = "";
  #data = null;
  #afterCR = false;

  *push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (this.#afterCR && text[0] === "\n") text = text.slice(1); // the second half of a CRLF
    this.#afterCR = text === "" ? false : text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data) yield this.#data;
        this.#data = null;
      } else if (/^data(:|$)/.test(line)) {
        const value = line.slice(5).replace(/^ /, "");
        this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
      }
    }
  }
}

// addressOf is where one attempt connects to, and as whom.
function addressOf(url, params, token, { WebSocket, fetch }) {
  const query = new URLSearchParams(url.search);
  for (const [key, value] of flat(params ?? {})) query.append(key, value);
  const search = String(query) && `?${query}`;
  return {
    token, WebSocket, fetch,
    of: (path) => url.origin + url.pathname.replace(/\/+$/, "") + path + search,
    headers: (own) => (token ? { ...own, Authorization: `Bearer ${token}` } : own),
  };
}

class Listeners {
  #all = new Set();

  get empty() { return this.#all.size === 0; }

  add(fn) {
    const own = { fn }; // so that a function added twice is called twice, and each undo takes back its own
    this.#all.add(own);
    return () => void this.#all.delete(own);
  }

  call(report, ...args) {
    for (const { fn } of [...this.#all]) {
      try {
        fn(...args);
      } catch (error) {
        report(error);
      }
    }
  }
}

function deferred() {
  const one = { settled: false };
  one.promise = new Promise((resolve, reject) => {
    one.resolve = (value) => { one.settled = true; resolve(value); };
    one.reject = (error) => { one.settled = true; reject(error); };
  });
  return one;
}

// Full jitter: clients that lost one server together do not come back together.
function jitter(tries, first = 500, cap = 20_000) {
  return Math.random() * Math.min(cap, first * 2 ** tries);
}

function isRefusal({ code, status }) {
  return code === 4003 || status === 401 || status === 403;
}

function retryAfter(response) {
  const value = response.headers.get("Retry-After");
  const ms = Number(value) * 1_000 || Date.parse(value) - Date.now();
  return ms >= 0 ? ms : undefined;
}

function valueOf(value) {
  return typeof value === "function" ? value() : value;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// flat writes nested params as a query does: {a: {b: [1, 2]}} → a[b][]=1&a[b][]=2
function* flat(value, key) {
  if (value === undefined) return;
  if (value === null || typeof value !== "object") yield [key, value ?? ""];
  else for (const [name, part] of Object.entries(value)) yield* flat(part, key === undefined ? name : `${key}[${Array.isArray(value) ? "" : name}]`);
}
