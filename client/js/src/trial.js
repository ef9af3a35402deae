import { kinds } from "./race.js";

/** A look whether a transport works by now. It opens a client socket of its own, on which nothing is sent that counts, and which
 * ends without a trace: so the connection that there is carries on, whatever becomes of it. */
export class Trial {
  #link;
  #timer;

  // note keeps the record of the connection. done is called with whether it was proven, and then lasted so many ms; null asks for a
  // hello alone. The second argument is why not.
  constructor(address, name, ms, note, done) {
    const works = () => {
      link.close();
      link.record.outcome = "works";
      done(true);
    };
    const link = new kinds[name](address, {
      hello: () => (ms === null ? works() : link.prove()),
      proven: () => { this.#timer = setTimeout(works, ms); },
      frame() {},
      broke: (why) => {
        clearTimeout(this.#timer);
        done(false, why);
      },
    });
    this.#link = link;
    link.record.trial = true;
    note(link.record);
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#link.close();
  }
}
