import { Session } from "./session.js";
import { parsed, shown } from "./values.js";

const HELLO_MS = 10_000; // a connection without a hello for this long is given up
const PROOF_MS = 10_000; // and one that was greeted and does not carry both ways
const ACK_FRAMES = 64; // the server keeps what is not acknowledged: acknowledge after this many frames,
const ACK_MS = 10_000; // or this long after the first of them
const PROBE_MS = 2_000; // how long a doubtful connection may say nothing,
const ECHO_MS = 10_000; // and how long it may say all but the answer to the probe
const BUNCH_MS = 1_000; // heartbeats this near to each other, after a silence, were held back
const BUNCHES = 2;

// A Link is one connection: it takes the hello, proves that frames pass both ways, acknowledges, and notices silence. Its kinds send
// frames: resume(), flush(), ack(), beat(), say(text) and shut(goodbye). hooks.broke is called once, unless close came first; no
// hook is called after either.
export class Link {
  #hooks;
  #watch;
  #doubt;
  #ackTimer;
  #drain; // what the server has said of coming back,
  #taken; // and how many frames of ours it took: it takes no more
  #askedAt; // when the probe was sent that is not answered
  #gap; // the last heartbeat came after a silence
  #bunches = 0;
  name;
  address;
  session; // the one to resume, or null; after hello the present one
  secret; // of its hello; the session has that of the connection which carries it
  record; // what diagnosis tells of it
  since; // when hello came, or 0
  heardAt;
  sureAt; // when the probe was sent that was answered last
  rtt;
  silence; // ms without anything received after which the connection counts as broken
  had; // frames of ours that the server had at its hello
  resumed;
  answered = true; // what this client sends arrives. Where that needs another request, not before one was answered
  echoed; // the server has answered on this connection
  flows = true; // what has begun to come goes on. Where a box may pass the first bytes alone, not before the second ones came
  confirmed; // the server has shown that this connection carries the session
  proven;
  ended;

  constructor(name, address, hooks, session = null) {
    Object.assign(this, { name, address, session, record: { transport: name, at: Date.now(), outcome: "trying" } });
    this.#hooks = hooks;
    this.#watch = setTimeout(() => this.end({ reason: `no hello within ${HELLO_MS} ms` }), HELLO_MS);
  }

  take(text) {
    if (!this.ended) this.frame(parsed(text), text);
  }

  frame(frame, text) {
    const quiet = Date.now() - this.heardAt;
    this.heardAt = Date.now();
    if (!Array.isArray(frame) || frame.length < 5) return this.end({ code: 1007, reason: "the server sent no frame", over: this.since > 0 });
    const [, , topic, event, payload] = frame;
    if (!this.since && !(topic === "chime" && event === "closed")) { // which is all that some are told
      if (topic !== "chime" || event !== "hello") return this.end({ code: 1002, reason: `the server's first frame is ${shown(event)}: hello is expected` });
      return this.#greet(payload);
    }
    if (topic === "chime") return this.#control(event, payload, quiet);
    if (topic !== "phoenix") {
      this.confirmed = true;
      this.shows("echoed"); // the server counts nothing on a connection before it has heard of the client there
      if (this.ended) return;
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
    this.session.secret = this.secret;
    if (!this.resumed) return;
    this.session.queue = this.session.queue.filter(({ uncounted }) => !uncounted); // a probe of the former connection
    this.resume();
  }

  // prove asks for an answer: a connection that opened may pass nothing further, or one way only. hooks.proven follows.
  prove() {
    this.#watch = setTimeout(() => {
      const reason = this.answered ? "opened, and nothing comes back" : `opened, and nothing reaches the server${this.post ? `: a POST was answered with status ${this.post}` : ""}`;
      this.end({ reason, post: this.post, held: true });
    }, PROOF_MS);
    this.#ask();
  }

  // shows notes a part of the proof: "answered", "flows" or "echoed".
  shows(what) {
    this[what] = true;
    if (this.proven || this.ended || !this.since || !this.answered || !this.flows || !this.echoed) return;
    this.proven = true;
    Object.assign(this.record, { outcome: "works", provenMs: this.#age() });
    clearTimeout(this.#watch);
    this.#listen();
    this.#hooks.proven();
  }

  // doubt asks the server for an answer, and ends the connection without one. Not if the server resumes nothing: then a new
  // connection costs more than the wait until silence is noticed.
  doubt() {
    if (!this.session?.graceMs) return false;
    this.#ask();
    this.#doubt ||= setTimeout(() => this.#judgeDoubt(), PROBE_MS);
    return true;
  }

  // end is for a connection that ends by itself: hooks.broke is called with why; its code is 1006 where none is given. The session
  // has ended too with why.over, of which the server is told, and with why.said, which it has said itself in a frame: any box in
  // between may close with any code.
  end(given) {
    const why = { code: 1006, ...given };
    if (!this.close(why.over && "goodbye")) return;
    const { code, status = why.post, reason } = why;
    if (this.#taken !== undefined) this.session.spares(this.#taken); // now: nothing is numbered any more
    if (this.proven) this.record.outcome = "broke";
    Object.assign(this.record, { lastedMs: this.#age(), code, status, reason });
    this.#hooks.broke({ ...this.#drain, ...why });
  }

  // close ends the connection for its caller, and with a goodbye the session too: "goodbye", or "last" from a page that is being
  // closed. It returns false if the connection has ended before.
  close(goodbye) {
    if (this.ended) return false;
    this.ended = true;
    if (!this.proven) this.record.outcome = "failed"; // also where another was first
    for (const timer of [this.#watch, this.#doubt, this.#ackTimer]) clearTimeout(timer);
    this.shut(goodbye);
    return true;
  }

  #greet({ secret, resumed, received, heartbeat_ms: heartbeat, grace_ms: graceMs, limits, transports, wait }) {
    this.resumed = resumed && !!this.session;
    this.confirmed = !this.resumed;
    if (!this.resumed) this.session = new Session(secret);
    else if (!this.session.goesOn(received)) return this.end({ code: 1002, status: 403, reason: `the server resumed at frame ${received + 1}, not kept here` });
    this.had = received;
    this.secret = secret;
    this.session.knows(received);
    Object.assign(this.session, { graceMs, heartbeat, transports, wait, limits });
    this.#begin();
  }

  // continues: the server goes on with a connection that it has, so there is no hello.
  continues() {
    this.resumed = true;
    this.had = this.session.known;
    this.secret = this.session.secret;
    this.#begin();
  }

  #begin() {
    clearTimeout(this.#watch);
    this.since = Date.now();
    this.record.helloMs = this.#age();
    this.silence = 2 * this.session.heartbeat + 5_000;
    this.#hooks.hello();
  }

  #age() {
    return Date.now() - this.record.at;
  }

  #ask() {
    if (this.#askedAt) return;
    this.#askedAt = Date.now();
    this.say(`[null,null,"chime","probe",{"nonce":"${Math.random()}"}]`);
  }

  #judgeDoubt() {
    this.#doubt = 0;
    if (!this.#askedAt) return;
    const waited = Date.now() - this.#askedAt;
    if (this.heardAt <= this.#askedAt || waited >= ECHO_MS) return this.end({ reason: `no answer to a probe within ${waited} ms` });
    this.#doubt = setTimeout(() => this.#judgeDoubt(), PROBE_MS);
  }

  // One timer that looks back, not one that every frame resets. It runs once per heartbeat, so that a run that is far too late
  // shows that the machine slept; silence during a sleep says nothing about the connection.
  #listen(mostMs = Infinity) {
    const { heartbeat } = this.session;
    const pingMs = this.address.memory?.pingMs || Infinity; // where connections are cut that are idle for less than a heartbeat
    const ms = Math.min(mostMs, heartbeat, pingMs);
    const due = Date.now() + ms;
    this.#watch = setTimeout(() => {
      const now = Date.now();
      const quiet = now - this.heardAt;
      const slept = now - due > heartbeat && quiet > heartbeat;
      if (slept && this.doubt()) this.#hooks.slept?.();
      else if (quiet >= this.silence) return this.end({ reason: `nothing came for ${this.silence} ms` });
      else if (quiet >= pingMs / 2) this.#ask();
      this.#listen(slept ? Infinity : this.silence - quiet);
    }, ms);
  }

  #control(event, payload, quiet) {
    if (event === "probe_ok") {
      if (this.#askedAt) [this.rtt, this.sureAt, this.#askedAt] = [Date.now() - this.#askedAt, this.#askedAt, 0];
      clearTimeout(this.#doubt);
      this.#doubt = 0;
      this.shows("echoed");
    } else if (event === "heartbeat") {
      this.session.knows(payload.received);
      this.beat();
      if (this.#gap && quiet < BUNCH_MS && ++this.#bunches >= BUNCHES) return this.end({ reason: "frames are held back", held: true });
      this.#gap = quiet > 1.8 * this.session.heartbeat;
    } else if (event === "drain") [this.#drain, this.#taken] = [{ retryMs: payload.retry_ms, said: true }, payload.received];
    else if (event === "moved") this.end({ code: 4001, reason: event, moved: true });
    else if (event === "closed") this.end({ code: payload.code, reason: payload.reason, said: payload.code !== 4001, ...this.blame(payload.code, payload.reason) });
  }

  // blame says which of our frames has ended the session, for a kind that can't learn it otherwise.
  blame() {}
}
