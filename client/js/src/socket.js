import { addressOf, baseOf, farewell } from "./address.js";
import { localAccess, unreachable } from "./causes.js";
import { Channel } from "./channel.js";
import { ChimeError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { Memory } from "./memory.js";
import { Page } from "./page.js";
import { Pauses } from "./pauses.js";
import { Pending } from "./pending.js";
import { ENVELOPE } from "./posting.js";
import { isRefusal, Race } from "./race.js";
import { Tabs } from "./tabs.js";
import { Trial } from "./trial.js";
import { checkedName, misuse, only, sizeOf, valueOf } from "./values.js";

const TRANSPORTS = ["websocket", "sse", "longpoll"]; // the best first
const AWAKE_MS = 10_000; // for so long after the page woke up connections often hang
const WOKEN_MS = 500; // without an answer for so long after the page woke up, another connection starts beside the one that there is
const ASK_MS = [500, 2_000]; // when to ask a token function again whose token was refused
const BACK_MS = [5_000, 60_000, 300_000, 900_000]; // when to try a better transport again
const UPDATE_MS = 5_000; // how long a service worker that is to be replaced is left alone, at most
const RECORDS = 20;

/** One client of one server: it keeps a connection and the channels that use it. */
export class Socket {
  #url;
  #options;
  #transport; // the choice: "auto", or one of TRANSPORTS
  #state = "closed";
  #session; // the client socket, from its hello until it ends
  #link; // the connection that carries it, if there is one; before it is proven, too
  #announced = null; // the transport that listeners were last called with
  #race;
  #attempting;
  #doubted; // the connection that woke up with the page, while another is asked for
  #forced; // the attempt is a move that the application wants
  #timer; // of the next attempt
  #waiting; // for it
  #wokeAt;
  #aside; // so that a service worker can be replaced
  #round = 0; // changes when an attempt is cancelled, which may be waiting for a token
  #address; // of the last attempt
  #pauses = new Pauses();
  #memory;
  #tabs;
  #worked = new Set(); // transports
  #offers = TRANSPORTS; // of the server
  #rttMs = 0;
  #refusals = 0; // of tokens of a function, in a row
  #returns = 0; // attempts to come back to a better transport
  #returning;
  #trial;
  #told = new Set(); // the causes that the application knows of, until a connection works
  #left; // disconnect was called: a join waits for connect
  #records = [];
  #members = new Map(); // topic → the channel that is joined, is joining, or will join with the next connect()
  #pending = new Pending(() => this.#link);
  #refs = 0;
  #listeners = { state: new Listeners(), transport: new Listeners(), error: new Listeners() };
  #page = new Page({ closed: () => this.#stop("closed", undefined, "last"), frozen: () => this.#froze(), woke: (online) => this.#woke(online), updated: (state) => this.#updated(state) });

  constructor(url, options = {}) {
    if (typeof url !== "string" && !(url instanceof URL)) throw misuse("the URL", url, "a string or a URL");
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace(/^ws/, "http");
    if (!/^https?:$/.test(this.#url.protocol)) throw misuse("the scheme of the URL", this.#url.protocol, "http(s) or ws(s)");
    this.#options = { ...only(options, ["params", "token", "transport", "WebSocket", "fetch", "shareConnections"]) };
    this.#options.WebSocket ??= globalThis.WebSocket;
    this.#options.fetch ??= (...request) => globalThis.fetch(...request); // a browser's fetch refuses any other `this`
    this.#transport = this.#checked(options.transport ?? "auto");
    this.#memory = new Memory(baseOf(this.#url));
    if (this.#options.shareConnections ?? true) this.#tabs = new Tabs(baseOf(this.#url));
  }

  get state() { return this.#state; }
  get transport() { return this.#link?.proven ? this.#link.name : null; }

  get diagnosis() {
    const { transport } = this;
    return {
      transport, rttMs: transport && this.#rttMs, order: this.#order(), blocked: this.#memory.blocked, pingMs: this.#memory.pingMs || null,
      serviceWorker: this.#page.worker, attempts: this.#records.map((record) => ({ ...record })),
    };
  }

  on(name, fn) {
    if (!Object.hasOwn(this.#listeners, name)) throw misuse("socket.on: the name", name, Object.keys(this.#listeners).join(" or "));
    return this.#listeners[name].add(fn);
  }

  connect() {
    if (this.#state === "connecting" || this.#state === "open") return;
    this.#page.follow();
    this.#pauses.reset();
    this.#refusals = 0;
    this.#told.clear();
    this.#left = false;
    this.#setState("connecting");
    // Any listener may call disconnect.
    for (const member of this.#members.values()) if (this.#state === "connecting") member.down();
    if (this.#state === "connecting") this.#attempt();
  }

  disconnect() {
    this.#left = true;
    this.#stop("closed", undefined, "goodbye");
  }

  force(transport) {
    this.#transport = this.#checked(transport);
    if (this.#state !== "open" && this.#state !== "connecting") return;
    this.#pauses.reset();
    this.#cancel();
    const names = this.#order();
    if (this.#link?.name === names[0]) return this.#planReturn();
    this.#attempt(this.#link ? { names: names.slice(0, 1), beside: this.#link, forced: true } : {});
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
        throw new ChimeError("duplicate", `join ${member.topic}: another channel has joined it: one per topic is allowed`);
      }
      this.#members.set(member.topic, member);
      if (this.#session) member.up();
      else if (this.#state === "closed" && !this.#left) this.connect();
    },
    exit: (member) => this.#members.get(member.topic) === member && this.#members.delete(member.topic),
    send: (entry) => this.#send(entry),
    forget: (entry) => this.#pending.forget(entry),
    drop: (member, cause) => this.#pending.drop(cause, member),
    why: () => (this.#state === "open" ? "" : [...this.#told].at(-1) ?? `the socket is ${this.#state}${this.#state === "connecting" ? "" : ": connect() is needed"}`),
    report: (error) => this.#report(error),
  };

  #checked(transport) {
    const choices = ["auto", ...TRANSPORTS];
    if (!choices.includes(transport)) throw misuse("the transport", transport, choices.join(" or "));
    if (transport === "websocket" && !this.#options.WebSocket) throw misuse("the transport", transport, "on this platform the option WebSocket");
    return transport;
  }

  #order() {
    if (this.#transport !== "auto") return [this.#transport];
    return this.#memory.order(this.#offers.filter((name) => (name !== "websocket" || this.#options.WebSocket) && !(name === "sse" && this.#tabs?.crowded)));
  }

  // attempt opens a connection, beside the one that there is if that is given.
  async #attempt({ names, beside = null, forced = false } = {}) {
    this.#cancel();
    const round = this.#round;
    this.#attempting = true;
    this.#forced = forced;
    if (this.#link && !beside) this.#doubted = { link: this.#link, at: Date.now() };
    const address = await this.#credentials();
    if (round !== this.#round) return; // cancelled meanwhile
    if (address instanceof ChimeError) {
      this.#attempting = false;
      this.#tell(address);
      if (round === this.#round && !this.#link) this.#retry(); // else a listener has called disconnect or connect
      return;
    }
    this.#address = address;
    const woken = Date.now() - this.#wokeAt < AWAKE_MS;
    this.#race = new Race(address, names ?? this.#order(), { session: this.#session, beside, rttMs: this.#rttMs, woken }, {
      note: this.#note,
      carry: (link) => this.#carry(link),
      won: (link, race) => this.#won(link, race),
      unlinked: (link, why) => this.#unlinked(link, why),
      lost: (race, why) => this.#lost(race, why),
      refused: (link, why) => this.#refusal(why, link.session),
      frame: (frame) => this.#receive(frame),
      slept: () => this.#woke(),
      broke: (why) => this.#broke(why),
    });
  }

  // credentials returns the address of an attempt, or the error with which the application's functions failed.
  async #credentials() {
    const { params, token, fetch, WebSocket } = this.#options;
    try {
      const address = { ...addressOf(this.#url, await valueOf(params), await valueOf(token, this.#refusals > 0), fetch), WebSocket, memory: this.#memory, tabs: this.#tabs };
      if (this.#transport !== "websocket") await this.#tabs?.enter(address);
      return address;
    } catch (cause) {
      return new ChimeError("credentials", `params or token failed: ${cause?.message ?? cause}`, { cause });
    }
  }

  // cancel ends an attempt, or the wait for the next one.
  #cancel() {
    this.#round++;
    clearTimeout(this.#timer);
    clearTimeout(this.#returning);
    this.#waiting = this.#attempting = this.#aside = false;
    this.#race?.cancel();
    this.#trial?.cancel();
    this.#race = this.#trial = this.#doubted = null;
    if (!this.#link || this.#link.proven) return;
    this.#link.close(); // only a race makes use of one that is not
    this.#link = null;
  }

  // carry has a connection carry the client socket from now on, instead of the one that did.
  #carry(link) {
    const [before, former] = [this.#link, this.#session];
    const resumed = link.session === former;
    if (before && before === this.#doubted?.link && before.heardAt > this.#doubted.at) return this.#cancel(); // it has answered
    this.#session = link.session;
    this.#link = link;
    link.carry();
    before?.close(resumed ? undefined : "goodbye");
    if (former && !resumed) this.#forfeit(new ChimeError("disconnected", "the server did not resume the client socket"));
    if (!resumed) for (const member of this.#members.values()) if (this.#link === link) member.up();
  }

  #won(link, race) {
    this.#learn(race.failures);
    this.#cancel();
    this.#pauses.opened();
    this.#refusals = 0;
    this.#told.clear();
    this.#rttMs = link.rtt || this.#rttMs;
    this.#offers = TRANSPORTS.filter((name) => name === link.name || link.session.transports.includes(name));
    this.#worked.add(link.name);
    this.#memory.works(link.name);
    if (link.name === "websocket") this.#tabs?.leave();
    if (this.#transport === "auto") {
      for (const name of race.names) if (TRANSPORTS.indexOf(name) < TRANSPORTS.indexOf(link.name) && !this.#worked.has(name)) this.#memory.block(name);
    }
    this.#setState("open");
    if (this.#link === link) this.#planReturn();
  }

  // learn notes connections that were greeted and not proven.
  #learn(failures) {
    for (const { name, greeted, said } of failures) if (greeted && !said) this.#memory.died(name, 0, 0);
  }

  // unlinked: the connection that carried the client socket ended before it was proven.
  #unlinked(link, why) {
    const keep = this.#keeps(why);
    this.#link = null;
    link.session.until = Date.now() + link.session.graceMs;
    this.#fail(why);
    if (keep || !this.#session) return keep;
    this.#session = null;
    this.#forfeit(new ChimeError("disconnected", why.reason, { status: why.code }));
    return false;
  }

  async #lost({ failures, names }, why) {
    this.#race = null;
    if (names.every((name) => name === "websocket") && typeof this.#options.token === "function" && !this.#link && failures.every(({ unanswered }) => unanswered)) {
      // A browser does not say that a WebSocket was refused.
      this.#trial = new Trial(this.#address, "sse", null, this.#note, (works, cause) => this.#gaveUp(works || !cause.status ? failures : [...failures, { name: "sse", ...cause }], why));
      return;
    }
    const [round, address] = [this.#round, this.#address];
    if (address.page) address.local = await localAccess(address); // it is decided by the first request that needs it
    if (round === this.#round) this.#gaveUp(failures, why);
  }

  #gaveUp(failures, why) {
    const refused = failures.find(isRefusal);
    if (refused && !this.#link) return this.#refusal(refused, this.#session);
    this.#learn(failures);
    const error = unreachable(failures, this.#address);
    if (this.#link) { // a move that failed: the connection stays
      const forced = this.#forced;
      this.#cancel();
      if (forced) this.#tell(error);
      if (this.#link?.proven) this.#planReturn();
      return;
    }
    if (failures.some(({ greeted }) => greeted)) this.#pauses.ended(0);
    const { retryMs } = failures.find(({ status }) => status) ?? why;
    if (this.#away("connecting", error, this.#session)) this.#retry(retryMs);
  }

  // refusal: a token may have got old while the page slept, or be none of a server that was restarted, and the function that gives
  // it may not have noticed: it is told.
  #refusal(why, session) {
    const known = this.#session;
    if (why.status === 401 && typeof this.#options.token === "function" && this.#refusals < ASK_MS.length) {
      if (!this.#away("connecting", undefined, known)) return;
      this.#timer = setTimeout(() => this.#attempt(), ASK_MS[this.#refusals++]);
    } else if (why.status === 403 && session && known) {
      // The secret may belong to another identity, since a page can change its user. So try once without it.
      if (this.#away("connecting", new ChimeError("disconnected", why.reason, { status: why.status }))) this.#attempt();
    } else this.#refused(why);
  }

  // broke: the connection that was proven has ended.
  #broke(why) {
    const link = this.#link;
    const lived = Date.now() - link.since;
    this.#pauses.ended(lived);
    const young = lived < link.silence - 5_000;
    if (!young) this.#returns = 0;
    if (!why.said && !why.over && !why.post && why.code !== 4001 && (young || why.held)) this.#memory.died(link.name, Date.now() - link.heardAt, link.silence / 2);
    this.#fail(why);
    if (this.#link !== link) return; // a caller of push has called disconnect or connect
    if (isRefusal(why)) return this.#refused(why);
    // Another user of this secret took the client socket over. Resuming would end its connection, and so on for ever. The same
    // code with the reason "not used" means that our promotion did not reach the server: a broken connection like any other.
    if (why.moved && link.confirmed) {
      this.#left = true;
      return this.#stop("closed", new ChimeError("replaced", "the client socket was taken over", { status: 4001 }));
    }
    const error = new ChimeError("disconnected", why.reason || `the connection broke (${why.code})`, { status: why.code });
    this.#session.until = Date.now() + this.#session.graceMs;
    const keep = this.#keeps(why);
    if (keep && this.#attempting) { // another was asked for: that goes on
      this.#link = null;
      this.#race?.alone();
      this.#setState("connecting", error);
    } else if (this.#away("connecting", error, keep)) this.#retry(why.retryMs);
  }

  // keeps reports whether the client socket outlives a connection that ended so.
  #keeps({ over, said }) {
    return this.#session?.graceMs > 0 && !over && !said;
  }

  #fail({ failed = [], error }) {
    for (const entry of failed) {
      this.#pending.forget(entry);
      entry.fail(error);
    }
  }

  // forfeit gives a client socket up that has ended.
  #forfeit(error) {
    const round = this.#round;
    this.#pending.drop(error);
    for (const member of this.#members.values()) if (round === this.#round) member.down(error);
  }

  #refused({ code, status = code, reason }) {
    this.#stop("refused", new ChimeError("refused", reason || "the server refused the connection", { status, response: { reason } }));
  }

  // retry waits less while the server keeps the client socket: up to a quarter of the grace period.
  #retry(asked) {
    this.#waiting = true;
    this.#timer = setTimeout(() => this.#attempt(), this.#pauses.next(asked, Date.now() < this.#session?.until ? this.#session.graceMs / 4 : undefined));
  }

  // planReturn tries a better transport than the present one, later.
  #planReturn() {
    clearTimeout(this.#returning);
    const names = TRANSPORTS.slice(0, TRANSPORTS.indexOf(this.#link.name)).filter((name) => this.#order().includes(name));
    if (this.#transport !== "auto" || !names.length) return;
    const ms = BACK_MS[Math.min(this.#returns++, BACK_MS.length - 1)];
    this.#returning = setTimeout(() => this.#return(names), ms * (0.8 + 0.4 * Math.random()));
  }

  async #return([name, ...more]) {
    const link = this.#link;
    const address = await this.#credentials();
    if (!link || link !== this.#link || this.#attempting || address instanceof ChimeError) return;
    this.#trial?.cancel();
    this.#trial = new Trial(address, name, this.#memory.cuts(name) ? link.silence : 0, this.#note, (works) => {
      this.#trial = null;
      if (works) this.#attempt({ names: [name], beside: link });
      else if (more.length) this.#return(more);
      else this.#planReturn();
    });
  }

  // away ends the connection and every attempt. Unless the client socket is kept, it fails what was sent on it. It returns false
  // if a listener has called connect or disconnect meanwhile.
  #away(state, error, keep = false, goodbye) {
    this.#cancel();
    const [round, link, session] = [this.#round, this.#link, this.#session];
    this.#link = null;
    if (link) link.close(goodbye);
    else if (session && goodbye) farewell(this.#address, session.secret, goodbye);
    if (!keep) {
      this.#session = null;
      if (state === "connecting") this.#forfeit(error);
      else this.#pending.drop(error);
    }
    this.#setState(state, error);
    if (error && error.code !== "disconnected") this.#tell(error);
    return round === this.#round;
  }

  // stop is away until the application calls connect(). If a listener does so at once, the channels are joining already.
  #stop(state, error, goodbye) {
    this.#page.leave();
    this.#tabs?.leave();
    if (!this.#away(state, error, false, goodbye)) return;
    for (const member of [...this.#members.values()]) if (this.#state === state) member.halt(error);
  }

  // froze: a page that enters the back-forward cache keeps its client socket.
  #froze() {
    const keep = this.#session?.graceMs > 0;
    const error = new ChimeError("disconnected", "the page went into the back-forward cache");
    this.#tabs?.leave();
    if (this.#away("connecting", error, keep, keep ? undefined : "last")) this.#waiting = true;
  }

  // woke: a page that is shown, comes online or wakes from a sleep checks its connection.
  #woke(online) {
    this.#wokeAt = Date.now();
    if (this.#waiting) {
      if (Date.now() >= this.#pauses.until) this.#attempt();
      return;
    }
    const link = this.#link;
    if (this.#race && !link?.proven) return this.#race.woke();
    if (online) this.#returns = 0;
    if (!link?.doubt() || this.#attempting) return;
    const at = Date.now();
    this.#timer = setTimeout(() => {
      if (link !== this.#link || this.#attempting) return;
      if (link.heardAt <= at) this.#attempt();
      else if (online) this.#planReturn();
    }, WOKEN_MS);
  }

  // updated: the old service worker handles requests, and the new one waits for their end.
  #updated(state) {
    if (state === "activated" && this.#aside) return this.#attempt();
    if (state !== "installed" || !this.#page.worker || !this.#link || this.#link.name === "websocket") return;
    this.#link.unpark?.();
    const error = new ChimeError("disconnected", "a new service worker waits");
    if (!this.#away("connecting", error, this.#session.graceMs > 0)) return;
    this.#aside = true;
    this.#timer = setTimeout(() => this.#attempt(), UPDATE_MS);
  }

  // note keeps the record of a connection. An arrow function, since it is passed to those who make them.
  #note = (record) => {
    this.#records.push(record);
    if (this.#records.length > RECORDS) this.#records.shift();
  };

  // tell tells of a failure that rejects no promise, once for each cause.
  #tell(error) {
    const cause = `${error.code}: ${error.message}`;
    if (this.#told.has(cause)) return;
    this.#told.add(cause);
    if (this.#listeners.error.empty) console.warn(`chime: ${cause}`);
    this.#listeners.error.call(this.#report, error);
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
    this.#pending.add(entry);
    this.#session.queue.push(entry);
    this.#link?.flush();
  }

  #receive([joinRef, ref, topic, event, payload]) {
    if (event !== "phx_reply") return this.#members.get(topic)?.take(joinRef, ref, event, payload);
    const entry = this.#pending.take(ref);
    if (!entry) return;
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
