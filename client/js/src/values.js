// What applications give and the network brings, checked, and shown in errors.

const NAME_BYTES = 255;
const LEVELS = 9_997; // nesting of a payload: the server reads 10,000 levels, of which the frame is one and the POST around it two

// checkedName returns a name that is valid for a topic or an event and not reserved by the protocol.
export function checkedName(kind, name, reserved) {
  const valid = typeof name === "string" && /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]+$/u.test(name) && sizeOf(name) <= NAME_BYTES;
  if (!valid || reserved.test(name)) throw misuse(`the ${kind}`, name, `1 to ${NAME_BYTES} bytes of UTF-8 without control characters, not reserved,`);
  return name;
}

// only returns options that have no other names than these: a misspelled one would have no effect.
export function only(options, names) {
  if (options === null || typeof options !== "object") throw misuse("options", options, "an object");
  for (const name of Object.keys(options)) if (!names.includes(name)) throw misuse("the option", name, names.join(" or "));
  return options;
}

// encoded returns a payload as JSON that the server can read: what it cannot read would end the client socket with all its channels.
export function encoded(payload, what) {
  let body, cause;
  try {
    body = JSON.stringify(payload);
  } catch (error) {
    cause = error;
  }
  if (body === undefined) throw misuse(`${what}: the payload`, payload, "what JSON can express", { cause });
  const { "@binary": bytes, ...more } = body.startsWith('{"@binary":"') ? JSON.parse(body) : { "@binary": "" };
  const base64 = bytes.replace(/[\r\n]/g, "");
  if (!Object.keys(more).length && (base64.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64))) throw misuse(`${what}: @binary`, bytes, "padded base64");
  if (body.length > 2 * LEVELS && levelsOf(body) > LEVELS) throw misuse(`${what}: the payload`, payload, `one of at most ${LEVELS} levels`);
  return body;
}

// keyed returns the JSON of a payload that is pushed with a key, if one is given.
export function keyed(body, key) {
  if (key === undefined) return body;
  if (!/^{(?!"@binary":)/.test(body)) throw misuse("push: the payload", "with a key", "an object without @binary");
  return `{"@key":${JSON.stringify(checkedName("key", key, /^$/))}${body === "{}" ? "" : ","}${body.slice(1)}`;
}

// levelsOf returns how deep JSON is nested.
function levelsOf(json) {
  let [levels, most] = [0, 0];
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (char === "[" || char === "{") most = Math.max(most, ++levels);
    else if (char === "]" || char === "}") levels--;
    else if (char === '"') while (json[++at] !== '"') if (json[at] === "\\") at++; // brackets in a string are none
  }
  return most;
}

// misuse is the error for a value that an application gave.
export function misuse(what, given, needed, more) {
  return new TypeError(`chime: ${what} is ${shown(given)}: ${needed} is needed`, more);
}

// shown is a value as errors show it.
export function shown(value) {
  if (value === Object(value)) return `of type ${typeof value}`;
  return typeof value === "string" ? JSON.stringify(value.slice(0, 2 * NAME_BYTES)) : String(value);
}

export function sizeOf(text) {
  return new TextEncoder().encode(text).length;
}

export function valueOf(value, ...args) {
  return typeof value === "function" ? value(...args) : value;
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
