/** Every failure of this module, identified by its code. */
export class ChimeError extends Error {
  constructor(code, message, { response, status, transport, sent = false, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ChimeError";
    this.code = code;
    this.response = response;
    this.status = status;
    this.transport = transport;
    this.sent = sent;
  }
}
