// chime.js is the client of chime for browsers, and for Node 20 and later. One module, no build, no dependency.
//
//   import { Socket } from "/socket/chime.js";
//
//   const socket = new Socket("/socket");
//   socket.connect();
//
//   const room = socket.channel("chat_room:lobby", { name: "Ann" });
//   room.on("message_new", ({ name, message }) => show(name, message));
//   await room.join();
//   await room.push("message_new", { message: "hello" });
//
// It carries the channels over a WebSocket, or over a stream and POSTs where the network blocks WebSockets. When a connection
// breaks another one replaces it and the channels notice nothing: each side sends again what the other does not have. When the
// server no longer knows the client, they join again from their last position. chime.d.ts documents every name;
// docs/protocol.md the frames.
//
// This file names what the modules in src export to pages; a Router serves all of them joined into one file.

export { Channel } from "./src/channel.js";
export { ChimeError } from "./src/errors.js";
export { Socket } from "./src/socket.js";
// For phoenix-stream.js alone:
export { Pauses } from "./src/pauses.js";
export { StreamLink } from "./src/stream.js";
