import { Session } from "./session.js";
import { parsed, shown } from "./values.js";

const HELLO_MS = 10_000; // and for this long: it is given up
const ACK_FRAMES = 64; // the server keeps what is not acknowledged: acknowledge after this many frames,
const ACK_MS = 10_000; // or this long after the first of them
const PROBE_MS = 2_000; // how long a doubtful connection has to show that it works

// A Link is one connection: it takes the hello, acknowledges, and notices silence. Its kinds send frames: resume(), flush(), ack(),
// beat(), say(text) and shut(goodbye). hooks.broke is called once, unless close came first; no hook is called after either.
export class Link {
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
    if (!this.since && !(topic === "chime" && event === "closed")) { // which is all that some are told
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

  // end is for a connection that ends by itself: hooks.broke is called with why. The session has ended too with why.over, of which
  // the server is told, and with why.said, which it has said itself in a frame: any box in between may close with any code.
  end(why) {
    if (this.#finish(why.over ? "goodbye" : undefined)) this.#hooks.broke({ retryMs: this.#retryMs, said: this.#retryMs !== undefined, ...why });
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
    else if (event === "moved") this.end({ code: 4001, reason: event, moved: true });
    else if (event === "closed") this.end({ code: payload.code, reason: payload.reason, said: payload.code !== 4001, ...this.blame(payload.code, payload.reason) });
  }

  // blame says which of our frames has ended the session, for a kind that can't learn it otherwise.
  blame() {}

  #finish(goodbye) {
    if (this.ended) return false;
    this.ended = true;
    for (const timer of [this.#watch, this.#probe, this.#ackTimer]) clearTimeout(timer);
    this.shut(goodbye);
    return true;
  }
}
