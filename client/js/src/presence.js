import { Listeners } from "./listeners.js";

/** presence returns what a page is shown of those in a topic, and what its channel calls. */
export function presence(report) {
  let keys = new Map(); // the metas of each
  const joins = new Listeners();
  const leaves = new Listeners();
  const syncs = new Listeners();

  // set has these be present, and tells who was not and who is no longer.
  const set = (next) => {
    const before = keys;
    keys = next;
    for (const [key, metas] of next) if (!before.has(key)) joins.call(report, key, metas);
    for (const [key, metas] of before) if (!next.has(key)) leaves.call(report, key, metas);
    syncs.call(report);
  };

  return {
    shown: Object.freeze({
      list: () => [...keys].map(([key, metas]) => ({ key, metas })),
      onJoin: (fn) => joins.add(fn),
      onLeave: (fn) => leaves.add(fn),
      onSync: (fn) => syncs.add(fn),
    }),
    take(event, payload) {
      const state = event === "presence_state";
      if (!state && event !== "presence_diff") return;
      const next = new Map(state ? [] : keys);
      for (const [key, metas] of entries(state ? payload : payload?.joins)) next.set(key, [...(next.get(key) ?? []), ...metas]);
      for (const [key, metas] of entries(state ? null : payload?.leaves)) {
        const rest = without(next.get(key), metas);
        if (rest.length) next.set(key, rest);
        else next.delete(key);
      }
      set(next);
    },
    clear: () => void (keys = new Map()),
  };
}

// entries returns keys with their metas. A topic that has no presence may have events of these names for something else.
function entries(people) {
  return Object.entries(people ?? {}).filter(([, who]) => Array.isArray(who?.metas)).map(([key, who]) => [key, who.metas]);
}

function without(list = [], metas) {
  const refs = new Set(metas.map((meta) => meta?.phx_ref));
  return list.filter(({ phx_ref: ref }) => !refs.has(ref));
}
