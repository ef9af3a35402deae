import { kindOf } from "./race.js";

/** A look whether a transport works by now. It opens a client socket of its own, on which nothing is sent that counts, and which
 * ends without a trace: so the connection that there is carries on, whatever becomes of it. */
export class Trial {
  #link;
  #timer = 0;

  // done is called with whether a connection was proven, and then lasted so many ms; null asks for a hello alone. The second
  // argument is why not.
  constructor(address, name, ms, record, done) {
    const works = () => {
      link.close();
      record.outcome = "works";
      done(true);
    };
    const link = new (kindOf(name))(address, {
      hello: () => (ms === null ? works() : link.prove()),
      proven: () => { this.#timer = setTimeout(works, ms); },
      frame() {},
      broke: (why) => {
        clearTimeout(this.#timer);
        Object.assign(record, { outcome: "failed", lastedMs: Date.now() - record.at, code: why.code, status: why.status ?? why.post, reason: why.reason });
        done(false, why);
      },
    });
    this.#link = link;
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#link.close();
  }
}
