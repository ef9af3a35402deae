import { base64url, farewell } from "./address.js";
import { ChimeError } from "./errors.js";
import { Link } from "./link.js";

const BLAMES = { 1007: "invalid", 1009: "too_large" }; // codes of an end that a frame of ours has caused

export class WebSocketLink extends Link {
  #ws;

  constructor(address, hooks, session) {
    super("websocket", address, hooks, session);
    const protocols = ["chime.v1"];
    if (session) protocols.push(`chime.secret.${session.secret}`);
    if (address.token) protocols.push(`base64url.bearer.phx.${base64url(address.token)}`);
    try {
      this.#ws = new address.WebSocket(address.of("/websocket").replace(/^http/, "ws"), protocols);
    } catch (error) {
      return void queueMicrotask(() => this.end({ reason: error.message })); // after the socket has this link
    }
    this.#ws.onmessage = ({ data }) => this.take(data);
    this.#ws.onclose = ({ code, reason }) => this.end({ code, reason, unanswered: code === 1006 });
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
    if (goodbye && this.since) {
      this.say(`[null,null,"chime","goodbye",{}]`);
      // What is sent by a page that is being closed may not arrive, nor is anything sent while the WebSocket closes.
      if (goodbye === "last" || this.#ws.readyState !== 1) farewell(this.address, this.secret, goodbye);
    }
    this.#ws?.close(goodbye ? 1000 : 4000);
  }

  // blame: a join that ended the connection would be sent again on the next one, and end that too. Frames are taken in order, so
  // blame the oldest that the server is not known to have, and prefer one that was never accepted. If it was another one, that
  // one is the oldest on a later connection.
  blame(code, reason) {
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
