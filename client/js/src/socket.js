import { addressOf, farewell } from "./address.js";
import { Channel } from "./channel.js";
import { ChimeError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { jitter, RETRY_CAP_MS, STEADY_MS } from "./pauses.js";
import { ENVELOPE, StreamLink } from "./stream.js";
import { checkedName, only, shown, sizeOf, valueOf } from "./values.js";
import { WebSocketLink } from "./websocket.js";

const FALLBACK_MS = 2_000; // a transport without a hello for this long: the next one starts beside it
const MEMO_MS = 30 * 60_000; // how long a network is remembered as one that blocks WebSockets
const PAGE_EVENTS = ["online", "pagehide", "pageshow", "visibilitychange"];

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
    if (why.moved && link.confirmed) return this.#stop("closed", new ChimeError("replaced", "another connection took the client socket over", { status: 4001 }));
    const error = new ChimeError("disconnected", why.reason || `the connection broke (${why.code})`, { status: why.code });
    this.#session.until = Date.now() + this.#session.graceMs;
    const keep = this.#session.graceMs > 0 && !why.over && !why.said;
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

function isRefusal({ code, status, said }) {
  return (said && code === 4003) || status === 401 || status === 403;
}
