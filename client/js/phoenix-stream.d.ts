// The types of phoenix-stream.js, and what each name promises.

/**
 * A transport for the Phoenix client of npm, 1.6 and later: `new Socket("/socket", { transport: ChimeStream })`. It carries the
 * socket over an event stream and POSTs. The application does not use it otherwise.
 *
 * It is made for the address of a WebSocket, `…/socket/websocket?vsn=2.0.0`, and finds the stream beside it. Where it differs from
 * a WebSocket:
 *
 * - The reply to a join of a topic with history has `@history`, and retained messages have their position (`"@17"`) as the `ref`
 *   of `channel.on(event, (payload, ref) => …)`, also if the join had no `@since` or `@last`. Retained bytes have it only after a
 *   join with one of these, and are then `{"@binary": base64}`, as on a WebSocket; otherwise they are an ArrayBuffer without it.
 * - phoenix.js sends no heartbeats; the server does, each is answered by a POST, and a stream that is silent for too long is closed.
 * - `bufferedAmount` is what the server has not confirmed yet, so that a `disconnect()` waits for it as it waits for a WebSocket.
 */
export class ChimeStream {
  /** Makes the requests. A class of one's own that extends this one can have another, for credentials or headers. */
  static fetch: (url: string, init: RequestInit) => Promise<Response>;

  /** `protocols` is where phoenix.js 1.8 puts an `authToken`; it becomes the Authorization header. */
  constructor(url: string, protocols?: string | readonly string[]);

  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  binaryType: string;
  readonly skipHeartbeat: boolean;
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  readonly bufferedAmount: number;

  send(data: string | ArrayBuffer): void;
  close(code?: number, reason?: string): void;
}
