import { EventStream } from "./eventstream.js";
import { PostingLink } from "./posting.js";

/** A connection on which the server writes one answer that does not end. Exported for phoenix-stream.js alone. */
export class StreamLink extends PostingLink {
  path = "/sse";
  flows = false;

  constructor(address, hooks, session) {
    super("sse", address, hooks, session);
    this.#read();
  }

  async #read() {
    let response;
    try {
      response = await this.get("text/event-stream");
      if (!response) return;
      const reader = response.body.getReader();
      const events = new EventStream();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return this.end({ reason: "the stream ended" });
        for (const data of events.push(value)) {
          this.take(data);
          await null; // as on a WebSocket: code that awaited a reply runs before the next frame is handled
        }
        // The server writes a second comment a moment after the first bytes, which a box may have passed on alone.
        if (!this.flows && events.comments > 1) this.shows("flows");
      }
    } catch (error) {
      this.end({ reason: error.message, unanswered: !response });
    }
  }
}
