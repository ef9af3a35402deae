// ChimeStream as phoenix.js is given it, and misuses that must be refused.
import { ChimeStream } from "../../phoenix-stream.js";

// What @types/phoenix asks of a transport.
const transport: new (endpoint: string) => object = ChimeStream;
class WithCookies extends ChimeStream {
  static override fetch = (url: string, init: RequestInit) => fetch(url, { ...init, credentials: "include" });
}
const stream: ChimeStream = new WithCookies("/socket/websocket", ["phoenix"]);
stream.onclose = ({ code }) => void code;
stream.send(new ArrayBuffer(1));
stream.close(1000, "enough");
void [transport, stream.readyState === 3, stream.bufferedAmount];

// @ts-expect-error a url is needed
new ChimeStream();
// @ts-expect-error read only
stream.readyState = 1;
// @ts-expect-error not a Blob
stream.send(new Blob());
// @ts-expect-error a code is a number
stream.close("enough");
