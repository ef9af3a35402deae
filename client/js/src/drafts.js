import { Listeners } from "./listeners.js";

/** What a page is shown of the drafts of a topic: messages that grow. */
export class Drafts {
  #report;
  #all = new Map(); // by their ids
  #listeners = new Listeners();

  constructor(report) {
    this.#report = report;
  }

  add(fn) {
    return this.#listeners.add(fn);
  }

  /** The drafts are these, as the server lists them, and no others. */
  state(list) {
    const now = new Set(list.map(({ draft }) => draft));
    for (const id of this.#all.keys()) if (!now.has(id)) this.#end(id);
    for (const draft of list) this.#start(draft);
  }

  take(event, payload) {
    const draft = this.#all.get(payload?.draft);
    if (event === "draft_state") this.state(payload?.drafts ?? []);
    else if (event === "draft_start") this.#start(payload);
    else if (!draft) return;
    else if (event === "draft_delta") {
      draft.text += payload.text;
      this.#tell(draft);
    } else if (event === "draft_end" || event === draft.event) this.#end(draft.id);
  }

  #start({ draft: id, event, payload, text }) {
    this.#all.set(id, { id, event, payload, text, over: false });
    this.#tell(this.#all.get(id));
  }

  #end(id) {
    const draft = this.#all.get(id);
    this.#all.delete(id);
    this.#tell({ ...draft, over: true });
  }

  #tell(draft) {
    this.#listeners.call(this.#report, { ...draft });
  }
}
