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
// It carries the channels over a WebSocket, or over a stream and POSTs where the network blocks WebSockets. When a connection
// breaks another one replaces it and the channels notice nothing: each side sends again what the other does not have. When the
// server no longer knows the client, they join again from their last position. chime.d.ts documents every name;
// docs/protocol.md the frames.

const FALLBACK_MS = 2_000; // a transport without a hello for this long: the next one starts beside it
const HELLO_MS = 10_000; // and for this long: it is given up
const MEMO_MS = 30 * 60_000; // how long a network is remembered as one that blocks WebSockets
const STEADY_MS = 10_000; // a connection or a join that lasted this long has worked: the count of tries starts over
const RETRY_CAP_MS = 60_000; // the longest Retry-After or retry_ms that is obeyed
const ACK_FRAMES = 64; // the server keeps what is not acknowledged: acknowledge after this many frames,
const ACK_MS = 10_000; // or this long after the first of them
const POST_MS = 10_000;
const ENVELOPE = 66; // most bytes of a POST's body around its frames
const BYE_MS = 1_000;
const PROBE_MS = 2_000; // how long a doubtful connection has to show that it works
const PUSH_MS = 20_000; // longer than the default grace period of a server
const PAGE_EVENTS = ["online", "pagehide", "pageshow", "visibilitychange"];
const ENDED = [1000, 1001, 1002, 1007, 1008, 1009, 1012, 1013]; // close codes that end the client socket, not its connection alone
const BLAMES = { 1007: "invalid", 1009: "too_large" }; // close codes caused by a frame of ours
const NAME_BYTES = 255;
const LEVELS = 9_997; // nesting of a payload: the server reads 10,000 levels, of which the frame is one and the POST around it two
const UNANSWERED = 500; // pushes of one channel without an answer: all of them fit into its inbox on the server, which has 512 places

/** Every failure of this module, identified by its code. */
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

/** One client of one server: it keeps a connection and the channels that use it. */
export class Socket {
  #url;
  #options;
  #transport; // the choice: "auto", "websocket" or "sse"
  #state = "closed";
  #session = null; // the client socket, from its hello until it ends
  #link = null; // the connection that carries it, if there is one
  #announced = null; // the transport that listeners were last called with
  #trying = new Set(); // connections that have not said hello yet
  #untried = []; // transports that this attempt may still start
  #attempting = false;
  #failures = []; // of this attempt's transports
  #timer = 0; // the next transport of this attempt, or the next attempt
  #waiting = false; // for the next attempt
  #round = 0; // changes when an attempt is cancelled, which may be waiting for a token
  #address = null; // of the last attempt
  #attempts = 0;
  #leastMs = 0; // what the server last asked to wait for, until a connection opens
  #webSocketWorked = false;
  #streamUntil = 0;
  #members = new Map(); // topic → the channel that is joined, is joining, or will join with the next connect()
  #pending = new Map(); // ref → the entry that waits for its reply
  #refs = 0;
  #listeners = { state: new Listeners(), transport: new Listeners(), error: new Listeners() };
  #page = { handleEvent: (event) => this.#pageChanged(event) };

  constructor(url, options = {}) {
    if (typeof url !== "string" && !(url instanceof URL)) throw new TypeError(`chime: new Socket: the URL is ${shown(url)}: a string or a URL is needed`);
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace(/^ws/, "http");
    if (!/^https?:$/.test(this.#url.protocol)) throw new TypeError(`chime: new Socket: the scheme of the URL is ${shown(this.#url.protocol)}: http, https, ws or wss is needed`);
    this.#options = { ...only(options, ["params", "token", "transport", "WebSocket", "fetch"]) };
    this.#options.WebSocket ??= globalThis.WebSocket;
    this.#options.fetch ??= (...request) => globalThis.fetch(...request); // a browser's fetch refuses any other `this`
    this.#transport = this.#checked(options.transport ?? "auto");
  }

  get state() { return this.#state; }
  get transport() { return this.#link?.name ?? null; }

  on(name, fn) {
    if (!Object.hasOwn(this.#listeners, name)) throw new TypeError(`chime: socket.on: the name is ${shown(name)}: it must be "state", "transport" or "error"`);
    return this.#listeners[name].add(fn);
  }

  connect() {
    if (this.#state === "connecting" || this.#state === "open") return;
    this.#listens("addEventListener");
    this.#attempts = 0;
    this.#setState("connecting");
    // Any listener may call disconnect.
    for (const member of this.#members.values()) if (this.#state === "connecting") member.down();
    if (this.#state === "connecting") this.#attempt();
  }

  disconnect() {
    this.#stop("closed", undefined, "goodbye");
  }

  force(transport) {
    this.#transport = this.#checked(transport);
    if (this.#state !== "open" && this.#state !== "connecting") return;
    this.#attempts = 0;
    this.#cancel();
    if (this.#link?.name !== this.#order()[0]) this.#attempt();
  }

  channel(topic, params) {
    return new Channel(this.#wire, checkedName("topic", topic, /^(chime|phoenix)$/), params);
  }

  // What a channel uses of its socket.
  #wire = {
    ref: () => String(++this.#refs),
    enter: (member) => {
      const other = this.#members.get(member.topic);
      if (other && other !== member && other.wanted()) {
        throw new ChimeError("duplicate", `join ${member.topic}: another channel of this socket has joined it: one per topic is allowed`);
      }
      this.#members.set(member.topic, member);
      if (this.#session) member.up();
    },
    exit: (member) => this.#members.get(member.topic) === member && this.#members.delete(member.topic),
    send: (entry) => this.#send(entry),
    forget: (entry) => this.#forget(entry),
    drop: (member, cause) => this.#drop((entry) => entry.member === member, cause),
    report: (error) => this.#report(error),
  };

  #checked(transport) {
    if (!["auto", "websocket", "sse"].includes(transport)) throw new TypeError(`chime: the transport is ${shown(transport)}: it must be "auto", "websocket" or "sse"`);
    if (transport === "websocket" && !this.#options.WebSocket) throw new TypeError(`chime: the transport is "websocket": this platform has no WebSocket, so the option WebSocket is needed`);
    return transport;
  }

  #order() {
    if (this.#transport !== "auto") return [this.#transport];
    if (!this.#options.WebSocket) return ["sse"];
    return Date.now() < this.#streamUntil ? ["sse", "websocket"] : ["websocket", "sse"];
  }

  // attempt opens a connection. While there is one it is a move to the transport that force chose.
  async #attempt() {
    this.#cancel();
    const round = this.#round;
    this.#attempting = true;
    this.#failures = [];
    const { params, token } = this.#options;
    let address;
    try {
      address = addressOf(this.#url, await valueOf(params), await valueOf(token), this.#options);
    } catch (cause) {
      if (round !== this.#round) return;
      this.#attempting = false;
      this.#listeners.error.call(this.#report, new ChimeError("credentials", `params or token of the socket failed: ${cause?.message ?? cause}`, { cause }));
      if (round === this.#round && !this.#link) this.#retry({}); // else a listener has called disconnect or connect
      return;
    }
    if (round !== this.#round) return; // cancelled meanwhile
    this.#address = address;
    this.#untried = this.#link ? this.#order().slice(0, 1) : this.#order();
    this.#next();
  }

  // next starts the attempt's next transport. The former one goes on: the first hello wins, so a slow network is not taken for
  // one that blocks WebSockets.
  #next() {
    clearTimeout(this.#timer);
    const name = this.#untried.shift();
    const link = new (name === "websocket" ? WebSocketLink : StreamLink)(this.#address, {
      hello: () => this.#opened(link),
      frame: (frame) => this.#receive(frame),
      broke: (why) => (link === this.#link ? this.#broke(why) : this.#failed(link, why)),
    }, this.#session);
    this.#trying.add(link);
    if (this.#session) this.#session.keepsAll = true;
    if (this.#untried.length) this.#timer = setTimeout(() => this.#next(), FALLBACK_MS);
  }

  // cancel ends an attempt, or the wait for the next one.
  #cancel() {
    this.#round++;
    clearTimeout(this.#timer);
    this.#waiting = this.#attempting = false;
    for (const link of this.#trying) link.close();
    this.#trying.clear();
    this.#untried = [];
    if (this.#session) this.#session.keepsAll = false;
  }

  #opened(link) {
    const [before, former] = [this.#link, this.#session];
    const resumed = link.session === former;
    // In a move, a new client socket is worse than the one there is, unless this server resumes none.
    if (before && !resumed && former.graceMs) return link.end({ code: 1006, reason: "the server did not resume the client socket", over: true });
    this.#trying.delete(link);
    this.#leastMs = 0;
    const tried = this.#failures.length || this.#trying.size;
    if (link.name === "websocket") {
      this.#webSocketWorked = true;
      this.#streamUntil = 0;
    } else if (this.#transport === "auto" && tried && !this.#webSocketWorked) {
      this.#streamUntil = Date.now() + MEMO_MS;
    }
    this.#session = link.session;
    this.#link = link;
    link.carry();
    before?.close(resumed ? undefined : "goodbye");
    this.#cancel();
    if (former && !resumed) {
      const error = new ChimeError("disconnected", "the server did not resume the client socket, and opened a new one");
      this.#drop(() => true, error);
      for (const member of this.#members.values()) if (this.#link === link) member.down(error);
    }
    if (this.#link === link) this.#setState("open");
    if (!resumed) for (const member of this.#members.values()) if (this.#link === link) member.up();
  }

  #failed(link, why) {
    this.#trying.delete(link);
    if (!this.#link && isRefusal(why)) {
      if (why.status !== 403 || !link.session) return this.#refused(why);
      // The secret may belong to another identity, since a page can change its user. So try once without it.
      if (this.#away("connecting", new ChimeError("disconnected", why.reason, { status: why.status }))) this.#attempt();
      return;
    }
    this.#failures.push({ name: link.name, ...why });
    if (this.#untried.length) return this.#next();
    if (this.#trying.size) return;
    const reasons = this.#failures.map(({ name, reason, code, status }) => `${name}: ${reason || code || status}`);
    const page = globalThis.location?.origin;
    if (page && page !== this.#url.origin && this.#failures.every(({ unanswered }) => unanswered)) {
      reasons.push(`if the server is up, its WithOrigins may not name ${page} (browsers hide the reason)`);
    }
    const { status, retryMs } = this.#failures.find((failure) => failure.status) ?? why; // a browser's WebSocket reports neither
    const error = new ChimeError("unreachable", reasons.join("; "), { status });
    if (this.#link) {
      this.#cancel(); // a move that failed: the connection stays
      this.#listeners.error.call(this.#report, error);
    } else if (this.#away("connecting", error, this.#session !== null)) this.#retry({ retryMs });
  }

  #broke(why) {
    const link = this.#link;
    if (Date.now() - link.since >= STEADY_MS) this.#attempts = 0;
    for (const entry of why.failed ?? []) {
      this.#forget(entry);
      entry.fail(why.error);
    }
    if (this.#link !== link) return; // a caller of push has called disconnect or connect
    if (isRefusal(why)) return this.#refused(why);
    // Another user of this secret took the client socket over. Resuming would end its connection, and so on for ever. The same
    // code with the reason "not used" means that our promotion did not reach the server: a broken connection like any other.
    if (why.code === 4001 && link.confirmed && why.reason !== "not used") return this.#stop("closed", new ChimeError("replaced", "another connection took the client socket over", { status: 4001 }));
    const error = new ChimeError("disconnected", why.reason || `the connection broke (${why.code})`, { status: why.code });
    this.#session.until = Date.now() + this.#session.graceMs;
    const keep = this.#session.graceMs > 0 && !why.over && !ENDED.includes(why.code);
    if (keep && this.#attempting) { // a move was under way: it goes on
      this.#link = null;
      this.#setState("connecting", error);
    } else if (this.#away("connecting", error, keep)) this.#retry(why);
  }

  #refused({ code, status = code, reason }) {
    this.#stop("refused", new ChimeError("refused", reason || "the server refused the connection", { status, response: { reason } }));
  }

  // retry waits at least for what the server has asked for, and always for a part of a time that grows, at random: what it asks
  // of all is the same, and it may ask again and again. It waits less while the server keeps the client socket: up to a quarter of
  // the grace period.
  #retry({ retryMs = this.#leastMs }) {
    this.#leastMs = Math.min(retryMs, RETRY_CAP_MS);
    const most = Date.now() < this.#session?.until ? this.#session.graceMs / 4 : 20_000;
    this.#waiting = true;
    this.#timer = setTimeout(() => this.#attempt(), this.#leastMs + jitter(this.#attempts++, 500, most));
  }

  // away ends the connection and every attempt. Unless the client socket is kept, it fails what was sent on it. It returns false
  // if a listener has called connect or disconnect meanwhile.
  #away(state, error, keep = false, goodbye = undefined) {
    this.#cancel();
    const [round, link, session] = [this.#round, this.#link, this.#session];
    this.#link = null;
    if (link) link.close(goodbye);
    else if (session && goodbye) farewell(this.#address, session.secret, goodbye);
    if (!keep) {
      this.#session = null;
      this.#drop(() => true, error);
      if (state === "connecting") for (const member of this.#members.values()) member.down(error);
    }
    this.#setState(state, error);
    if (error && error.code !== "disconnected") this.#listeners.error.call(this.#report, error);
    return round === this.#round;
  }

  // stop is away until the application calls connect(). If a listener does so at once, the channels are joining already.
  #stop(state, error, goodbye = undefined) {
    this.#listens("removeEventListener");
    if (!this.#away(state, error, false, goodbye)) return;
    for (const member of [...this.#members.values()]) if (this.#state === state) member.halt(error);
  }

  // listens begins to follow the page's events with "addEventListener", and ends it with "removeEventListener".
  #listens(how) {
    for (const type of PAGE_EVENTS) globalThis[how]?.(type, this.#page);
    globalThis.document?.[how]?.("resume", this.#page); // after a freeze; it does not bubble
  }

  // pageChanged follows the page. One that is closed says goodbye, one that enters the back-forward cache keeps its client socket,
  // and one that is shown or comes online checks its connection.
  #pageChanged({ type, persisted }) {
    if (type === "pagehide") {
      if (!persisted) return this.#stop("closed", undefined, "last");
      const keep = this.#session?.graceMs > 0;
      const error = new ChimeError("disconnected", "the page was put into the back-forward cache");
      if (this.#away("connecting", error, keep, keep ? undefined : "last")) this.#waiting = true;
    } else if (type === "pageshow" ? persisted : type !== "visibilitychange" || globalThis.document?.visibilityState === "visible") {
      if (this.#waiting && type !== "visibilitychange") this.#attempt(); // not whenever a tab is shown: the server may have asked for a pause
      else this.#link?.probe();
    }
  }

  #setState(state, error) {
    const { transport } = this;
    const [moved, changed] = [transport !== this.#announced, state !== this.#state];
    this.#announced = transport;
    this.#state = state;
    if (moved) this.#listeners.transport.call(this.#report, transport);
    if (changed) this.#listeners.state.call(this.#report, state, error);
  }

  #send(entry) {
    const { joinRef, ref, member, event, body } = entry;
    entry.text = `[${JSON.stringify([joinRef, ref, member.topic, event]).slice(1, -1)},${body}]`;
    entry.bytes = sizeOf(entry.text);
    entry.sent = entry.dropped = false;
    if (!this.#session) return entry.interrupted(); // called by a listener that heard of the end before this channel did
    const { message_bytes, batch_bytes } = this.#session.limits;
    const most = Math.min(message_bytes, batch_bytes - ENVELOPE); // also on a WebSocket: a stream may have to send it again
    if (entry.bytes > most) {
      return entry.fail(new ChimeError("too_large", `${member.topic} ${event}: the frame has ${entry.bytes} bytes: the server allows ${most}`));
    }
    this.#pending.set(ref, entry);
    this.#session.queue.push(entry);
    this.#link?.flush();
  }

  #forget(entry) {
    entry.dropped = true;
    this.#pending.delete(entry.ref);
  }

  #drop(which, cause) {
    for (const entry of [...this.#pending.values()].filter(which)) {
      this.#forget(entry);
      entry.interrupted(cause);
    }
  }

  #receive([joinRef, ref, topic, event, payload]) {
    if (event !== "phx_reply") return this.#members.get(topic)?.take(joinRef, ref, event, payload);
    const entry = this.#pending.get(ref); // by ref alone: some error replies have no join_ref
    if (!entry) return;
    this.#forget(entry);
    this.#session.knows(entry.number);
    entry.answer(payload?.status, payload?.response);
  }

  // report reports an exception of an application's function. An arrow function, since it is passed to listeners.
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
  #joinRef = null; // of the join on the present client socket; null before it is sent
  #joining = null; // the promise that join() returned
  #timer = 0;
  #rejoins = 0;
  #joinedAt = 0;
  #epoch = null;
  #offset = null; // with the epoch the position; null in a topic without history, and before the first join
  #recovered = null;
  #pushes = new Set(); // without an answer, in the order of push(); those without an entry wait for the join
  #handlers = new Map();
  #onState = new Listeners();
  #onGap = new Listeners();
  #member;

  constructor(wire, topic, params = {}) {
    this.#wire = wire;
    this.#topic = topic;
    this.#params = params;
    this.#member = {
      topic,
      up: () => this.#joinRef === null && this.#sendJoin(),
      down: (error) => this.#rest(error),
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
    if (!this.#handlers.has(checkedName("event", event, /^phx_/))) this.#handlers.set(event, new Listeners());
    return this.#handlers.get(event).add(fn);
  }

  onState(fn) {
    return this.#onState.add(fn);
  }

  onGap(fn) {
    return this.#onGap.add(fn);
  }

  join() {
    if (this.#state !== "closed") return this.#joining.promise;
    const joining = deferred();
    joining.promise.catch(() => {}); // a page that does not await its join learns of it by onState, not by an unhandled rejection
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
      const { timeout = PUSH_MS } = only(options, ["timeout"]);
      if (typeof timeout !== "number" || !(timeout >= 0)) throw new TypeError(`chime: push: the timeout is ${shown(timeout)}: a number of milliseconds from 0 is needed`);
      const what = `${this.#topic} ${checkedName("event", event, /^phx_/)}`;
      const body = encoded(payload, what); // now: the application may change the payload later
      if (this.#state === "closed") throw new ChimeError("closed", `${what}: the channel is not joined: join() is needed first`);
      if (this.#pushes.size >= UNANSWERED) throw new ChimeError("full", `${what}: ${UNANSWERED} pushes of this channel have no answer yet: no more are allowed`);
      const push = { event, what, body, entry: null };
      const timer = timeout > 0 && timeout < 2 ** 31 ? setTimeout(() => {
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
      interrupted: (cause) => {
        if (push.entry.sent) push.fail("outcome_unknown", "it was sent, and the client socket or the join ended before the answer", { cause });
        else if (this.#state === "closed") push.fail("closed", "leave() was called");
        else push.entry = null; // it was not sent: it waits for the next join
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
      member: this.#member, joinRef: ref, ref, event: "phx_join", body, again: this.#joining.settled,
      answer: current((status, response) => (status === "ok" ? this.#accepted(position, response) : this.#refused(response))),
      fail: current((error) => this.#close(error)),
      interrupted: () => {}, // the socket calls down() of every channel
    });
  }

  #accepted(position, { "@history": history, ...response }) {
    const ref = this.#joinRef;
    this.#joinedAt = Date.now();
    // There is a gap too if the reply says nothing of a position that was sent, and if a rejoin had no position to send.
    this.#recovered = history?.recovered ?? (position || this.#joining.settled ? false : null);
    // Where this join begins: each retained message moves it, so a rejoin in the middle of a replay goes on from there.
    this.#epoch = history?.epoch ?? null;
    this.#offset = history?.offset ?? null;
    if (this.#recovered === false) this.#onGap.call(this.#wire.report);
    if (this.#joinRef === ref) this.#setState("joined");
    if (this.#joinRef !== ref) return; // a listener called leave
    this.#joining.resolve(response);
    for (const push of [...this.#pushes]) if (!push.entry && this.#joinRef === ref) this.#transmit(push);
  }

  #refused(response) {
    const reason = response?.reason ?? "refused";
    const later = reason === "rate_limited"; // too many at once: it is asked again, a first join too
    const passing = later || reason === "join crashed" || reason === "internal"; // a failure of the server, not a refusal
    const error = new ChimeError(passing ? "error" : "refused", `${this.#topic}: ${reason}`, { response, sent: true });
    if (later || (passing && this.#joining.settled)) this.#rejoin(error);
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
    const meta = { event, offset };
    this.#handlers.get(event)?.call(this.#wire.report, payload, meta);
    this.#handlers.get("*")?.call(this.#wire.report, payload, meta);
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
  #halt(error) {
    this.#close(error ?? new ChimeError("closed", `${this.#topic}: disconnect() was called`), !error, this.#joining.settled);
  }

  #close(error, wanted = false, returns = false) {
    clearTimeout(this.#timer);
    this.#joinRef = null;
    if (!returns) this.#wire.exit(this.#member);
    this.#joining.reject(error);
    this.#abandon(error);
    this.#setState("closed", wanted ? undefined : error); // last: a listener may call join
  }

  #abandon(cause) {
    for (const push of [...this.#pushes]) if (!push.entry) push.fail("closed", "not sent: the channel or the socket was closed", { cause });
  }

  #setState(state, error) {
    if (this.#state === state) return;
    this.#state = state;
    this.#onState.call(this.#wire.report, state, error);
  }
}

// A Session is one client socket: what outlives its connections. It numbers the frames that are sent, keeps each until the server
// is known to have it, and counts those received.
class Session {
  secret = "";
  graceMs = 0; // how long the server keeps it without a connection
  until = 0; // when that ends, at the earliest
  limits = {};
  received = 0; // counted frames of the server
  acked = 0; // of them, those acknowledged
  sent = 0; // numbers given to frames of ours
  known = 0; // of them, those the server is known to have
  keepsAll = false; // an attempt is under way: its hello may be older than what arrives meanwhile, so nothing is forgotten
  queue = []; // entries, oldest first: numbered ones, then those not sent yet

  // after returns what to send to a server that has frame n.
  after(n) {
    this.#forget();
    return this.queue.filter(({ number }) => !(number <= n));
  }

  // count gives an entry its number when it is first sent. From then on it has to be sent, since no other entry can have that number.
  count(entry) {
    if (!entry.sent && !entry.uncounted) entry.number = ++this.sent;
    entry.sent = true;
  }

  // uncount takes back the newest numbers, which the server has not seen.
  uncount(entries) {
    for (const entry of entries) {
      if (entry.number) this.sent--;
      entry.sent = false;
      entry.number = undefined;
    }
  }

  knows(n) {
    if (n > this.known && n <= this.sent) this.known = n;
    this.#forget();
  }

  // goesOn reports whether every frame after n is here.
  goesOn(n) {
    const oldest = this.queue.find(({ number }) => number)?.number ?? this.sent + 1;
    return n >= oldest - 1 && n <= this.sent;
  }

  #forget() {
    this.queue = this.queue.filter(({ number, dropped }) => (number ? this.keepsAll || number > this.known : !dropped));
  }
}

// A Link is one connection: it takes the hello, acknowledges, and notices silence. Its kinds send frames: resume(), flush(), ack(),
// beat(), say(text) and shut(goodbye). hooks.broke is called once, unless close came first; no hook is called after either.
class Link {
  #hooks;
  #heardAt = 0;
  #watch;
  #probe = 0;
  #ackTimer = 0;
  #retryMs;
  #heartbeat = 0;
  name;
  address;
  session; // the one to resume, or null; after hello the present one
  since = 0; // when hello came, or 0
  silence = 0; // ms without anything received after which the connection counts as broken
  had = 0; // frames of ours that the server had at its hello
  resumed = false;
  confirmed = false; // the server has shown that this connection carries the session
  ended = false;

  constructor(name, address, hooks, session = null) {
    Object.assign(this, { name, address, session });
    this.#hooks = hooks;
    this.#watch = setTimeout(() => this.end({ code: 1006, reason: `no hello within ${HELLO_MS} ms` }), HELLO_MS);
  }

  take(text) {
    if (this.ended) return;
    this.#heardAt = Date.now();
    clearTimeout(this.#probe);
    this.#probe = 0;
    const frame = parsed(text);
    if (!Array.isArray(frame) || frame.length < 5) return this.end({ code: 1007, reason: "the server sent what is not a frame: an array of 5 elements is expected", over: this.since > 0 });
    const [, , topic, event, payload] = frame;
    if (!this.since) {
      if (topic !== "chime" || event !== "hello") return this.end({ code: 1002, reason: `the server's first frame is ${shown(event)}: hello is expected` });
      return this.#greet(payload);
    }
    if (topic === "chime") return this.#control(event, payload);
    if (topic !== "phoenix") {
      this.confirmed = true;
      this.session.received++;
    }
    this.#hooks.frame(frame, text);
    this.acknowledged(this.session.acked);
  }

  // acknowledged notes that the first n counted frames are, and sees to it that the others will be.
  acknowledged(n) {
    const { session } = this;
    if (n > session.acked) {
      session.acked = n;
      clearTimeout(this.#ackTimer);
      this.#ackTimer = 0;
    }
    if (this.ended || session.received === session.acked) return;
    if (session.received - session.acked >= ACK_FRAMES) this.ack();
    else this.#ackTimer ||= setTimeout(() => this.ack(), ACK_MS);
  }

  // carry makes this the connection of its session. Its first frame or POST promotes it at the server; then each side sends again
  // what the other does not have.
  carry() {
    if (!this.resumed) return;
    this.session.queue = this.session.queue.filter(({ uncounted }) => !uncounted); // a probe of the former connection
    this.resume();
  }

  // probe asks the server for an answer, and ends the connection without one. Not if the server resumes nothing: then a new
  // connection costs more than the wait until silence is noticed.
  probe() {
    if (!this.session?.graceMs) return false;
    if (this.#probe) return true;
    this.#probe = setTimeout(() => this.end({ code: 1006, reason: `no answer to a probe within ${PROBE_MS} ms` }), PROBE_MS);
    this.say(`[null,null,"chime","probe",{"nonce":"${Math.random()}"}]`);
    return true;
  }

  // end is for a connection that ends by itself: hooks.broke is called with why. With why.over the session has ended too.
  end(why) {
    if (this.#finish(why.over ? "goodbye" : undefined)) this.#hooks.broke({ retryMs: this.#retryMs, ...why });
  }

  // close ends the connection for its caller, and with a goodbye the session too: "goodbye", or "last" from a page that is being
  // closed.
  close(goodbye) {
    this.#finish(goodbye);
  }

  #greet({ secret, resumed = false, received = 0, heartbeat_ms: heartbeat = 15_000, grace_ms: graceMs = 0, limits }) {
    clearTimeout(this.#watch);
    this.resumed = resumed && this.session !== null;
    this.confirmed = !this.resumed;
    if (!this.resumed) this.session = new Session();
    else if (!this.session.goesOn(received)) return this.end({ code: 1002, status: 403, reason: `the server resumed at frame ${received + 1}, which is not kept here` });
    this.had = received;
    this.since = Date.now();
    this.session.knows(received);
    Object.assign(this.session, { secret, graceMs, limits: { message_bytes: Infinity, batch_bytes: 262_144, batch_messages: 100, ...limits } });
    this.#heartbeat = heartbeat;
    this.silence = 2 * heartbeat + 5_000;
    this.#listen(heartbeat);
    this.#hooks.hello();
  }

  // One timer that looks back, not one that every frame resets. It runs once per heartbeat, so that a run that is far too late
  // shows that the machine slept; silence during a sleep says nothing about the connection.
  #listen(ms) {
    const due = Date.now() + ms;
    this.#watch = setTimeout(() => {
      const now = Date.now();
      const quiet = now - this.#heardAt;
      const slept = now - due > this.#heartbeat && quiet > this.#heartbeat;
      if (slept && this.probe()) this.#listen(this.#heartbeat);
      else if (quiet >= this.silence) this.end({ code: 1006, reason: `nothing was received for ${this.silence} ms` });
      else this.#listen(Math.min(this.silence - quiet, this.#heartbeat));
    }, ms);
  }

  #control(event, payload) {
    if (event === "heartbeat") {
      this.session.knows(payload.received);
      this.beat();
    } else if (event === "drain") this.#retryMs = payload.retry_ms;
    else if (event === "closed") this.end({ code: payload.code, reason: payload.reason });
  }

  #finish(goodbye) {
    if (this.ended) return false;
    this.ended = true;
    for (const timer of [this.#watch, this.#probe, this.#ackTimer]) clearTimeout(timer);
    this.shut(goodbye);
    return true;
  }
}

class WebSocketLink extends Link {
  #ws;

  constructor(address, hooks, session) {
    super("websocket", address, hooks, session);
    const protocols = ["chime.v1"];
    if (session) protocols.push(`chime.secret.${session.secret}`);
    if (address.token) protocols.push(`base64url.bearer.phx.${base64url(address.token)}`);
    try {
      this.#ws = new address.WebSocket(address.of("/websocket").replace(/^http/, "ws"), protocols);
    } catch (error) {
      return void queueMicrotask(() => this.end({ code: 1006, reason: error.message })); // after the socket has this link
    }
    this.#ws.onmessage = ({ data }) => this.take(data);
    this.#ws.onclose = ({ code, reason }) => this.end({ code, reason, unanswered: code === 1006, ...this.#blame(code, reason) });
    this.#ws.onerror = () => {}; // close follows and says more
  }

  // resume: frames have no number here, so the first must be the one after the hello's `received`, whatever was learned since.
  resume() {
    this.ack();
    this.#write(this.session.after(this.had));
  }

  flush() {
    this.#write(this.session.after(this.session.sent));
  }

  ack() {
    this.say(`[null,null,"chime","ack",{"received":${this.session.received}}]`);
    this.acknowledged(this.session.received);
  }

  beat() {
    this.ack(); // it shows the server that the connection works
  }

  say(text) {
    if (this.#ws.readyState === 1) this.#ws.send(text); // else it is closing, and onclose follows
  }

  shut(goodbye) {
    if (goodbye === "last") farewell(this.address, this.session.secret, goodbye); // the close frame of such a page may not be sent
    this.#ws?.close(goodbye ? 1000 : 4000);
  }

  // blame: a join that ended the connection would be sent again on the next one, and end that too. Frames are taken in order, so
  // blame the oldest that the server is not known to have, and prefer one that was never accepted. If it was another one, that
  // one is the oldest on a later connection.
  #blame(code, reason) {
    const sent = this.session?.after(this.session.known).filter((entry) => entry.sent) ?? [];
    const first = sent.find((entry) => !entry.again) ?? sent[0];
    if (!BLAMES[code] || first?.event !== "phx_join") return null;
    return { failed: [first], error: new ChimeError(BLAMES[code], `the server refused a frame: ${reason}`, { response: { reason }, status: code }) };
  }

  #write(entries) {
    if (this.#ws.readyState !== 1) return; // the browser would drop it without an error
    for (const entry of entries) {
      this.session.count(entry);
      this.#ws.send(entry.text);
    }
  }
}

/** A connection whose frames from the server come in a stream, and whose frames to the server go in POSTs: one at a time, so that
 * they arrive in order, and numbered, so that one that is sent again is applied once. Exported for phoenix-stream.js alone. */
export class StreamLink extends Link {
  #stream = new AbortController();
  #post = null;
  #most = Infinity; // entries in a batch; less after one that was refused as a whole
  #ackDue = false;
  #beatDue = false;
  #promotionDue = false;
  #pumping = false;
  #wake = () => {};

  constructor(address, hooks, session) {
    super("sse", address, hooks, session);
    this.#read();
  }

  get buffered() { return this.session ? this.session.after(this.session.known).reduce((sum, { bytes }) => sum + bytes, 0) : 0; }

  send(entry) {
    this.session.queue.push(entry);
    this.flush();
  }

  // resume: the first POST with the new secret promotes the connection, with or without frames.
  resume() {
    this.#promotionDue = true;
    this.flush();
  }

  flush() {
    this.#pump();
  }

  ack() {
    this.#ackDue = true;
    this.#pump();
  }

  // beat: only a POST shows the server that somebody reads the stream. The heartbeat has woken the radio already.
  beat() {
    this.#beatDue = true;
    this.#pump();
  }

  say(text) {
    this.send({ text, bytes: text.length, uncounted: true });
    this.#wake();
  }

  shut(goodbye) {
    this.#post?.abort();
    this.#wake();
    if (!goodbye || !this.since) return this.#stream.abort();
    // The stream ends after the goodbye: before it, the server would see a broken connection.
    const timer = setTimeout(() => this.#stream.abort(), BYE_MS);
    farewell(this.address, this.session.secret, goodbye).then(() => {
      clearTimeout(timer);
      this.#stream.abort();
    });
  }

  async #read() {
    const headers = { Accept: "text/event-stream", "Chime-Received": String(this.session?.received ?? 0) };
    if (this.session) headers["Chime-Secret"] = this.session.secret;
    await null; // so that a failure comes after the socket has this link
    let response;
    try {
      response = await this.address.fetch(this.address.of("/sse"), { headers: this.address.headers(headers), cache: "no-store", signal: this.#stream.signal });
      const { status } = response;
      if (status !== 200 || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        const body = parsed(await response.text());
        return this.end({ status, reason: body?.reason ?? `the stream was answered with status ${status}: 200 and text/event-stream are expected`, retryMs: retryAfter(response) });
      }
      const reader = response.body.getReader();
      const events = new EventStream();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return this.end({ code: 1006, reason: "the stream ended" });
        for (const data of events.push(value)) {
          this.take(data);
          await null; // as on a WebSocket: code that awaited a reply runs before the next frame is handled
        }
      }
    } catch (error) {
      this.end({ code: 1006, reason: error.message, unanswered: !response });
    }
  }

  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    await null; // pushes of one turn of the event loop make one batch
    for (let batch, given; !this.ended; await this.#deliver(batch, given)) {
      given = this.session.sent;
      batch = this.#batch();
      if (!batch.length && !this.#promotionDue && !this.#beatDue && !(this.#ackDue && this.session.received > this.session.acked)) break;
    }
    this.#pumping = false;
  }

  #batch() {
    const { session } = this;
    const batch = [];
    let bytes = ENVELOPE;
    for (const entry of session.after(session.known)) {
      bytes += entry.bytes + 1;
      if (batch.length && (bytes > session.limits.batch_bytes || batch.length >= Math.min(this.#most, session.limits.batch_messages))) break;
      session.count(entry);
      batch.push(entry);
    }
    return batch;
  }

  // deliver sends one batch again and again until its outcome is known. Numbers beyond given were first given in this batch. One
  // without frames only acknowledges: that it does not get through is for the server to judge, and frames that wait do the same.
  async #deliver(batch, given) {
    const started = Date.now();
    const before = this.session.known; // the number of the last frame in front of the batch
    const last = before + batch.filter((entry) => !entry.uncounted).length;
    for (let tries = 0; !this.ended; tries++) {
      const { status, body, retryMs } = await this.#send(before + 1, batch);
      if (this.ended) return;
      const has = status === 200 ? body?.applied : status === 409 ? body?.want - 1 : NaN;
      if (Number.isInteger(has) && (has !== before || before === last)) return this.#settle(has, batch, before);
      if (status === 400 || status === 413) {
        // Not those that a former connection sent: the server may have them by now, and would take another frame for one of them.
        if (tries === 0) this.session.uncount(batch.filter(({ number }) => number > given));
        return this.#refused(batch, status, body);
      }
      const final = status >= 400 && status < 500 && ![408, 409, 429].includes(status);
      if (final || (batch.length && Date.now() - started > this.silence)) {
        // Without the status: whether the client is refused is for the next connection to learn.
        return this.end({ code: 1006, reason: status ? `a POST was answered with status ${status}` : "a POST was not answered" });
      }
      await this.#pause(Math.min(retryMs ?? 0, RETRY_CAP_MS) + jitter(tries, 250, 5_000));
      if (!batch.length && this.session.after(before).length) return;
    }
  }

  #settle(has, batch, before) {
    if (has < before || has > this.session.sent) return this.end({ code: 1006, reason: `the server wants frame ${has + 1}, which is not kept here`, over: true });
    this.session.knows(has);
    for (const entry of batch) { // one without a number was taken with those before it
      if (entry.number > has) break;
      entry.dropped = true;
    }
  }

  // refused: nothing of the batch was applied. If the answer names no frame, because the batch as a whole is too large, halve
  // the batch until the bad one is alone. Its number stays unused, so all other frames need a new client socket.
  #refused(batch, status, body) {
    const bad = batch[body?.frame - 1];
    if (batch.length > 1 && (status === 413 || !bad)) return void (this.#most = batch.length >> 1);
    const reason = `the server refused a frame: ${body?.reason ?? status}`;
    const error = new ChimeError(status === 413 ? "too_large" : "invalid", reason, { response: body, status });
    this.end({ code: 1006, reason, error, failed: bad ? [bad] : batch, over: true });
  }

  async #send(first, batch) {
    const post = (this.#post = new AbortController());
    const timer = setTimeout(() => post.abort(), POST_MS);
    const { received, secret } = this.session;
    this.#ackDue = this.#beatDue = this.#promotionDue = false;
    try {
      const response = await this.address.fetch(this.address.of("/sse"), {
        method: "POST",
        headers: this.address.headers({ "Content-Type": "application/json", "Chime-Secret": secret }),
        body: `{"first":${first},"received":${received},"frames":[${batch.map((entry) => entry.text).join(",")}]}`,
        signal: post.signal,
      });
      const body = parsed(await response.text());
      if (response.status === 200 && body && !this.ended) {
        this.confirmed = true;
        this.acknowledged(received);
      }
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

// farewell ends a client socket on any transport. A page that is being closed sends a beacon, which the browser still delivers.
async function farewell(address, secret, goodbye) {
  const url = address.of("/bye");
  if (goodbye === "last" && globalThis.navigator?.sendBeacon?.(url, secret)) return;
  try {
    await address.fetch(url, { method: "POST", headers: address.headers({ "Content-Type": "text/plain" }), body: secret, keepalive: true });
  } catch {
    // Without it the client socket ends with its grace period.
  }
}

// EventStream turns the bytes of a text/event-stream into the data of its events, however the bytes are split.
class EventStream {
  #decoder = new TextDecoder(); // drops a byte order mark, and keeps an incomplete character
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

// addressOf is the address and the credentials of one attempt.
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
    if (typeof fn !== "function") throw new TypeError(`chime: the listener is ${shown(fn)}: a function is needed`);
    const own = { fn }; // so that a function added twice is called twice, and each undo removes its own
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

// checkedName returns a name that is valid for a topic or an event and not reserved by the protocol.
function checkedName(kind, name, reserved) {
  const valid = typeof name === "string" && /^[^\p{Cc}\p{Cs}\u2028\u2029]+$/u.test(name) && sizeOf(name) <= NAME_BYTES;
  if (!valid || reserved.test(name)) {
    throw new TypeError(`chime: the ${kind} is ${shown(name)}: 1 to ${NAME_BYTES} bytes of UTF-8 without control characters are allowed, and no reserved name`);
  }
  return name;
}

// only returns options that have no other names than these: a misspelled one would have no effect.
function only(options, names) {
  if (options === null || typeof options !== "object") throw new TypeError(`chime: the options are ${shown(options)}: an object is needed`);
  for (const name of Object.keys(options)) if (!names.includes(name)) throw new TypeError(`chime: the option is ${shown(name)}: ${names.join(", ")} are allowed`);
  return options;
}

// encoded returns a payload as JSON that the server can read: what it cannot read would end the client socket with all its channels.
function encoded(payload, what) {
  let body, cause;
  try {
    body = JSON.stringify(payload);
  } catch (error) {
    cause = error;
  }
  if (body === undefined) throw new TypeError(`chime: ${what}: the payload is ${shown(payload)}: a value that JSON can express is needed`, { cause });
  const { "@binary": bytes, ...more } = body.startsWith('{"@binary":"') ? JSON.parse(body) : { "@binary": "" };
  const base64 = bytes.replace(/[\r\n]/g, "");
  if (!Object.keys(more).length && (base64.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64))) {
    throw new TypeError(`chime: ${what}: the @binary of the payload is ${shown(bytes)}: padded base64 is needed`);
  }
  if (body.length > 2 * LEVELS && levelsOf(body) > LEVELS) throw new TypeError(`chime: ${what}: the payload is nested deeper than ${LEVELS} levels: no more are allowed`);
  return body;
}

// levelsOf returns how deep JSON is nested.
function levelsOf(json) {
  let [levels, most] = [0, 0];
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (char === "[" || char === "{") most = Math.max(most, ++levels);
    else if (char === "]" || char === "}") levels--;
    else if (char === '"') while (json[++at] !== '"') if (json[at] === "\\") at++; // brackets in a string are none
  }
  return most;
}

// shown is a value as errors show it.
function shown(value) {
  if (value !== null && ["object", "function"].includes(typeof value)) return `of type ${typeof value}`;
  return typeof value === "string" ? JSON.stringify(value.slice(0, 2 * NAME_BYTES)) : String(value);
}

function sizeOf(text) {
  return new TextEncoder().encode(text).length;
}

function deferred() {
  const one = { settled: false };
  one.promise = new Promise((resolve, reject) => {
    one.resolve = (value) => { one.settled = true; resolve(value); };
    one.reject = (error) => { one.settled = true; reject(error); };
  });
  return one;
}

// Full jitter, so that the clients of a server that stopped do not come back at the same moment.
function jitter(tries, first, cap) {
  return Math.random() * Math.min(cap, first * 2 ** tries);
}

function isRefusal({ code, status }) {
  return code === 4003 || status === 401 || status === 403;
}

// retryAfter is the least that an answer asks to wait.
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
