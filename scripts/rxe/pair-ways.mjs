// Where the places of an app are in a cluster of two guests, and by which devices they reach each other.
// Invariant: pure; a way that is not as it should be is an error in words, whatever else is good.

const NETWORK = '10.99.0.0/24';

/** Nodes by place; the gateway is on guest a. */
function nodesOf(app) {
  const nodes = new Map(app.places.map(({ place, node }) => [place, node]));
  return (name) => nodes.get(name) ?? (name.startsWith('gateway') ? 'a' : undefined);
}

/** Names of the places on a node. */
export function placesOn(app, node) {
  return app.places.filter((each) => each.node === node).map(({ place }) => place);
}

/** Whether all places work. */
export function isWorking(app) {
  return app.places.length > 0 && app.places.every(({ state }) => state === 'working') && app.unplaced.length === 0;
}

/**
 * @returns {{ wrong: string[], between: string[] }} `between`: the ways from guest to guest, as `FROM > TO: why`
 */
export function waysOf(app) {
  const nodeOf = nodesOf(app);
  const wrong = [];
  const between = [];
  for (const { place, node, vias } of app.places) {
    for (const [target, { device, why }] of Object.entries(vias)) {
      const words = `${place} on ${node} > ${target} on ${nodeOf(target)}: ${device}, ${why}`;
      const isHere = nodeOf(target) === node;
      const isRight = isHere ? device === 'soft0' : device === 'rxe0' && why.endsWith(`within ${NETWORK}`);
      if (!isRight) wrong.push(words);
      else if (!isHere) between.push(words);
    }
  }
  return { wrong, between };
}
