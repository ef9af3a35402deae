import { brief, pass, retryAfter } from "./pauses.js";
import { isPassing, PostingLink } from "./posting.js";
import { parsed } from "./values.js";

const CUT_MS = 2_000; // a poll that failed earlier was not cut for its age
const TRIES = 2; // polls in a row without an answer are a connection that is broken

/** A connection on which this client asks again and again, and the server answers when it has something. */
export class PollLink extends PostingLink {
  path = "/poll";
  #hold = null; // ms for which the server may keep a poll; null is its own time

  constructor(address, hooks, session) {
    super("longpoll", address, hooks, session);
    this.#run();
  }

  // A poll acknowledges, and shows the server that somebody asks.
  ack() {}
  beat() {}

  // unpark asks without a wait, so the server answers the poll that is parked, too. A service worker that passed it on is busy until then,
  // whether this page gives it up or not.
  unpark() {
    this.ask("application/json", { "Chime-Hold": "0" }).catch(() => {}); // then the parked one is answered in its own time
  }

  async #run() {
    for (let tries = 0; !this.ended;) {
      const began = Date.now();
      const { reply, retryMs, failed } = await this.#poll();
      if (this.ended) return;
      if (failed && tries >= TRIES) return this.end({ reason: failed, unanswered: true });
      if (reply?.frames?.length) { // else another poll with this secret came, and is the one that counts
        tries = 0;
        const had = this.session?.received;
        await this.#hand(reply);
        const { tabs } = this.address;
        if (tabs?.crowded && this.proven && !this.ended && this.session.received === had) await tabs.turn(this.session.wait);
        continue;
      }
      const age = Date.now() - began;
      if (age > CUT_MS) this.#hold = age * 0.6;
      await pass(brief(retryMs, tries++));
    }
  }

  // poll returns the server's reply, or nothing if it is to be asked for again: it is kept until it is acknowledged.
  async #poll() {
    try {
      const hold = this.since && !this.address.tabs?.crowded ? this.#hold : 0;
      if (this.since) this.acknowledged(this.session.received);
      const response = await this.get("application/json", hold === null ? {} : { "Chime-Hold": String(Math.round(hold)) }, (status) => (this.since ? isPassing(status) : status === 410 && this.session));
      if (!response) return {};
      if (response.status === 200) return { reply: parsed(await response.text()) };
      if (!this.since) this.session = null; // the server does not know it any more
      return { retryMs: retryAfter(response) };
    } catch (error) {
      if (!this.since) this.end({ reason: error.message, unanswered: true });
      return { failed: error.message };
    }
  }

  async #hand({ first, frames }) {
    let number = first;
    if (!this.since && this.session && frames[0]?.[3] !== "hello") this.continues(); // it was polled before
    for (const frame of frames) {
      if (this.ended) return;
      const counted = this.since && !["chime", "phoenix"].includes(frame?.[2]);
      if (counted && number > this.session.received + 1) return this.end({ reason: `the server sent frame ${number} instead of ${this.session.received + 1}`, over: true });
      if (!counted || number++ > this.session.received) this.frame(frame);
      await null; // as on a WebSocket: code that awaited a reply runs before the next frame is handled
    }
  }
}
