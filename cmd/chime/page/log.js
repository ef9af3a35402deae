// The list of messages. It knows nothing of sockets: page.js calls it for what was received, and for the outcome of what was sent.
// All text goes in as text, never as markup.

const GROUP_MS = 5 * 60_000; // messages of one user within this time have one name above them
const MOST = 500; // lines on the page: a room that is open for days must not fill the memory of a tab
const NEAR = 80; // px from the end within which the reader is at the end
const EARLY = 600; // px from the beginning within which older messages are fetched
const FATES = { pending: "Sending…", sent: "Sent" };

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export class Log {
  #list;
  #scroll;
  #newer;
  #older;
  #again;
  #takeBack;
  #fetchOlder;
  #fetching = false;
  #read = null; // the offset before which nothing was read yet; null: that of the first message on the page
  #entries = new Map(); // key → entry, of each message on the page that has an id
  #bottom = true; // the reader is at the end, which stays in view
  #latestOwn = null;

  // again is called with the message that the reader wants sent once more, takeBack with the offset of one that is to go, and
  // fetchOlder with an offset when the reader comes near the beginning; it returns {messages: [{message, own, offset}], from: the offset that it has read down to, state: "" if there is more, else why not}.
  constructor({ list, scroll, newer, older, again, takeBack, fetchOlder }) {
    this.#list = list;
    this.#scroll = scroll;
    this.#newer = newer;
    this.#older = older;
    this.#again = again;
    this.#takeBack = takeBack;
    this.#fetchOlder = fetchOlder;
    scroll.addEventListener("scroll", () => {
      this.#bottom = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
      if (this.#bottom) newer.hidden = true;
      if (scroll.scrollTop < EARLY) this.#readOlder();
    }, { passive: true });
    newer.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.#bottom && this.toEnd()).observe(scroll);
  }

  // draft shows a message that is being sent.
  draft(message) {
    const entry = this.#entry(message, true);
    this.#mark(entry, "pending");
    this.#list.append(entry.li);
    this.#arrange(entry.li);
    this.toEnd();
  }

  // said shows a message of the room, once: own drafts and messages that were sent twice are recognised by their id.
  said(message, own, offset = null) {
    const known = this.#entries.get(key(message, own));
    if (known && offset !== null) known.setOffset(offset);
    if (known && (!known.own || known.li.dataset.state === "sent")) return;
    const after = known?.li.nextElementSibling;
    const entry = known ?? this.#entry(message, own);
    if (known) entry.setTime(message.at);
    else if (offset !== null) entry.setOffset(offset);
    this.#mark(entry, "sent");
    this.#place(entry.li);
    if (after && after !== entry.li) this.#arrange(after);
    this.#trim();
  }

  // fate shows the state of a draft, "pending", or "failed" with a reason; said shows that it was sent.
  fate(message, state, reason) {
    const entry = this.#entries.get(key(message, true));
    if (!entry || entry.li.dataset.state === "sent") return; // the room has it, whatever the answer is
    this.#mark(entry, state, reason);
  }

  // takenBack removes the message at an offset.
  takenBack(offset) {
    for (const li of this.#list.children) {
      if (li.entry?.offset !== offset) continue;
      const after = li.nextElementSibling;
      this.#remove(li);
      if (after) this.#arrange(after);
      return;
    }
  }

  // note is a line about the room, such as who joined.
  note(text) {
    const li = element("li", "note", text);
    li.dir = "auto";
    this.#place(li);
    this.#trim();
  }

  // reset removes all but the drafts: what follows replaces it.
  reset() {
    this.#forget();
    for (const li of [...this.#list.children]) if (settled(li)) this.#remove(li);
    for (const li of this.#list.children) this.#arrange(li);
  }

  clear() {
    this.#forget();
    for (const li of [...this.#list.children]) this.#remove(li);
  }

  toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#bottom = true;
    this.#newer.hidden = true;
  }

  // readOlder puts older messages above the others, which stay where they are on the screen.
  async #readOlder() {
    const first = [...this.#list.children].find((li) => li.entry?.offset);
    if (this.#fetching || !first || this.#older.dataset.state) return;
    this.#fetching = true;
    this.#older.dataset.state = "reading";
    try {
      const { messages, from, state } = await this.#fetchOlder(this.#read ?? first.entry.offset);
      if (!first.isConnected) return this.#forget(); // the room was left, or begins anew
      this.#read = from;
      const below = this.#scroll.scrollHeight - this.#scroll.scrollTop;
      for (const { message, own, offset } of messages) {
        if (this.#entries.has(key(message, own))) continue;
        const entry = this.#entry(message, own);
        entry.setOffset(offset);
        this.#mark(entry, "sent", "", false);
        first.before(entry.li);
        this.#arrange(entry.li);
      }
      this.#arrange(first);
      this.#older.dataset.state = state; // its text takes room, too
      this.#scroll.scrollTop = this.#scroll.scrollHeight - below;
    } catch (error) {
      console.info(`older messages: ${error.message}`);
      this.#older.dataset.state = ""; // the next scrolling tries again
    } finally {
      this.#fetching = false;
    }
  }

  #forget() {
    this.#read = null;
    this.#older.dataset.state = "";
  }

  // place puts a line behind all but the drafts, which have no place in the room yet.
  #place(li) {
    const draft = [...this.#list.children].findLast((other) => other !== li && settled(other));
    if (draft) draft.after(li);
    else this.#list.prepend(li);
    this.#arrange(li);
    if (this.#bottom) this.toEnd();
    else if (li.entry) this.#newer.hidden = false;
  }

  // arrange decides what a line shows from the line before it, and so for the line after it.
  #arrange(li) {
    for (const line of [li, li.nextElementSibling]) {
      const entry = line?.entry;
      if (!entry) continue;
      const before = line.previousElementSibling?.entry;
      const newDay = !dayBefore(line) || dayBefore(line) !== entry.at.toDateString();
      entry.day.hidden = !newDay;
      line.classList.toggle("first", newDay || before?.name !== entry.name || entry.at - before.at > GROUP_MS);
    }
  }

  #mark(entry, state, reason = "", latest = true) {
    const { li, fate, own } = entry;
    li.dataset.state = state;
    if (!own) return;
    fate.textContent = FATES[state] ?? reason;
    if (state === "failed") {
      const button = element("button", "again", "Send again");
      button.type = "button";
      button.addEventListener("click", () => this.#again(entry.message));
      fate.append(" ", button);
    }
    if (state === "sent" && latest) {
      this.#latestOwn?.classList.remove("latest");
      this.#latestOwn = li;
      li.classList.add("latest");
    }
  }

  #entry(message, own) {
    const { name, id, at } = message;
    const li = element("li", own ? "msg own" : "msg");
    const day = element("p", "day");
    const face = element("span", "face", [...name.trim()][0]?.toUpperCase() ?? "?");
    face.setAttribute("aria-hidden", "true");
    const head = element("p", "head");
    const time = element("time");
    head.append(element("bdi", "by", name || "(no name)"), time);
    const body = element("div", "body");
    const row = element("div", "row");
    const text = element("p", message.message ? "text" : "text void", message.message || "(empty)");
    text.dir = "auto";
    const fate = element("p", "fate");
    row.append(text);
    body.append(row, fate);
    li.append(day, face, head, body);
    li.dataset.id = id;
    li.style.setProperty("--hue", hue(name));

    const entry = { message, name, li, day, fate, own, at: null, offset: null };
    entry.setOffset = (offset) => {
      if (own && entry.offset === null) row.append(this.#remover(entry));
      entry.offset = offset;
    };
    entry.setTime = (ms) => {
      entry.at = new Date(ms);
      if (Number.isNaN(entry.at.getTime())) entry.at = new Date();
      time.dateTime = entry.at.toISOString();
      time.textContent = clock.format(entry.at);
      text.title = time.title = full.format(entry.at);
      day.textContent = dayName(entry.at);
    };
    entry.setTime(at);
    li.entry = entry;
    if (id) this.#entries.set(key(message, own), entry);
    return entry;
  }

  // remover is the button by which a guest takes a message back.
  #remover(entry) {
    const button = element("button", "remove", "Delete");
    button.type = "button";
    button.title = "Delete this message for everybody";
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await this.#takeBack(entry.offset); // the room says when it is gone
      } catch (error) {
        button.disabled = false;
        button.title = `Not deleted: ${error.response?.reason ?? error.message}`;
      }
    });
    return button;
  }

  // trim keeps the page small, unless its reader is at older messages.
  #trim() {
    if (!this.#bottom) return;
    while (this.#list.childElementCount > MOST && settled(this.#list.firstElementChild)) {
      this.#remove(this.#list.firstElementChild);
      this.#forget();
    }
    if (this.#list.firstElementChild) this.#arrange(this.#list.firstElementChild);
  }

  #remove(li) {
    if (li.entry) this.#entries.delete(key(li.entry.message, li.entry.own));
    li.remove();
  }
}

// The writer is part of the key, so that nobody's message is taken for another's. This guest may have another pass, and so another
// id, by the time that a message of its own is sent again.
function key({ by, id }, own) {
  return JSON.stringify([own ? "" : by, id]);
}

function settled(li) {
  return !li.entry || li.dataset.state === "sent";
}

// dayBefore is the day of the nearest message above, notes skipped.
function dayBefore(li) {
  for (let line = li.previousElementSibling; line; line = line.previousElementSibling) {
    if (line.entry) return line.entry.at.toDateString();
  }
  return null;
}

function dayName(at) {
  const now = new Date();
  const daysAgo = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  if (daysAgo === 0) return "Today";
  if (daysAgo === 1) return "Yesterday";
  return at.toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" });
}

// hue gives a name its colour, the same on every page.
function hue(name) {
  let h = 7;
  for (const c of name) h = (h * 31 + c.codePointAt(0)) % 360_007;
  return h % 360;
}

function element(tag, className = "", text = "") {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text) e.textContent = text;
  return e;
}
