// chime.d.ts and chime.js name the same members.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as chime from "../chime.js";

const types = readFileSync(new URL("../chime.d.ts", import.meta.url), "utf8");

const { Pauses, StreamLink, ...named } = chime; // the first two are phoenix-stream.js's alone
assert.ok(Pauses && StreamLink);

for (const [name, made] of Object.entries(named)) {
  test(`${name} has the members its types name, and no others`, () => {
    const [, body] = types.match(new RegExp(`^export class ${name} .*\\{\\n([^]*?)^\\}`, "m"));
    const named = [...body.matchAll(/^  (?:readonly )?(\w+)[<(:]/gm)].map(([, member]) => member);
    const object = name === "Socket" ? new made("https://chat.test") : name === "Channel" ? new chime.Socket("https://chat.test").channel("t") : new made("closed", "");
    const has = [...Object.keys(object), ...Object.getOwnPropertyNames(made.prototype)].filter((member) => !["name", "constructor"].includes(member));
    assert.deepEqual([...new Set(named)].filter((member) => member !== "constructor").sort(), [...new Set(has)].sort());
  });
}
