// The people in the room, and who of them types: it shows what the channel's presence says; page.js tells it what this guest types.

const TYPES_MS = 4_000; // after the last key a guest types no more
const NAMES = 3; // of those who type

export class People {
  #box;
  #count;
  #list;
  #typing;
  #channel = null;
  #quiet = 0; // a timer; 0: this guest does not type

  constructor({ box, count, list, typing }) {
    this.#box = box;
    this.#count = count;
    this.#list = list;
    this.#typing = typing;
  }

  // watch shows the people of a channel. The guest is one of them, whose id me() returns.
  watch(channel, me) {
    this.#channel = channel;
    channel.presence.onSync(() => channel === this.#channel && this.#show(channel.presence.list(), me()));
  }

  clear() {
    this.#rest();
    this.#channel = null;
    this.#show([]);
  }

  // writes is called with each key, and says whether there is something in the field.
  writes(something) {
    if (!something) return this.wrote();
    if (!this.#quiet) this.#say(true);
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.wrote(), TYPES_MS);
  }

  // wrote is called when the message is sent.
  wrote() {
    if (this.#quiet) this.#say(false);
    this.#rest();
  }

  #rest() {
    clearTimeout(this.#quiet);
    this.#quiet = 0;
  }

  #say(typing) {
    if (this.#channel?.state === "joined") this.#channel.push("typing", { typing }).catch(() => {}); // it is no loss
  }

  #show(all, me) {
    const people = all.map(({ key, metas }) => ({ key, name: String(metas.at(-1).name), tabs: metas.length, typing: metas.some(({ typing }) => typing) }));
    this.#box.hidden = people.length === 0;
    this.#count.textContent = people.length === 1 ? "1 here" : `${people.length} here`;
    this.#list.replaceChildren(...people.map(({ key, name, tabs }) => {
      const li = document.createElement("li");
      li.append(Object.assign(document.createElement("bdi"), { textContent: name }), key === me ? " (you)" : "", tabs > 1 ? ` in ${tabs} tabs` : "");
      return li;
    }));
    this.#typing.replaceChildren(...types(people.filter(({ key, typing }) => typing && key !== me).map(({ name }) => name)));
  }
}

// types says in words who types: the names, which may be too long for a line, and that they do.
function types(names) {
  if (names.length === 0) return [];
  if (names.length > NAMES) return [`${names.length} people are typing…`];
  const who = names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return [Object.assign(document.createElement("bdi"), { textContent: who }), names.length === 1 ? " is typing…" : " are typing…"];
}
