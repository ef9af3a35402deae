// Misuses of chime.d.ts: each line below a ts-expect-error must be refused, or the compiler says so.
import { Channel, ChimeError, Socket } from "../../chime.js";

declare const socket: Socket;
declare const room: Channel;

// @ts-expect-error a url is needed
new Socket();
// @ts-expect-error not a transport
new Socket("/socket", { transport: "pigeon" });
// @ts-expect-error not an option
new Socket("/socket", { tokens: "t" });
// @ts-expect-error a token is text
new Socket("/socket", { token: 42 });
// @ts-expect-error params are an object
new Socket("/socket", { params: "a=b" });
// @ts-expect-error not a WebSocket class
new Socket("/socket", { WebSocket: {} });
// @ts-expect-error not fetch
new Socket("/socket", { fetch: "fetch" });

// @ts-expect-error read only
socket.state = "open";
// @ts-expect-error read only
socket.transport = "sse";
// @ts-expect-error no such state
void (socket.state === "joined");
// @ts-expect-error no such listener
socket.on("message", () => {});
// @ts-expect-error the transport is text or null
socket.on("transport", (transport: number) => {});
// @ts-expect-error the transport may be null
socket.on("transport", (transport) => transport.length);
// @ts-expect-error not a transport
socket.force("pigeon");
// @ts-expect-error connect says when by listeners
socket.connect().then(() => {});

// @ts-expect-error a topic is needed
socket.channel();
// @ts-expect-error params of a channel are not async
socket.channel("room:1", async () => ({}));
// @ts-expect-error channels are made by a socket
new Channel();

// @ts-expect-error an event is needed
room.push();
// @ts-expect-error options come third
room.push("a", {}, 1_000);
// @ts-expect-error not an option
room.push("a", {}, { timeouts: 1_000 });
// @ts-expect-error milliseconds are a number
room.push("a", {}, { timeout: "1s" });
// @ts-expect-error a key is a text
room.push("a", {}, { key: 1 });
// @ts-expect-error an unknown reply has no members
void (await room.push("a")).at;
// @ts-expect-error an unknown reply has no members
void (await room.join()).topic;
// @ts-expect-error an offset is a number
room.history({ before: { epoch: "e", offset: 1 } });
// @ts-expect-error not an option
room.history({ count: 1 });
// @ts-expect-error an unknown payload has no members
void (await room.history()).messages[0].payload.name;
// @ts-expect-error a listener is needed
room.on("a");
// @ts-expect-error an unknown payload has no members
room.onDraft(({ payload }) => payload.from);
// @ts-expect-error read only
room.presence.list()[0].metas.push({ phx_ref: "1" });
// @ts-expect-error a key is a text
room.presence.onJoin((key: number) => void key);
// @ts-expect-error an unknown payload has no members
room.on("a", (payload) => payload.name);
// @ts-expect-error no such member
room.on("a", (payload, meta) => meta.at);
// @ts-expect-error no such member
room.on("a", (payload, meta) => meta.replayed);
// @ts-expect-error an offset may be null
room.on("a", (payload, meta) => meta.offset + 1);
// @ts-expect-error a position may be null
void room.position.offset;
// @ts-expect-error read only
room.position = null;
// @ts-expect-error undo is called without arguments
room.on("a", () => {})("again");
// @ts-expect-error no such state
room.onState((state) => state === "open");
// @ts-expect-error it is the socket that is refused; its channels are closed
room.onState((state) => state === "refused");
// @ts-expect-error a change that was asked for has no error
room.onState((state, error) => error.code);

// @ts-expect-error no such code
new ChimeError("oops", "message");
// @ts-expect-error no such code
void (new ChimeError("closed", "message").code === "oops");
