/** Every failure of this module, identified by its code. */
export class ChimeError extends Error {
  constructor(code, message, { response, status, transport, sent = false, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, { name: "ChimeError", code, response, status, transport, sent });
  }
}
